"""Decode the chunks of a body from bytes cut at any place (RFC 9112, section 7.1). Pure."""

from ..messages.message import msg

_MAX_LINE = 65536


class Chunks:
    """A decoder of chunks. ended: the last chunk has begun.

    http.client needs three calls and two copies for a chunk, and Dify sends each event as a chunk.
    """

    def __init__(self) -> None:
        self.ended = False
        self._left = 0  # remaining bytes of the current chunk
        self._line = b""  # the received part of the line with the next chunk's size
        self._before = b""  # the expected bytes before that line: the line end of the last chunk

    def feed(self, data: bytes) -> bytes:
        """Return the body in `data`.

        Raises:
            ValueError: A chunk is not as long as its size.
        """
        data = self._line + data
        parts = [data[: self._left]]
        at, before = self._left, self._before
        while at < len(data):
            end = data.find(b"\n", at + len(before))
            if end < 0:
                break
            if not data.startswith(before, at):
                raise ValueError(msg("the response has a chunk without a line end"))
            try:
                size = int(data[at:end], 16)  # int() ignores the line ends around the number
            except ValueError:
                size = int(data[at:end].partition(b";")[0], 16)  # without the chunk extension
            if size < 0:
                raise ValueError(msg("the response has a chunk with a negative size"))
            if size == 0:
                self.ended = True
                break
            at = end + 1 + size
            parts.append(data[end + 1 : at])
            before = b"\r\n"
        self._left, self._line, self._before = max(0, at - len(data)), data[at:], before
        if len(self._line) > _MAX_LINE:
            raise ValueError(msg("the response has a chunk without a size"))
        return b"".join(parts)

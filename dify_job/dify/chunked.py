"""The body of a chunked answer from bytes cut anywhere; pure, knows no HTTP (RFC 9112, section 7.1)."""

from ..messages.message import msg

_MAX_LINE = 65536


class Chunks:
    """Takes the chunks apart that have come; `ended`: the last one has begun.

    http.client takes three calls and two copies for a chunk, and Dify sends each event as one.
    """

    def __init__(self) -> None:
        self.ended = False
        self._left = 0  # bytes of the chunk under way that are still to come
        self._line = b""  # what has come of the line with the next chunk's size
        self._before = b""  # what stands before that line: the line end of the last chunk

    def feed(self, data: bytes) -> bytes:
        """Return the body in `data`.

        Raises:
            ValueError: A chunk is not as long as it says.
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
                size = int(data[at:end], 16)  # the line ends around the number are space to int
            except ValueError:
                size = int(data[at:end].partition(b";")[0], 16)  # without a chunk extension
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

"""Server-sent events from bytes, after the WHATWG grammar; pure, knows no HTTP.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from collections.abc import Iterator
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One dispatched event: its name ("message" where none was given) and its data, still bytes."""

    name: str
    data: bytes


class Parser:
    """Feed it bytes cut anywhere; it gives each event as soon as the event's empty line is complete.

    An event without its closing empty line is never given: that is how the grammar tells a cut stream.
    Lines are split as bytes, so U+2028 and its like inside the JSON stay where they are, and each line is
    joined once, so one event of 20 MB costs no more per byte than a small one.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of the line that has not ended yet
        self._data: list[bytes] = []
        self._name = ""
        self._after_cr = False
        self._head: bytes | None = b""  # up to three first bytes, until we know whether they are a BOM

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Events completed by `chunk`, in order."""
        lines = self._with_plain_line_ends(chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if self._line:
                self._line.append(line)
                line = b"".join(self._line)  # noqa: PLW2901 - the whole line replaces its last piece
                self._line.clear()
            if line.startswith(b"data:"):  # nearly every line of a stream
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line:
                self._field(line)
            else:
                if self._data:
                    yield ServerSentEvent(
                        self._name or "message",
                        self._data[0] if len(self._data) == 1 else b"\n".join(self._data),
                    )
                    self._data.clear()
                self._name = ""
        if rest:
            self._line.append(rest)

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        if self._head is not None:
            chunk = self._head + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._head = chunk
                return b""
            self._head = None
            chunk = chunk.removeprefix(_BOM)
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":  # without a colon: an empty line of data
            self._data.append(b"")
        elif name == b"event":
            self._name = value.removeprefix(b" ").decode(errors="replace")
        # A comment, id, retry or unknown field: nothing here depends on them.

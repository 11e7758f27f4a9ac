"""Server-sent events from bytes, after the WHATWG grammar; pure, knows no HTTP.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_LIST_ENTRY = 64  # bytes that an entry of a list takes, about
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_MAX_HEAD = 1024  # bytes that are looked at, blank lines before them not counted
_MAX_SPACE = 1024 * 1024  # bytes of an answer that says nothing yet


class ServerSentEvent(NamedTuple):
    """One dispatched event: its name ("message" where none was given) and its data, still bytes."""

    name: str
    data: bytes


class Content(Enum):
    """What the first bytes of an answer show it to be."""

    EVENTS = auto()
    JSON = auto()
    OTHER = auto()
    UNDECIDED = auto()


def content_of(head: bytes) -> Content:
    """Return what an answer is that begins with `head`, whatever its Content-Type says."""
    start = head.removeprefix(_BOM).lstrip()[:_MAX_HEAD]
    if start.startswith((b"{", b"[")):
        return Content.JSON
    if start.startswith(_FIELDS):
        return Content.EVENTS
    may_follow = any(known.startswith(start) for known in (_BOM, *_FIELDS))
    may_follow = may_follow and len(head) < _MAX_SPACE
    return Content.UNDECIDED if may_follow else Content.OTHER


class Parser:
    """Splits bytes, cut anywhere, into events; each is given as soon as its empty line is complete.

    An event without its closing empty line is never given: so the grammar shows that a stream was cut off.
    Lines are split as bytes, so U+2028 and its like inside the JSON stay where they are, and each line is
    joined once, so one event of 20 MB costs no more per byte than a small one.
    """

    def __init__(self, skip: tuple[bytes, ...] = ()) -> None:
        """Begin a stream.

        Args:
            skip: Beginnings of lines; an event of one such line is passed over where that is cheap.
        """
        self._skip = skip
        self._line = bytearray()  # the line that has not ended yet
        self._data: list[bytes] = []
        self._size = 0  # bytes of the lines in _data, with what a list takes for each
        self._name = ""
        self._after_cr = False
        self._head: bytes | None = b""  # up to three first bytes, until we know whether they are a BOM

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Give the events that `chunk` completes, in order."""
        chunk = self._with_plain_line_ends(chunk)
        at = 0
        while True:
            if not (self._line or self._data or self._name):
                at = self._after_skipped(chunk, at)
            end = chunk.find(b"\n", at)
            if end < 0:
                break
            line = chunk[at:end]
            at = end + 1
            if self._line:
                self._line += line
                line, self._line = bytes(self._line), bytearray()
            if line.startswith(b"data:"):  # nearly every line of a stream
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._size += len(line) + _LIST_ENTRY
            elif line:
                self._field(line)
            else:
                event = self._event()
                if event is not None:
                    yield event
        self._line += memoryview(chunk)[at:]

    @property
    def pending(self) -> int:
        """Bytes in memory of the event that has not ended yet: its whole lines, and the unfinished one."""
        return self._size + len(self._line)

    def _after_skipped(self, chunk: bytes, at: int) -> int:
        """Return the index after the events of one line that begin with `skip`; an event begins at `at`."""
        while chunk.startswith(self._skip, at):
            end = chunk.find(b"\n", at)
            if end < 0 or not chunk.startswith(b"\n", end + 1):
                break
            at = end + 2
        return at

    def _event(self) -> ServerSentEvent | None:
        data, name = self._data, self._name
        self._data, self._name, self._size = [], "", 0
        if not data:
            return None
        return ServerSentEvent(name or "message", data[0] if len(data) == 1 else b"\n".join(data))

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
            self._size += _LIST_ENTRY
        elif name == b"event":
            self._name = value.removeprefix(b" ").decode(errors="replace")
        # A comment, id, retry or unknown field: nothing here depends on them.

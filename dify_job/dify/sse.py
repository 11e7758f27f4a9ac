"""Parse server-sent events by the WHATWG grammar. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_LIST_ENTRY = 64  # approximate bytes of a list entry
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_MAX_HEAD = 1024  # bytes that are checked, without leading blank lines
_MAX_SPACE = 1024 * 1024  # bytes of leading whitespace in an answer


class ServerSentEvent(NamedTuple):
    """One dispatched event: its name ("message" by default) and its data as bytes."""

    name: str
    data: bytes


class Content(Enum):
    """The kind of an answer, by its first bytes."""

    EVENTS = auto()
    JSON = auto()
    OTHER = auto()
    UNDECIDED = auto()


def content_of(head: bytes) -> Content:
    """Return the kind of an answer that begins with `head`, independent of its Content-Type."""
    start = head.removeprefix(_BOM).lstrip()[:_MAX_HEAD]
    if start.startswith((b"{", b"[")):
        return Content.JSON
    if start.startswith(_FIELDS):
        return Content.EVENTS
    may_follow = any(known.startswith(start) for known in (_BOM, *_FIELDS))
    may_follow = may_follow and len(head) < _MAX_SPACE
    return Content.UNDECIDED if may_follow else Content.OTHER


class Parser:
    """A parser of bytes, cut at any place, into events.

    Each event is yielded at its closing empty line, and never without it, because a stream that ends before
    was truncated. Lines are split as bytes, so U+2028 in JSON does not split a line. Each line is joined
    once, so the cost per byte is constant.
    """

    def __init__(self, skip: tuple[bytes, ...] = ()) -> None:
        """Begin a stream.

        Args:
            skip: Beginnings of lines; an event with one such line is skipped if that is cheap.
        """
        self._skip = skip
        self._line = bytearray()  # the incomplete line
        self._data: list[bytes] = []
        self._size = 0  # bytes of the lines in _data, including list entries
        self._name = ""
        self._after_cr = False
        self._head: bytes | None = b""  # the first bytes, at most three, until they are a BOM or not

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that `chunk` completes, in order."""
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
            if line.startswith(b"data:"):  # most lines of a stream
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
        """Bytes in memory of the incomplete event."""
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
        # Comments, id, retry and unknown fields are not used.

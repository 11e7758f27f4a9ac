"""HTTP/1.1 requests, read strictly: what two readers could read differently is refused. Pure.

RFC 9112; of its leniencies none is taken: no bare LF, no folded lines, no space before a colon, no chunks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from ..messages.message import msg

LARGEST_HEAD = 8 * 1024
LARGEST_BODY = 16 * 1024
_MOST_FIELDS = 64
_MOST_PARAMETERS = 8
_END = b"\r\n\r\n"
_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])")
# The blanks around a value are stripped afterwards: a pattern for them takes the cube of their number.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\x20-\x7e\x80-\xff\t]*)")
_ONCE = frozenset({"host", "content-length", "authorization", "origin", "sec-fetch-site", "expect"})


class HttpRefusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """What the peer is told instead of an answer to its request. allow: the methods that the path takes."""

    def __init__(self, status: int, message: str, *, allow: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.allow = allow


@dataclass(frozen=True, slots=True)
class Request:
    """A head, and how much body is to come. fields: names in small letters."""

    method: str
    path: str
    query: Mapping[str, str]
    fields: Mapping[str, str]
    length: int

    @property
    def waits(self) -> bool:
        """True where the peer wants to be told before it sends the body."""
        return self.fields.get("expect", "").lower() == "100-continue"


def end_of_head(data: bytes) -> int | None:
    """Where the head ends, its empty line included; None as long as it does not. Raises Refused."""
    at = data.find(_END)
    if at < 0 and len(data) <= LARGEST_HEAD:
        if b"\n\n" in data:
            raise HttpRefusal(400, msg("lines end with CR LF"))
        return None
    if at < 0 or at > LARGEST_HEAD:
        raise HttpRefusal(431, msg("the head has more than {largest_head} bytes", largest_head=LARGEST_HEAD))
    return at + len(_END)


def read_head(head: bytes) -> Request:
    """The request of a whole head. Raises Refused."""
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise HttpRefusal(400, msg("the first line is no request of HTTP/1.1 for a path"))
    if len(lines) > _MOST_FIELDS:
        raise HttpRefusal(431, msg("the head has more than {most_fields} fields", most_fields=_MOST_FIELDS))
    fields: dict[str, str] = {}
    for each in lines:
        field = _FIELD.fullmatch(each)
        if field is None:
            raise HttpRefusal(400, msg("a field of the head is malformed"))
        name, value = field[1].decode().lower(), field[2].strip(b" \t").decode("latin-1")
        if name in fields and name in _ONCE:
            raise HttpRefusal(400, msg("{name} is given twice", name=name))
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    path, question, query = line[2].decode().partition("?")
    return Request(line[1].decode(), path, _query(query) if question else {}, fields, _length(fields))


def _length(fields: Mapping[str, str]) -> int:
    if "transfer-encoding" in fields:
        raise HttpRefusal(411, msg("a body in chunks is not taken; give its Content-Length"))
    text = fields.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise HttpRefusal(400, msg("Content-Length is no number"))
    if int(text) > LARGEST_BODY:
        raise HttpRefusal(413, msg("the body has more than {largest_body} bytes", largest_body=LARGEST_BODY))
    return int(text)


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except (ValueError, UnicodeDecodeError):
        raise HttpRefusal(400, msg("the query is malformed")) from None
    if len(dict(pairs)) != len(pairs):
        raise HttpRefusal(400, msg("a parameter is given twice"))
    return dict(pairs)

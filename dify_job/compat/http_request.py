"""Parse HTTP/1.1 requests with the standard library's http.server after a strict check. Pure.

The check allows none of the leniencies of RFC 9112: no bare LF, no folded lines, no space before a colon,
no chunks. A head that two parsers could read differently never reaches the parser.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl

from ..messages.message import msg

MAX_HEAD = 8 * 1024
MAX_BODY = 16 * 1024
_MAX_FIELDS = 64
_MAX_PARAMETERS = 8
_END = b"\r\n\r\n"
# Values are stripped afterwards: a pattern for the blanks would take cubic time.
_HEAD = re.compile(
    rb"[A-Z]{1,16} /[\x21-\x7e]* HTTP/1\.[01]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\x20-\x7e\x80-\xff\t]*\r\n)*\r\n"
)
_ONCE = frozenset({"host", "content-length", "authorization", "origin", "sec-fetch-site", "expect"})


class HttpError(Exception):  # an answer, not an internal error
    """An error response. allow: the methods of the path, for 405."""

    def __init__(self, status: int, message: str, *, allow: str = "") -> None:
        """Make the response.

        Args:
            status: Of HTTP.
            message: In English.
            allow: The methods of the path, for 405.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.allow = allow


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. fields: names in lower case. length: bytes of the body."""

    method: str
    path: str
    query: Mapping[str, str]
    fields: Mapping[str, str]
    length: int

    @property
    def expects_continue(self) -> bool:
        """Return True if the peer waits for 100 Continue before it sends the body."""
        return self.fields.get("expect", "").lower() == "100-continue"


def end_of_head(data: bytes) -> int | None:
    """Return the length of the head of a request, with its empty line; None if the head is incomplete.

    Args:
        data: The bytes received so far.

    Raises:
        HttpError: (400, 431) The bytes are no head, or the head is too long.
    """
    at = data.find(_END)
    if at < 0 and len(data) <= MAX_HEAD:
        if b"\n\n" in data:
            raise HttpError(400, msg("lines of the request header must end with CR LF"))
        return None
    if at < 0 or at > MAX_HEAD:
        raise HttpError(431, msg("the request header has more than {maximum} bytes", maximum=MAX_HEAD))
    return at + len(_END)


def read_head(head: bytes) -> Request:
    """Read the request of a whole head.

    Args:
        head: the bytes up to and with the empty line.

    Raises:
        HttpError: for what is no request, or could be read in two ways.
    """
    if _HEAD.fullmatch(head) is None:
        raise HttpError(400, msg("the request header is not HTTP/1.1"))
    if head.count(b"\r\n") - 2 > _MAX_FIELDS:
        raise HttpError(431, msg("the request has more than {maximum} headers", maximum=_MAX_FIELDS))
    parsed = _Parser(head)
    fields: dict[str, str] = {}
    for given, value in parsed.headers.items():
        name, text = given.lower(), value.strip(" \t")
        if name in fields and name in _ONCE:
            raise HttpError(400, msg("the request has the header {name} twice", name=name))
        fields[name] = f"{fields[name]}, {text}" if name in fields else text
    target = parsed.requestline.split(" ")[1]  # parsed.path lacks a second leading slash
    path, question, query = target.partition("?")
    return Request(parsed.command, path, _query(query) if question else {}, fields, _length(fields))


class _Parser(BaseHTTPRequestHandler):
    """The standard library's handler, used to parse one head."""

    def __init__(self, head: bytes) -> None:
        self.rfile = io.BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        self.parse_request()

    def handle_expect_100(self) -> bool:
        """Do nothing: the server sends 100 Continue before it reads the body."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Raise HttpError for a request that the parser rejects."""
        raise HttpError(code, message or explain or "")


def _length(fields: Mapping[str, str]) -> int:
    if "transfer-encoding" in fields:
        raise HttpError(411, msg("chunked request bodies are not supported; send Content-Length"))
    text = fields.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise HttpError(400, msg("the header Content-Length is not a number"))
    if int(text) > MAX_BODY:
        raise HttpError(413, msg("the request body has more than {maximum} bytes", maximum=MAX_BODY))
    return int(text)


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except (ValueError, UnicodeDecodeError):
        raise HttpError(400, msg("the query string of the request is malformed")) from None
    if len(dict(pairs)) != len(pairs):
        raise HttpError(400, msg("a query parameter of the request is given twice"))
    return dict(pairs)

"""Serve one request on a connected socket, with a limit on every wait, and close the socket."""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.client import responses
from typing import Any

from ..messages.message import msg
from ..system.json_text import dumps
from .http_request import HttpError, Request, end_of_head, read_head

_HEAD_TIMEOUT = 5.0  # seconds for the complete head, however slowly it arrives
_BODY_TIMEOUT = 5.0
_WRITE_TIMEOUT = 10.0
# Seconds and bytes of further input that is discarded, so that TCP does not reset the answer.
_LINGER = (1.0, 1024 * 1024)
_CHUNK = 4096
_FIELDS = {
    "Connection": "close",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The response."""

    status: int
    body: bytes
    kind: str = "application/json"
    fields: dict[str, str] = field(default_factory=dict)


Handle = Callable[[Request, bytes], Answer]


def as_json(value: Mapping[str, Any], status: int = 200) -> Answer:
    """Return an answer in JSON.

    Args:
        value: An object.
        status: Of HTTP.
    """
    return Answer(status, dumps(value).encode(errors="backslashreplace"))


def error_answer(refused: HttpError) -> Answer:
    """Return the answer to a rejected request in the form of the original system: success and message.

    Args:
        refused: The error.
    """
    extra = {401: {"WWW-Authenticate": "Bearer"}, 405: {"Allow": refused.allow}}.get(refused.status, {})
    return replace(as_json({"success": False, "message": refused.message}, refused.status), fields=extra)


def exchange(connection: socket.socket, admit: Callable[[], Handle]) -> tuple[str, int, str | None]:
    """Read one request, answer it, and close the connection.

    Args:
        connection: A connected socket. What comes after the first request is never read.
        admit: Returns the request handler. Raises HttpError for a peer without access, before anything is
            read.

    Returns:
        Method and path of the request, status of the answer (0 if the peer disconnected), and the reason of a
        rejection or None.
    """
    asked, bodiless, why = "-", False, None
    try:
        try:
            handle = admit()
            request, rest = _read_head(connection)
            asked, bodiless = f"{request.method} {request.path}", request.method == "HEAD"
            answer = handle(request, _read_body(connection, request, rest))
        except HttpError as refused:
            answer, why = error_answer(refused), refused.message
        _write(connection, answer, bodiless=bodiless)
    except OSError:
        return asked, 0, msg("the client has closed the connection")
    finally:
        _close(connection)
    return asked, answer.status, why


def reject(connection: socket.socket, refused: HttpError) -> None:
    """Reject a connection without reading from it and without waiting.

    Args:
        connection: the accepted connection, which is closed.
        refused: the answer.
    """
    answer = error_answer(refused)
    with contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(_head_of(answer) + answer.body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(_LINGER[1])  # unread input would make TCP reset the answer
    connection.close()


def _read_head(connection: socket.socket) -> tuple[Request, bytes]:
    until, data = time.monotonic() + _HEAD_TIMEOUT, b""
    while (end := end_of_head(data)) is None:
        data += _receive(connection, until, msg("the request header"))
    return read_head(data[:end]), data[end:]


def _read_body(connection: socket.socket, request: Request, body: bytes) -> bytes:
    if request.expects_continue and len(body) < request.length:
        connection.settimeout(_WRITE_TIMEOUT)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    until = time.monotonic() + _BODY_TIMEOUT
    while len(body) < request.length:
        body += _receive(connection, until, msg("the request body"))
    return body[: request.length]


def _receive(connection: socket.socket, until: float, what: str) -> bytes:
    left = until - time.monotonic()
    if left > 0:
        connection.settimeout(left)
        with contextlib.suppress(TimeoutError):
            if data := connection.recv(_CHUNK):
                return data
            raise HttpError(400, msg("{what} is incomplete, because the connection was closed", what=what))
    raise HttpError(408, msg("{what} did not arrive in time", what=what))


def _write(connection: socket.socket, answer: Answer, *, bodiless: bool) -> None:
    connection.settimeout(_WRITE_TIMEOUT)
    connection.sendall(_head_of(answer) + (b"" if bodiless else answer.body))


def _head_of(answer: Answer) -> bytes:
    """Return the status line and the fields."""
    fields = _FIELDS | {"Content-Type": answer.kind, "Content-Length": str(len(answer.body))} | answer.fields
    lines = [f"HTTP/1.1 {answer.status} {responses[answer.status]}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _close(connection: socket.socket) -> None:
    seconds, most = _LINGER
    until, dropped = time.monotonic() + seconds, 0
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while dropped < most and (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            data = connection.recv(_CHUNK * 16)
            if not data:
                break
            dropped += len(data)
    connection.close()

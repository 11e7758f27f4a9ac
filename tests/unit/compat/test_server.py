"""One HTTP exchange over a connection: limits of time and size."""

import socket
import threading
import time

import pytest

from dify_job.compat import server as exchanging
from dify_job.compat.http_request import HttpError, Request
from dify_job.compat.server import Answer, Handle, as_json, exchange
from tests.support.http_calls import CALL, read_response
from tests.support.patience import wait_until


def serve(
    pair: tuple[socket.socket, socket.socket], handle: Handle | None = None
) -> list[tuple[str, int, str | None]]:
    exchanges: list[tuple[str, int, str | None]] = []
    answer: Handle = handle or (lambda _request, body: as_json({"got": len(body)}))
    threading.Thread(target=lambda: exchanges.append(exchange(pair[1], lambda: answer)), daemon=True).start()
    return exchanges


def test_only_the_first_request_is_answered(pair: tuple[socket.socket, socket.socket]) -> None:
    seen: list[Request] = []

    def handle(request: Request, _body: bytes) -> Answer:
        seen.append(request)
        return as_json({"success": True})

    exchanges = serve(pair, handle)
    pair[0].sendall(CALL + CALL.replace(b"call", b"scheduler/stop"))
    data = read_response(pair[0])
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in data
    assert len(seen) == 1
    pair[0].close()
    wait_until(lambda: exchanges)
    assert exchanges == [("POST /api/dify/call", 200, None)]


def test_unauthorised_peer_is_rejected_before_its_request_is_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    def admit() -> Handle:
        raise HttpError(403, "not you")

    threading.Thread(target=lambda: exchange(pair[1], admit), daemon=True).start()
    assert read_response(pair[0]).startswith(b"HTTP/1.1 403 ")


def test_head_request_gets_no_body(pair: tuple[socket.socket, socket.socket]) -> None:
    serve(pair)
    pair[0].sendall(CALL.replace(b"POST", b"HEAD"))
    head, _, body = read_response(pair[0]).partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in head
    assert body == b""


def test_body_is_awaited_up_to_its_length(pair: tuple[socket.socket, socket.socket]) -> None:
    serve(pair)
    head = CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
    pair[0].sendall(head)
    pair[0].settimeout(5)
    assert pair[0].recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    pair[0].sendall(b"abc")
    time.sleep(0.1)
    pair[0].sendall(b"defGET / HTTP/1.1\r\n\r\n")
    assert read_response(pair[0]).endswith(b'{"got": 6}')


def test_slow_head_times_out(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "_HEAD_TIMEOUT", 0.6)
    serve(pair)
    began = time.monotonic()

    def drip() -> None:
        for byte in CALL:
            try:
                pair[0].sendall(bytes([byte]))
            except OSError:
                return
            time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    assert read_response(pair[0]).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 60


def test_missing_body_times_out(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "_BODY_TIMEOUT", 0.3)
    serve(pair)
    pair[0].sendall(CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\nab"))
    assert read_response(pair[0]).startswith(b"HTTP/1.1 408 ")


def test_body_of_ten_megabytes_is_rejected_with_a_response(pair: tuple[socket.socket, socket.socket]) -> None:
    serve(pair)
    head = CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 10485760\r\n\r\n")

    def pour() -> None:
        try:
            pair[0].sendall(head + bytes(600_000))
        except OSError:
            return

    threading.Thread(target=pour, daemon=True).start()
    assert read_response(pair[0]).startswith(b"HTTP/1.1 413 ")


def test_peer_that_disconnects_causes_no_error(pair: tuple[socket.socket, socket.socket]) -> None:
    exchanges = serve(pair)
    pair[0].sendall(CALL[:10])
    pair[0].close()
    wait_until(lambda: exchanges)
    assert exchanges
    assert exchanges[0][1] in (0, 400)

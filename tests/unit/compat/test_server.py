"""One exchange over a connection: limits of time and size."""

import socket
import threading
import time

import pytest

from dify_job.compat import server as exchanging
from dify_job.compat.http_request import HttpError, Request
from dify_job.compat.server import Answer, Handle, as_json, exchange
from tests.support.http_calls import CALL


def served(
    pair: tuple[socket.socket, socket.socket], handle: Handle | None = None
) -> list[tuple[str, int, str | None]]:
    told: list[tuple[str, int, str | None]] = []
    answer: Handle = handle or (lambda _request, body: as_json({"got": len(body)}))
    threading.Thread(target=lambda: told.append(exchange(pair[1], lambda: answer)), daemon=True).start()
    return told


def everything(client: socket.socket) -> bytes:
    client.settimeout(15)
    data = b""
    while part := client.recv(65536):
        data += part
    return data


def test_one_request_is_answered_and_what_follows_is_not(pair: tuple[socket.socket, socket.socket]) -> None:
    seen: list[Request] = []

    def handle(request: Request, _body: bytes) -> Answer:
        seen.append(request)
        return as_json({"success": True})

    told = served(pair, handle)
    pair[0].sendall(CALL + CALL.replace(b"call", b"scheduler/stop"))
    data = everything(pair[0])
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in data
    assert len(seen) == 1
    pair[0].close()
    while not told:
        time.sleep(0.01)
    assert told == [("POST /api/dify/call", 200, None)]


def test_who_is_not_admitted_is_told_so_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    def admit() -> Handle:
        raise HttpError(403, "not you")

    threading.Thread(target=lambda: exchange(pair[1], admit), daemon=True).start()
    assert everything(pair[0]).startswith(b"HTTP/1.1 403 ")


def test_what_asks_for_the_head_gets_no_body(pair: tuple[socket.socket, socket.socket]) -> None:
    served(pair)
    pair[0].sendall(CALL.replace(b"POST", b"HEAD"))
    head, _, body = everything(pair[0]).partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in head
    assert body == b""


def test_body_is_read_to_its_length_and_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    served(pair)
    head = CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
    pair[0].sendall(head)
    pair[0].settimeout(5)
    assert pair[0].recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    pair[0].sendall(b"abc")
    time.sleep(0.1)
    pair[0].sendall(b"defGET / HTTP/1.1\r\n\r\n")
    assert everything(pair[0]).endswith(b'{"got": 6}')


def test_head_that_drips_is_cut_off(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "_HEAD_WITHIN", 0.6)
    served(pair)
    began = time.monotonic()

    def drip() -> None:
        for byte in CALL:
            try:
                pair[0].sendall(bytes([byte]))
            except OSError:
                return
            time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    assert everything(pair[0]).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5


def test_body_that_does_not_come_is_cut_off(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "_BODY_WITHIN", 0.3)
    served(pair)
    pair[0].sendall(CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\nab"))
    assert everything(pair[0]).startswith(b"HTTP/1.1 408 ")


def test_ten_megabytes_are_refused_and_the_answer_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    served(pair)
    head = CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 10485760\r\n\r\n")

    def pour() -> None:
        try:
            pair[0].sendall(head + bytes(600_000))
        except OSError:
            return

    threading.Thread(target=pour, daemon=True).start()
    assert everything(pair[0]).startswith(b"HTTP/1.1 413 ")


def test_peer_that_leaves_is_no_trouble(pair: tuple[socket.socket, socket.socket]) -> None:
    told = served(pair)
    pair[0].sendall(CALL[:10])
    pair[0].close()
    until = time.monotonic() + 5
    while not told and time.monotonic() < until:
        time.sleep(0.01)
    assert told
    assert told[0][1] in (0, 400)

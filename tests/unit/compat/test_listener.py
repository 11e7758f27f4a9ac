"""The HTTP listener: rejects unauthorised peers without a process, and limits connections per user."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from dify_job.compat import listener
from dify_job.compat.auth import Peer
from dify_job.compat.http_request import HttpError
from dify_job.compat.listener import MAX_REQUESTS_PER_PEER, is_listening, listen
from tests.support.http_calls import read_response

GOOD, BAD = 1000, 2000


class ListenerThread:
    """A listener in a thread; the test sets the UID of each peer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.uids: dict[int, int] = {}
        self.on_rejected: list[int] = []
        self._gate_read, self._gate = os.pipe()
        monkeypatch.setattr(listener, "peer_of", self._peer)
        self.thread = threading.Thread(target=self._go, daemon=True)
        self.thread.start()

    def _peer(self, connection: socket.socket) -> Peer:
        return Peer("127.0.0.1", self.uids.get(connection.getpeername()[1], GOOD))

    def _go(self) -> None:
        def admit(peer: Peer) -> None:
            if peer.uid == BAD:
                raise HttpError(403, "not you")

        def answer(connection: socket.socket, _peer: Peer) -> NoReturn:
            try:
                if connection.recv(10) == b"wait":
                    os.read(self._gate_read, 1)
                connection.sendall(b"done")
            finally:
                os._exit(0)

        listen(
            self.socket, admit, answer, lambda _, refused: self.on_rejected.append(refused.status), idle=0.5
        )

    def connect(self, uid: int, send: bytes = b"") -> socket.socket:
        client = socket.socket()
        client.bind(("127.0.0.1", 0))
        self.uids[client.getsockname()[1]] = uid
        client.settimeout(15)
        client.connect(self.socket.getsockname())
        if send:
            client.sendall(send)
        return client

    def open_gate(self, count: int) -> None:
        os.write(self._gate, bytes(count))


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListenerThread]:
    one = ListenerThread(monkeypatch)
    yield one
    one.thread.join(20)
    one.socket.close()


def test_unauthorised_connections_do_not_delay_authorised_ones(running: ListenerThread) -> None:
    others = [running.connect(BAD) for _ in range(100)]  # they send nothing and stay connected
    began = time.monotonic()
    assert read_response(running.connect(GOOD, b"go")) == b"done"
    assert time.monotonic() - began < 60
    for other in others:
        assert b" 403 " in read_response(other)
    assert running.on_rejected == [403] * 100


def test_each_user_has_a_limit_of_its_own(running: ListenerThread) -> None:
    waiting = [running.connect(GOOD, b"wait") for _ in range(MAX_REQUESTS_PER_PEER)]
    assert b" 429 " in read_response(running.connect(GOOD, b"go"))
    assert read_response(running.connect(GOOD + 1, b"go")) == b"done"
    running.open_gate(MAX_REQUESTS_PER_PEER)
    assert [read_response(client) for client in waiting] == [b"done"] * MAX_REQUESTS_PER_PEER
    assert _soon(lambda: read_response(running.connect(GOOD, b"go")) == b"done")


def test_listener_exits_when_idle(running: ListenerThread) -> None:
    assert read_response(running.connect(GOOD, b"go")) == b"done"
    running.thread.join(20)
    assert not running.thread.is_alive()


def test_listening_socket_is_distinguished_from_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert is_listening(server)
        with socket.create_connection(server.getsockname()) as client:
            assert not is_listening(client)


def _soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.05)
    return False

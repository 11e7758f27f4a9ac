"""A proxy that cuts the request that starts a run, or its response, at a given byte."""

import os
import socket
import struct
import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from tests.support.socket_server import SocketServer, read_request


class Fault(StrEnum):
    FIN = "fin"
    RST = "rst"
    STALL = "stall"
    HTML = "504"


GATEWAY_TIMEOUT = (
    b"HTTP/1.1 504 Gateway Time-out\r\nContent-Type: text/html\r\nContent-Length: 27\r\n\r\n"
    b"<html>Gateway Time-out</h1>"
)

HOST = f"127.9.{os.getpid() % 250}.1"  # a separate address: other tests use ports of 127.0.0.1
EVENT_END = b"\n\n\r\n"  # an empty line, and the end of its HTTP chunk


@dataclass(frozen=True)
class Cut:
    """A cut after some bytes of the request or response, or after some whole events.

    Attributes:
        in_request: Cut the request; otherwise its response.
        position: Bytes, or whole events, that pass.
        fault: What happens then.
        whole_events: `position` counts events.
    """

    in_request: bool
    position: int
    fault: Fault
    whole_events: bool = False


class CuttingProxy(SocketServer):
    """Cuts the first request that starts a run, on any connection.

    A slow client can search for its run before the request that starts it has a connection, so this need not
    be the first connection.

    Attributes:
        seen: A line per request, with what the proxy did with it.
        answered: True if the server answered the first request that starts a run. On a loaded machine it may
            not, and then no run exists, wherever the cut was planned.
    """

    def __init__(self, upstream: int, cut: Cut | None) -> None:
        super().__init__(HOST)
        self._upstream = upstream
        self._cut = cut
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.posts = 0  # requests that start a run
        self.request = b""
        self.first_at: float | None = None  # monotonic time at which the first of them arrived
        self.response = b""
        self.answered = False
        self.seen: list[str] = []

    def serve(self, client: socket.socket, number: int) -> None:
        request = read_request(client)
        line = request.split(b"\r\n", 1)[0]
        with self._lock:
            first = self._is_first(line)
            if first:
                self.first_at = time.monotonic()
            cut = self._cut if first else None
            action = f"cut: {cut}" if cut is not None else "passed"
            after = time.monotonic() - self._began
            self.seen.append(f"{after:.3f} s, connection {number}: {line.decode('latin-1')!r}, {action}")
        if cut is not None and cut.in_request:
            with socket.create_connection(("127.0.0.1", self._upstream)) as server:
                server.sendall(request[: cut.position])
            self._break(client, cut.fault)
            return
        try:
            self._forward(request, client, cut, first)
        except OSError as error:
            self.seen.append(f"connection {number} broke: {error!r}")
            raise

    def _forward(self, request: bytes, client: socket.socket, cut: Cut | None, first: bool) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream)) as server:
            server.sendall(request)
            if first:
                self.answered = cut is not None and cut.position == 0  # then no response is read
            if first:
                self.request = request
            if cut is not None and cut.whole_events:
                self._pass_events(server, client, cut.position)
            else:
                self._pass(server, client, None if cut is None else cut.position, first)
            if cut is not None:
                self._break(client, cut.fault)

    def _is_first(self, line: bytes) -> bool:
        starts = line.startswith(b"POST ") and line.split(b" ")[1].endswith(b"/workflows/run")
        self.posts += starts
        return starts and self.posts == 1

    def _pass(self, server: socket.socket, client: socket.socket, limit: int | None, first: bool) -> None:
        passed = 0
        while limit is None or passed < limit:
            part = server.recv(65536 if limit is None else min(65536, limit - passed))
            if not part:
                return
            passed += len(part)
            if first:
                self.answered = True
                self.response += part
            client.sendall(part)

    def _pass_events(self, server: socket.socket, client: socket.socket, number: int) -> None:
        """Pass the head and `number` events, each with the end of its chunk."""
        passed = b""
        while passed.count(EVENT_END) < number and (byte := server.recv(1)):
            passed += byte
        self.answered |= bool(passed)
        client.sendall(passed)

    def _break(self, client: socket.socket, fault: Fault) -> None:
        match fault:
            case Fault.RST:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case Fault.STALL:
                self._closed.wait(60)
            case Fault.HTML:
                client.sendall(GATEWAY_TIMEOUT)

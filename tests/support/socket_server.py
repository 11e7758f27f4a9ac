"""Base class of socket servers in tests: a listening socket, and a thread per connection."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self


def read_request(connection: socket.socket) -> bytes:
    """Read a complete request; closing a socket with unread bytes would reset the connection."""
    data = b""
    while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    while length and len(body) < int(length[1]) and (part := connection.recv(65536)):
        body += part
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def unused_port() -> Iterator[int]:
    """Reserve a port of 127.0.0.1 that refuses connections; a server of the test can still listen on it."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


class SocketServer:
    """A server on loopback, as a context manager; subclasses implement `serve`.

    Attributes:
        address: URL of the server.
        base_url: The same with /v1.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=64)
        self._closed = threading.Event()
        self.address = f"http://{host if '.' in host else f'[{host}]'}:{self._listener.getsockname()[1]}"
        self.base_url = f"{self.address}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)  # its accept() must not use the descriptor after it is reused
        self._listener.close()

    def serve(self, client: socket.socket, number: int) -> None:
        """Handle one connection; it is closed afterwards, and connection errors are ignored.

        Args:
            client: The connection.
            number: Number of the connection, from 0.
        """
        raise NotImplementedError

    def _accept(self) -> None:
        number = 0
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, number), daemon=True).start()
            number += 1

    def _serve(self, client: socket.socket, number: int) -> None:
        with client, contextlib.suppress(OSError):
            self.serve(client, number)


class FixedResponseServer(SocketServer):
    """Gives the same response to each request.

    Args:
        answer: The response, or a function that handles the connection after its request.
        host: Address to listen on.
        certificate: Files with key and certificate; then the server uses TLS, as localhost.

    Attributes:
        seen: The requests.
    """

    def __init__(
        self,
        answer: bytes | Callable[[socket.socket], None],
        host: str = "127.0.0.1",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(host)
        self._answer = answer
        self.seen: list[bytes] = []
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate[1], certificate[0])
            self.base_url = f"https://localhost:{self._listener.getsockname()[1]}/v1"

    def serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002 - all connections are alike
        if self._context is not None:
            client = self._context.wrap_socket(client, server_side=True)
        with client:
            self.seen.append(read_request(client))
            if callable(self._answer):
                self._answer(client)
            else:
                client.sendall(self._answer)


RespondWith = Callable[..., FixedResponseServer]  # the fixture `respond_with`

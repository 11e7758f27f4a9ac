"""What the raw servers of the tests share: a listening socket, and a thread for each connection."""

import contextlib
import socket
import threading
from typing import Self


class Accepting:
    """A server on loopback; a context manager. number: of the connection, from 0 on."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0), backlog=64)
        self._closed = threading.Event()
        self.base_url = f"http://{host}:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def serve(self, client: socket.socket, number: int) -> None:
        """Answer one connection; it is closed afterwards, and one that breaks is no fault."""
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

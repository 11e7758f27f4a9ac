"""Connections to the fake Dify server without a network, over socket pairs."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3.util.connection

from tests.support.fake_dify.server import FakeDify


class _PairedSocket(socket.socket):
    def setsockopt(self, *_: object) -> None:
        """Ignore options of TCP."""


@contextlib.contextmanager
def in_memory(server: FakeDify) -> Iterator[None]:
    """Make urllib3 connect to a server for any address, with the same bytes and pauses."""

    def connect(_address: object, timeout: Any = None, *_: object, **__: object) -> socket.socket:
        client_end, server_end = (_PairedSocket(fileno=end.detach()) for end in socket.socketpair())
        if isinstance(timeout, int | float):
            client_end.settimeout(timeout)
        server.serve_connection(server_end)
        return client_end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urllib3.util.connection, "create_connection", connect)
        yield

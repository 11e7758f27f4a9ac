"""Connections of this process to the fake Dify without a network: one end of a pair of sockets."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3.util.connection

from tests.support.fake_dify.server import FakeDify


class _End(socket.socket):
    def setsockopt(self, *_: object) -> None:
        """Take TCP's options, which a pair does not have."""


@contextlib.contextmanager
def in_memory(server: FakeDify) -> Iterator[None]:
    """Let urllib3 connect to a server whatever the address; the bytes and their pauses stay the same."""

    def connect(_address: object, timeout: Any = None, *_: object, **__: object) -> socket.socket:
        ours, theirs = (_End(fileno=end.detach()) for end in socket.socketpair())
        if isinstance(timeout, int | float):
            ours.settimeout(timeout)
        server.take(theirs)
        return ours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urllib3.util.connection, "create_connection", connect)
        yield

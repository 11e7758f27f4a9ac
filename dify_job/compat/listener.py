"""The listening socket: one process for each request of a peer that has access and is within its limit.

systemd starts the listener at the first connection. It exits after a time without connections.
"""

import os
import select
import socket
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from ..messages.message import msg
from .auth import Peer
from .http_request import HttpError
from .peer_credentials import peer_of
from .server import reject

MAX_REQUESTS, MAX_REQUESTS_PER_PEER = 32, 8  # requests at once
_IDLE = 2.0  # seconds
_REAP = 0.2


def is_listening(connection: socket.socket) -> bool:
    """Return True for a socket that accepts connections.

    Args:
        connection: A socket.
    """
    try:
        return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def listen(
    listening: socket.socket,
    admit: Callable[[Peer], object],
    answer: Callable[[socket.socket, Peer], NoReturn],
    on_rejected: Callable[[Peer, HttpError], None],
    *,
    idle: float = _IDLE,
) -> None:
    """Accept connections until none arrives for `idle` seconds and all requests are answered.

    A peer is a user of this machine or an address. Each has its own limit, so none can block the others.

    Args:
        listening: the socket that systemd holds.
        admit: Raises HttpError for a peer without access, before the request is read.
        answer: Answers one connection in a forked process, and ends that process.
        on_rejected: Called with a rejected peer.
        idle: Seconds without a connection before the listener exits.
    """
    children: dict[int, object] = {}
    waited = 0.0
    while True:
        children = {child: peer for child, peer in children.items() if not os.waitpid(child, os.WNOHANG)[0]}
        wait = _REAP if children else idle
        if not select.select([listening], [], [], wait)[0]:
            waited = 0.0 if children else waited + wait
            if waited >= idle:
                return
            continue
        waited = 0.0
        try:
            connection, _ = listening.accept()
            peer = peer_of(connection)
        except OSError:
            continue
        try:
            admit(peer)
            _check_limits(children, peer)
            child = _fork()
        except HttpError as refused:
            reject(connection, refused)
            on_rejected(peer, refused)
            continue
        if child == 0:
            listening.close()
            answer(connection, peer)
        children[child] = _source(peer)
        connection.close()


def _check_limits(children: dict[int, object], peer: Peer) -> None:
    if Counter(children.values())[_source(peer)] >= MAX_REQUESTS_PER_PEER:
        raise HttpError(
            429,
            msg(
                "you already have {maximum} requests in progress; try again later",
                maximum=MAX_REQUESTS_PER_PEER,
            ),
        )
    if len(children) >= MAX_REQUESTS:
        raise HttpError(
            503, msg("{maximum} requests are already in progress; try again later", maximum=MAX_REQUESTS)
        )


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:  # no more processes
        raise HttpError(
            503, msg("no process can be started for the request: {reason}", reason=error.strerror)
        ) from None


def _source(peer: Peer) -> object:
    """Return the subject of a limit: a user of this machine, otherwise an address."""
    return peer.address if peer.uid is None else peer.uid

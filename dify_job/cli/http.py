"""`dify-job http`: answer the requests on the socket at standard input, then exit."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from .. import log
from ..compat.auth import Guard, Peer
from ..compat.http_request import HttpError, Request
from ..compat.listener import is_listening, listen
from ..compat.peer_credentials import peer_of
from ..compat.routes import Routes
from ..compat.server import Answer, Handle, exchange
from ..config.secrets import read_token
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from .options import Globals, option, pass_globals
from .output import log_traceback

_LOG_INTERVAL = 10.0  # seconds between two log lines about one peer


@click.command()
@click.argument("jobs", nargs=-1, required=True)
@option(
    "--allow-uid",
    "uids",
    type=int,
    multiple=True,
    metavar="UID",
    help=msg("Allow this UID to connect, in addition to root (repeatable)."),
)
@option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=msg("Require the bearer token stored in PATH."),
)
@pass_globals
def http(
    options: Globals, /, *, jobs: tuple[str, ...], uids: tuple[int, ...], token_file: Path | None
) -> None:
    """Answer the HTTP requests that start, stop and query the named jobs.

    The unit that install --http writes runs this command. Systemd passes the listening socket, or one
    connection, as standard input.
    """
    log.set_up(
        log_format=options.log_format, level=log.level_of(options.log_level or "info"), job=" ".join(jobs)
    )
    if options.config_path is None:
        raise JobError(
            Outcome.USAGE,
            msg("dify-job http needs --config"),
            msg("do not run this command by hand. The systemd unit of install --http runs it with --config"),
        )
    config = options.config_path
    try:
        given = socket.socket(fileno=os.dup(0))
        peer = None if is_listening(given) else peer_of(given)
    except OSError as error:
        raise JobError(
            Outcome.USAGE,
            msg("standard input is not a network connection: {reason}", reason=error.strerror),
            command("dify-job", "install", "--http"),
        ) from None
    if peer is None:
        noted = _RejectionLog()
        open_to = None if token_file is not None else Guard(frozenset({0, *uids}))
        listen(
            given,
            lambda peer: open_to.admit(peer) if open_to is not None else None,
            lambda connection, peer: _answer_and_exit(
                lambda: _exchange(connection, peer, jobs, config, uids, token_file)
            ),
            noted.on_rejected,
        )
        return
    _exchange(given, peer, jobs, config, uids, token_file)


def _answer_and_exit(answer: Callable[[], None]) -> NoReturn:
    """Answer in a forked process, which exits without the parent's clean-up."""
    code = 1
    try:
        answer()
        code = 0
    except Exception:  # an internal error must not reach the listener's loop
        log_traceback()
    finally:
        os._exit(code)


def _exchange(
    connection: socket.socket,
    peer: Peer,
    jobs: tuple[str, ...],
    config: Path,
    uids: tuple[int, ...],
    token_file: Path | None,
) -> None:
    """Answer one request and log it."""

    def admit() -> Handle:
        guard = _guard(uids, token_file)
        guard.admit(peer)
        return lambda request, body: _answer(guard, jobs, config, request, body)

    asked, status, why = exchange(connection, admit)
    if why is None:
        log.info(
            msg("HTTP request {request} was answered with {status}", request=asked, status=status),
            peer=peer.address,
            uid=peer.uid,
        )
    else:
        _log_rejection(asked, status, why, peer)


def _log_rejection(asked: str, status: int, why: str, peer: Peer) -> None:
    text = msg(
        "HTTP request {request} was answered with {status}: {reason}",
        request=asked,
        status=status,
        reason=why,
    )
    log.warning(text, peer=peer.address, uid=peer.uid)


class _RejectionLog:
    """Log rejected peers at a limited rate, so that a flood does not fill the log."""

    def __init__(self) -> None:
        self._last: dict[object, float] = {}

    def on_rejected(self, peer: Peer, refused: HttpError) -> None:
        """Log a rejected peer."""
        now, who = time.monotonic(), (peer.uid, peer.address, refused.status)
        if now - self._last.get(who, -_LOG_INTERVAL) >= _LOG_INTERVAL:
            self._last[who] = now
            _log_rejection("-", refused.status, refused.message, peer)


def _answer(guard: Guard, jobs: tuple[str, ...], config: Path, request: Request, body: bytes) -> Answer:
    guard.check(request)
    try:
        return Routes(jobs, config).answer(request, body)
    except HttpError:
        raise
    except Exception:  # an internal error is an answer too
        log_traceback()
        raise HttpError(500, msg("internal error of dify-job; its log has the traceback")) from None


def _guard(uids: tuple[int, ...], token_file: Path | None) -> Guard:
    try:
        token = read_token(token_file).reveal().encode() if token_file is not None else None
    except JobError as error:
        log.error(error.message, hint=error.hint)
        raise HttpError(503, msg("the interface rejects every request; its log has the reason")) from None
    return Guard(frozenset({0, *uids}), token)

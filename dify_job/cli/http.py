"""`dify-job http`: answer the one request on standard input, a socket that systemd accepted, and leave."""

import os
import socket
from pathlib import Path

import click

from .. import log
from ..compat.auth import Guard
from ..compat.http_request import HttpRefusal, Request
from ..compat.peer_credentials import peer_of
from ..compat.server import Answer, Handle, exchange
from ..config.secrets import read_token
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from .options import Globals
from .output import log_traceback


@click.command()
@click.argument("jobs", nargs=-1, required=True)
@click.option("--allow-uid", "uids", type=int, multiple=True, help=msg("A user who may ask, beside root."))
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=msg("Let in who has the token in this file, and nobody else."),
)
@click.pass_context
def http(
    ctx: click.Context, /, *, jobs: tuple[str, ...], uids: tuple[int, ...], token_file: Path | None
) -> None:
    """Answer one HTTP request on standard input, for the jobs named; the unit of install --http starts it."""
    options = ctx.ensure_object(Globals)
    log.set_up(face=options.log_format, level=log.level_of(options.log_level or "info"), job=" ".join(jobs))
    if options.config_path is None:
        raise JobError(
            Outcome.USAGE, msg("--config is needed"), msg("install --http writes a unit that gives it")
        )
    config = options.config_path
    try:
        connection = socket.socket(fileno=os.dup(0))
        peer = peer_of(connection)
    except OSError as error:
        raise JobError(
            Outcome.USAGE,
            msg("standard input is no connection: {strerror}", strerror=error.strerror),
            msg("dify-job install --http"),
        ) from None

    def admit() -> Handle:
        guard = _guard(uids, token_file)
        guard.admit(peer)
        return lambda request, body: _answer(guard, jobs, config, request, body)

    asked, status, why = exchange(connection, admit)
    tell = log.info if why is None else log.warning
    tell(f"{asked}: {status}" + (f", {why}" if why else ""), peer=peer.address, uid=peer.uid)


def _answer(guard: Guard, jobs: tuple[str, ...], config: Path, request: Request, body: bytes) -> Answer:
    guard.check(request)
    from ..compat.routes import Routes  # noqa: PLC0415 - a refusal is cheap

    try:
        return Routes(jobs, config).answer(request, body)
    except HttpRefusal:
        raise
    except Exception:  # noqa: BLE001 - a fault of ours is an answer too
        log_traceback()
        raise HttpRefusal(500, msg("a fault of dify-job itself; the log has its traceback")) from None


def _guard(uids: tuple[int, ...], token_file: Path | None) -> Guard:
    try:
        token = read_token(token_file).reveal().encode() if token_file is not None else None
    except JobError as error:
        log.error(error.message, hint=error.hint)
        raise HttpRefusal(503, msg("nobody can be let in; the log says why")) from None
    return Guard(frozenset({0, *uids}), token)

"""What install and uninstall do about the HTTP interface: its flags, and who can call it in words."""

import os
import pwd
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ..config.model import Job
from ..config.secrets import read_token
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import command
from ..schedulers.backend import Scope
from ..schedulers.http_socket import HttpSocket, HttpSocketConfig, address_of
from ..schedulers.reconcile import Backend

_DEFAULT_LISTEN = "127.0.0.1:8000"  # the original's


def http_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--http, --http-listen and --http-token-file."""
    for option in (
        click.option(
            "--http-token-file",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help=msg(
                "Require the bearer token in FILE, instead of restricting access to root and "
                "the installing user."
            ),
        ),
        click.option(
            "--http-listen",
            metavar="ADDRESS:PORT",
            default=_DEFAULT_LISTEN,
            show_default=True,
            help=msg("Address and port to listen on; a non-loopback address requires --http-token-file."),
        ),
        click.option(
            "--http", is_flag=True, help=msg("Also serve the original's HTTP calls, by a socket unit.")
        ),
    ):
        command = option(command)
    return command


def http_socket_config(
    jobs: Sequence[Job], scheduler: Backend, place: Path, *, http: bool, listen: str, token_file: Path | None
) -> HttpSocketConfig | None:
    """What the flags ask for; None where they do not. Raises JobError for what could not be served."""
    if not http:
        if token_file is not None or listen != _DEFAULT_LISTEN:
            raise JobError(
                Outcome.USAGE, msg("--http-listen and --http-token-file need --http"), msg("add it")
            )
        return None
    if scheduler.by_cron:
        raise JobError(Outcome.CONFIG, msg("--http needs the systemd back end"), msg("leave --http out"))
    if token_file is not None:
        token_file = token_file.absolute()
        read_token(token_file)
    caller = int(os.environ.get("SUDO_UID", "0")) if scheduler.scope is Scope.SYSTEM else os.getuid()
    config = HttpSocketConfig(
        listen=listen,
        jobs=[job.name for job in jobs],
        config_path=place,
        python=Path(sys.executable),
        uid=caller or None,
        token_file=token_file,
    )
    HttpSocket(scheduler.scope).render(config)
    return config


def report_http_socket(
    config: HttpSocketConfig, scope: Scope, say: Callable[[str], None], *, changed: bool
) -> None:
    """Print where it listens, and who can call."""
    address, port = address_of(config.listen)
    say(
        msg(
            "http: {value} on {address} port {port}, {who}",
            value="listening" if changed else "unchanged",
            address=address,
            port=port,
            who=_who(config),
        )
    )
    say(msg("  it can only start, stop and query: {jobs}", jobs=", ".join(config.jobs)))
    if scope is Scope.SYSTEM:
        say(
            msg(
                "  each request runs in a sandboxed root process with two capabilities and "
                "no outbound network"
            )
        )
    first = f"?job={config.jobs[0]}" if len(config.jobs) > 1 else ""
    bearer = (
        msg(' -H "Authorization: Bearer $(cat {quote})"', quote=shlex.quote(str(config.token_file)))
        if config.token_file
        else ""
    )
    name = f"[{address}]" if ":" in address else address
    say(
        msg(
            "  try it     curl{bearer} http://{name}:{port}/api/dify/scheduler/status{first}",
            bearer=bearer,
            name=name,
            port=port,
            first=first,
        )
    )


def remind_of_http_socket(scheduler: Backend, say: Callable[[str], None]) -> None:
    """Print that the interface was made for another interpreter, which an upgrade may remove."""
    if not scheduler.by_cron and not HttpSocket(scheduler.scope).names(Path(sys.executable)):
        say(
            msg(
                "http: its unit starts another interpreter; {command} renews it",
                command=command("dify-job", "install", "--http"),
            )
        )


def _who(config: HttpSocketConfig) -> str:
    if config.token_file is not None:
        return msg("for everybody with the token in {token_file}", token_file=config.token_file)
    if config.uid is None:
        return msg("for root on this machine")
    try:
        return msg("for root and {pw_name} on this machine", pw_name=pwd.getpwuid(config.uid).pw_name)
    except KeyError:
        return msg("for root and user {uid} on this machine", uid=config.uid)

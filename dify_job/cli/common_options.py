"""What commands that speak to schedulers share: their options, and the jobs that they name."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..config.loader import load_config
from ..config.model import Config
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import command
from ..report.since import parse_since
from ..schedulers.backend import Scope
from ..schedulers.detect import installed_jobs, visible
from ..state.reader import read_tick
from .options import Globals
from .output import echo


def scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--backend, --user and --system."""
    for option in (
        click.option("--user", "scope", flag_value="user", help=msg("Your own jobs (default unless root).")),
        click.option(
            "--system", "scope", flag_value="system", help=msg("The machine's jobs (default as root).")
        ),
        click.option(
            "--backend",
            type=click.Choice(["auto", "systemd", "cron"]),
            default="auto",
            show_default=True,
            help=msg("auto takes systemd where the machine was booted with it."),
        ),
    ):
        command = option(command)
    return command


def since_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--since, as an aware time."""
    when = msg("Only since then: yesterday, 2h, 2026-01-31, '07:00', as of systemd.time(7).")
    return click.option("--since", metavar="WHEN", callback=_since, help=when)(command)


def _since(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return parse_since(value, datetime.now(UTC))
    except ValueError as error:
        fix = command(*ctx.command_path.split(), "--help")
        raise JobError(Outcome.USAGE, msg("--since {error}", error=error), fix) from None


def reporter(options: Globals) -> Callable[[str], None]:
    """Return what prints a line about what was done: echo, or nothing with -q."""
    return (lambda _text: None) if options.quiet else echo


def try_config(options: Globals) -> Config | None:
    """The configuration, or None where it is gone or broken: some commands must work without it."""
    try:
        return load_config(options.config_path, options.env_file)
    except JobError:
        return None


def tick_of(state: Path) -> datetime | None:
    """The last tick that `--if-due` counts from, where it can be read. state: the job's directory."""
    at = read_tick(state)
    return None if at is None else datetime.fromtimestamp(at, UTC)


def check_names(name: str, jobs: Sequence[str], *, all_jobs: bool) -> None:
    """Refuse a command that changes jobs and names neither any nor all.

    Raises:
        JobError: Neither or both (usage).

    """
    if bool(jobs) == all_jobs:
        raise JobError(
            Outcome.USAGE,
            msg("{command} needs the names of jobs, or --all", command=name),
            msg(
                "{status} shows the jobs; {again}",
                status=command("dify-job", "status"),
                again=command("dify-job", name, "JOB"),
            ),
        )


def check_not_roots(name: str, absent: Sequence[str], scope: str | None, backend: str) -> None:
    """Raises JobError (denied) for a job that the machine has, and this caller has not."""
    if not absent or scope is not None or os.geteuid() == 0:
        return
    for _, one in installed_jobs(visible(backend, Scope.SYSTEM), tuple(absent)):
        raise JobError(
            Outcome.DENIED,
            msg(
                "{job} is a job of the machine, installed with {backend} by root",
                job=one.job,
                backend=one.backend,
            ),
            command("dify-job", name, one.job, needs_root=True),
        )

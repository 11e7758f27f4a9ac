"""`dify-job doctor`: what could stop the next run, each line with the command that mends it."""

import os
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ..checks.context import CheckContext
from ..checks.finding import Finding, Severity, fail
from ..checks.registry import examine
from ..checks.server import Servers
from ..config.loader import load_config, pick_usable
from ..config.managed import scope_config
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import msg
from ..messages.sanitize import one_line
from ..schedulers.backend import Scope
from ..schedulers.detect import installed_jobs, visible
from .common_options import scope_options
from .options import Globals
from .output import echo, echo_json

_COLOURS = {Severity.OK: "\x1b[32m", Severity.WARN: "\x1b[33m", Severity.FAIL: "\x1b[31m"}


@click.command()
@click.argument("job", required=False)
@scope_options
@click.option("--json", "as_json", is_flag=True, help=msg("As JSON."))
@click.pass_context
def doctor(ctx: click.Context, /, *, job: str | None, scope: str | None, backend: str, as_json: bool) -> int:
    """Look for what could stop the next run of a job, or of all; starts none.

    Each line has the command or the edit that mends it. Exit 0 when all is well, 1 with warnings, 2 with
    failures.

    With --json: schema, worst (ok, warn or fail) and jobs; a job has job, worst and checks, and a check has
    check, level, message and mend (null where all is well).
    """
    found = examined(ctx.ensure_object(Globals), job, backend=backend, scope=scope)
    worst = max((check.level for _, checks in found for check in checks), default=Severity.OK)
    if as_json:
        echo_json({"schema": 1, "worst": worst.name.lower(), "jobs": [_as_json(*one) for one in found]})
    else:
        for name, checks in found:
            _print(name, checks, brief=len(found) > 1)
    return int(worst)


def examined(
    options: Globals, job: str | None, *, backend: str = "auto", scope: str | None = None
) -> list[tuple[str, Sequence[Finding]]]:
    """The lines of each job. Raises JobError (usage)."""
    now, servers = datetime.now(UTC), Servers()
    path = options.config_path
    if scope == Scope.SYSTEM and os.geteuid() != 0 and not os.environ.get("DIFY_JOB_CONFIG"):
        path = path or scope_config(system=True)  # the caller's own would be found first
    try:
        config = load_config(path, options.env_file, with_lines=True)
        jobs = pick_usable(config, [job])
    except JobError as error:
        if error.outcome is Outcome.USAGE:
            raise
        return [(job or "", [fail("config", error.message, error.hint).with_options(_flags(options))])]
    installed = installed_jobs(visible(backend, scope), tuple(one.name for one in jobs))
    asked = Scope(scope) if scope else None
    cases = [CheckContext.of(one, config, installed, now, backend=backend, scope=asked) for one in jobs]
    flags = _flags(options)
    found: list[tuple[str, Sequence[Finding]]] = [
        (name, [fail("config", error.message, error.hint).with_options(flags)])
        for name, error in config.broken.items()
        if job is None
    ]
    found += [
        (case.job.name, [check.with_options(flags) for check in examine(case, servers)]) for case in cases
    ]
    return found


def _flags(options: Globals) -> str:
    """By which this config was found, and has to be found again."""
    config, env_file = options.config_path, options.env_file
    words = ["--config", str(config.absolute())] if config is not None else []
    words += ["--env-file", str(env_file.absolute())] if env_file is not None else []
    return shlex.join(words)


def _print(name: str, checks: Sequence[Finding], *, brief: bool) -> None:
    """All lines of one job; of several, those that want something done."""
    shown = [check for check in checks if not brief or check.level is not Severity.OK]
    left = len(checks) - len(shown)
    echo(
        f"{name or 'dify-job'}"
        + (msg(": {left} of {len} checks are ok", left=left, len=len(checks)) if brief else "")
    )
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for check in shown:
        level = check.level.name.lower().ljust(4)
        level = f"{_COLOURS[check.level]}{level}\x1b[0m" if coloured else level
        echo(
            msg(
                "  {level}  {name:<11}  {one_line}",
                level=level,
                name=check.name,
                one_line=one_line(translate(check.message)),
            )
        )
        if check.mend is not None:
            echo(msg("{value}{one_line}", value=" " * 21, one_line=one_line(translate(check.mend))))


def _as_json(name: str, checks: Sequence[Finding]) -> dict[str, Any]:
    return {
        "job": name,
        "worst": max((check.level for check in checks), default=Severity.OK).name.lower(),
        "checks": [
            {
                "check": check.name,
                "level": check.level.name.lower(),
                "message": check.message,
                "mend": check.mend,
            }
            for check in checks
        ],
    }

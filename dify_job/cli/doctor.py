"""`dify-job doctor`: what could stop the next run, each line with the command that mends it."""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ..config.read import load_config, pick
from ..doctor.case import Case
from ..doctor.check import Check, Level, fail
from ..doctor.examine import examine
from ..doctor.server import Servers
from ..errors import JobError
from ..exits import Outcome
from ..plain import one_line
from ..scheduling.host import installed_jobs, visible
from ..words import in_readers_language
from .options import Globals
from .output import put, put_json

_COLOURS = {Level.OK: "\x1b[32m", Level.WARN: "\x1b[33m", Level.FAIL: "\x1b[31m"}


@click.command()
@click.argument("job", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def doctor(ctx: click.Context, /, *, job: str | None, as_json: bool) -> int:
    """Look for what could stop the next run of a job, or of all; starts none.

    Each line has the command or the edit that mends it. Exit 0 when all is well, 1 with warnings, 2 with
    failures.

    With --json: schema, worst (ok, warn or fail) and jobs; a job has job, worst and checks, and a check has
    check, level, message and mend (null where all is well).
    """
    found = examined(ctx.ensure_object(Globals), job)
    worst = max((check.level for _, checks in found for check in checks), default=Level.OK)
    if as_json:
        put_json({"schema": 1, "worst": worst.name.lower(), "jobs": [_as_json(*one) for one in found]})
    else:
        for name, checks in found:
            _print(name, checks, brief=len(found) > 1)
    return int(worst)


def examined(options: Globals, job: str | None) -> list[tuple[str, Sequence[Check]]]:
    """The lines of each job. Raises JobError (usage)."""
    try:
        config = load_config(options.config_path, options.env_file, with_lines=True)
        jobs = [pick(config, job)] if job is not None else list(config.jobs.values())
        if not jobs:
            pick(config, None)  # raises: there is none
    except JobError as error:
        if error.outcome is Outcome.USAGE:
            raise
        return [(job or "", [fail("config", error.message, error.hint)])]
    now, servers = datetime.now(UTC), Servers()
    installed = installed_jobs(visible("auto", None), tuple(one.name for one in jobs))
    return [(one.name, list(examine(Case.of(one, config, installed, now), servers))) for one in jobs]


def _print(name: str, checks: Sequence[Check], *, brief: bool) -> None:
    """All lines of one job; of several, those that want something done."""
    shown = [check for check in checks if not brief or check.level is not Level.OK]
    left = len(checks) - len(shown)
    put(f"{name or 'dify-job'}" + (f": {left} of {len(checks)} checks are ok" if brief else ""))
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for check in shown:
        level = check.level.name.lower().ljust(4)
        level = f"{_COLOURS[check.level]}{level}\x1b[0m" if coloured else level
        put(f"  {level}  {check.name:<11}  {one_line(in_readers_language(check.message))}")
        if check.mend is not None:
            put(f"{' ' * 21}{one_line(in_readers_language(check.mend))}")


def _as_json(name: str, checks: Sequence[Check]) -> dict[str, Any]:
    return {
        "job": name,
        "worst": max((check.level for check in checks), default=Level.OK).name.lower(),
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

"""`dify-job doctor`: what could stop the next run, each line with the command that fixes it."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ..checks.context import HostContext, store_forms
from ..checks.registry import examine
from ..checks.server import Servers
from ..config.loader import load_config, pick_usable
from ..config.managed import scope_config
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import msg
from ..messages.problem import Problem, Severity
from ..messages.sanitize import one_line
from ..report.text import Colour
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.detect import installed_jobs, visible
from ..schedulers.reconcile import Backend
from .options import Globals, json_option, pass_globals, scope_options
from .output import echo, echo_data, echo_json, reader, terminal_of_stdout

_COLOURS = {Severity.OK: Colour.GREEN, Severity.WARN: Colour.YELLOW, Severity.FAIL: Colour.RED}


@click.command()
@click.argument("job", required=False)
@scope_options
@json_option
@pass_globals
def doctor(options: Globals, /, *, job: str | None, scope: str | None, backend: str, as_json: bool) -> int:
    """Look for what could stop the next run of a job, or of all; starts none.

    Each line has the command or the edit that fixes it. Exit 0 when all is well, 1 with warnings, 2 with
    failures.

    With --json: schema, worst (ok, warn or fail) and jobs; a job has job, worst and checks, and a check has
    check, level, message and fix (null where all is well).
    """
    found = examined(options, job, backend=backend, scope=scope)
    worst = max((check.severity for _, checks in found for check in checks), default=Severity.OK)
    if as_json:
        echo_json({"schema": 1, "worst": worst.name.lower(), "jobs": [_as_json(*one) for one in found]})
    else:
        for name, checks in found:
            _print(name, checks, brief=len(found) > 1)
    return int(worst)


def examined(
    options: Globals, job: str | None, *, backend: str = "auto", scope: str | None = None
) -> list[tuple[str, Sequence[Problem]]]:
    """Return the findings of each job.

    Args:
        options: The global options.
        job: Its name; None for all.
        backend: The scheduler of a job that is not installed.
        scope: `user`, `system`, or None for both.

    Raises:
        JobError: (usage) There is no such job.
    """
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
        return [(job or "", [error.problem("config").for_reader(reader(options))])]
    installed: list[tuple[Backend, InstalledJob]] = []
    unasked: JobError | None = None
    for scheduler in visible(backend, scope):
        try:
            installed += installed_jobs((scheduler,), tuple(one.name for one in jobs))
        except JobError as error:
            unasked = error
    asked = Scope(scope) if scope else None
    contexts = [
        HostContext.of(
            one, config, installed, now, backend=backend, scope=asked, servers=servers, unasked=unasked
        )
        for one in jobs
    ]
    found: list[tuple[str, Sequence[Problem]]] = [
        (name, [error.problem("config")]) for name, error in config.broken.items() if job is None
    ]
    found += [(context.job.name, list(examine(context))) for context in contexts]
    store_forms(contexts)
    return [(name, [check.for_reader(reader(options)) for check in checks]) for name, checks in found]


def _print(name: str, checks: Sequence[Problem], *, brief: bool) -> None:
    """All lines of one job; of several, those that want something done."""
    shown = [check for check in checks if not brief or check.severity is not Severity.OK]
    passed, heading = len(checks) - len(shown), name or "dify-job"
    if brief:
        echo(msg("{job}: {passed} of {number} checks are ok", job=heading, passed=passed, number=len(checks)))
    else:
        echo(heading)
    terminal = terminal_of_stdout()
    for check in shown:
        level = terminal.paint(check.severity.name.lower().ljust(4), _COLOURS[check.severity])
        echo_data(f"  {level}  {check.name:<11}  {one_line(translate(check.message))}")
        if check.fix:
            echo_data(f"{' ' * 21}{one_line(translate(check.fix))}")


def _as_json(name: str, checks: Sequence[Problem]) -> dict[str, Any]:
    return {
        "job": name,
        "worst": max((check.severity for check in checks), default=Severity.OK).name.lower(),
        "checks": [check.as_json() for check in checks],
    }

"""`dify-job doctor`: check jobs for problems that prevent the next run, with a fix for each."""

from collections.abc import Sequence
from typing import Any

import click

from ..checks.finding import Finding, Severity
from ..checks.registry import check_jobs
from ..messages.command import commands_in
from ..messages.i18n import translate
from ..messages.message import join, msg
from ..messages.sanitize import one_line
from ..report.text import Colour, hanging, wrapped
from .options import Globals, json_option, pass_globals, scope_options
from .output import echo, echo_data, echo_json, reader, terminal_of_stdout

_TEXT_COLUMN = 21
_COLOURS = {Severity.OK: Colour.GREEN, Severity.WARN: Colour.YELLOW, Severity.FAIL: Colour.RED}


@click.command()
@click.argument("job", required=False)
@scope_options
@json_option
@pass_globals
def doctor(options: Globals, /, *, job: str | None, scope: str | None, backend: str, as_json: bool) -> int:
    """Check one job or all jobs for problems that would prevent the next run; start no run.

    Each problem comes with the command or the edit that fixes it. Exit 0 when all is well, 1 with
    warnings, 2 with failures.

    With --json, the output has schema, worst (ok, warn or fail) and jobs. Each of jobs has job (the name),
    worst and checks. Each of checks has check (the name), level, message and fix (null if nothing is wrong).
    """
    found = [
        (name, [check.for_reader(reader()) for check in checks])
        for name, checks in check_jobs(
            job, config_path=options.config_path, env_file=options.env_file, backend=backend, scope=scope
        )
    ]
    worst = max((check.severity for _, checks in found for check in checks), default=Severity.OK)
    if as_json:
        echo_json({"schema": 1, "worst": worst.name.lower(), "jobs": [_as_json(*one) for one in found]})
    else:
        _print(found)
    return int(worst)


def _print(found: Sequence[tuple[str, Sequence[Finding]]]) -> None:
    """Print all results of one job; of several jobs only the problems, and once what several jobs share."""
    if len(found) == 1:
        [(name, checks)] = found
        echo(name or "dify-job")
        _print_checks(checks)
        return
    jobs_of: dict[Finding, list[str]] = {}
    for name, checks in found:
        for check in checks:
            if check.severity is not Severity.OK:
                jobs_of.setdefault(check, []).append(name)
    for name, checks in found:
        problems = [check for check in checks if check in jobs_of]
        passed = len(checks) - len(problems)
        echo(msg("{job}: {passed} of {total} checks passed", job=name, passed=passed, total=len(checks)))
        _print_checks([check for check in problems if len(jobs_of[check]) == 1])
    for jobs in dict.fromkeys(tuple(jobs) for jobs in jobs_of.values() if len(jobs) > 1):
        heading = msg("all jobs:") if len(jobs) == len(found) else msg("{jobs}:", jobs=join(", ", jobs))
        echo_data("\n".join(wrapped(translate(heading), terminal_of_stdout().columns)))
        _print_checks([check for check, others in jobs_of.items() if tuple(others) == jobs])


def _print_checks(checks: Sequence[Finding]) -> None:
    terminal = terminal_of_stdout()
    for check in checks:
        level = terminal.paint(check.severity.name.lower().ljust(4), _COLOURS[check.severity])
        texts = {f"  {level}  {check.name}": check.message, "": check.fix or ""}
        for head, text in texts.items():
            if text:
                shown_text, commands = one_line(translate(text)), commands_in(text)
                lines = hanging(head, shown_text, _TEXT_COLUMN, terminal.columns, commands)
                echo_data("\n".join(lines))


def _as_json(name: str, checks: Sequence[Finding]) -> dict[str, Any]:
    return {
        "job": name,
        "worst": max((check.severity for check in checks), default=Severity.OK).name.lower(),
        "checks": [check.as_json() for check in checks],
    }

"""`dify-job history`: the past runs of a job, from its own state."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..config.loader import load_config, pick
from ..config.model import Config
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import msg
from ..state.history import RunRecord, read_history, sparkline
from ..state.store import base_of, directory_of
from ..system.managed_files import is_missing
from .common_options import try_config
from .options import Globals
from .output import echo, echo_data, echo_json, span_of

_SPARKS = 60
_HEAD = ("WHEN", "OUTCOME", "DURATION", "TOKENS", "RUN")


@click.command()
@click.argument("job", required=False)
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help=msg("The last N runs."),
)
@click.option("--user", "scope", flag_value="user", help=msg("Runs of your own."))
@click.option("--system", "scope", flag_value="system", help=msg("Runs of the machine's job."))
@click.option("--json", "as_json", is_flag=True, help=msg("As JSON, newest first."))
@click.pass_context
def history(ctx: click.Context, /, *, job: str | None, count: int, scope: str | None, as_json: bool) -> None:
    """Show past runs of a job, newest first, from its own records: a thousand are kept.

    Works without a configuration where JOB is named.
    """
    options = ctx.ensure_object(Globals)
    config = load_config(options.config_path, options.env_file) if job is None else try_config(options)
    name = pick(config, None).name if job is None and config is not None else str(job)
    directory = _directory(name, config, scope)
    try:
        runs = read_history(directory)
    except PermissionError:
        raise JobError(
            Outcome.DENIED,
            msg("the history of {name} in {directory} is not yours to read", name=name, directory=directory),
            msg("sudo dify-job history {name} --system", name=name)
            if scope != "user"
            else msg("ls -ld {directory}", directory=directory),
        ) from None
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg(
                "the history of {name} in {directory} cannot be read: {strerror}",
                name=name,
                directory=directory,
                strerror=error.strerror,
            ),
            msg("ls -l {directory}", directory=directory),
        ) from None
    known = config.jobs.get(name) if config is not None else None
    if scope is None and config and name not in config.names and config.path and is_missing(directory):
        pick(config, name)  # raises
    console = known.console_url if known is not None else None
    shown = runs[::-1][:count]
    if as_json:
        echo_json({"schema": 1, "job": name, "console": console, "runs": [_as_json(run) for run in shown]})
    elif not shown:
        lists = msg("dify-job status shows the jobs that are installed")
        mend = lists if known is None else msg("dify-job run {name}", name=name)
        echo(msg("{name} has no past run in {directory}: {mend}", name=name, directory=directory, mend=mend))
    else:
        _table(shown, console)


def _directory(job: str, config: Config | None, scope: str | None) -> Path:
    """Where this caller's runs are kept; the machine's where the caller has none of its own."""
    if scope is not None:
        return base_of(system=scope == "system") / job
    own = directory_of(job, config.path if config is not None else None)
    system = base_of(system=True) / job
    return system if is_missing(own) and os.path.lexists(system) else own


def _as_json(run: RunRecord) -> dict[str, Any]:
    return {
        "call_time": run.call_time,
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "duration_s": run.duration,
        "total_tokens": run.tokens,
        "attempts": run.attempts,
        "workflow_run_id": run.run_id,
        "message": run.message,
        "hint": run.hint,
    }


def _table(shown: Sequence[RunRecord], console: str | None) -> None:
    lines = [_HEAD, *(_cells(run) for run in shown)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    limit = shutil.get_terminal_size((1000, 24)).columns
    for when, outcome, duration, tokens, run in lines:
        left = f"{when:<{widths[0]}}  {outcome:<{widths[1]}}"
        line = f"{left}  {duration:>{widths[2]}}  {tokens:>{widths[3]}}  {run}"
        echo_data(line if len(line) <= limit else f"{line[: limit - 3]}...")
    durations = [run.duration for run in reversed(shown) if not run.skipped and run.duration is not None]
    if durations:
        sparks = sparkline(durations[-_SPARKS:], plain=not _has_utf8())
        echo(
            msg(
                "durations  {sparks}  {span_of} to {span_of2}, newest last",
                sparks=sparks,
                span_of=span_of(min(durations)),
                span_of2=span_of(max(durations)),
            )
        )
    if console:
        echo(msg("console    {console}", console=console))


def _words(run: RunRecord) -> str:
    return " ".join(translate(run.message).split())


def _cells(run: RunRecord) -> tuple[str, str, str, str, str]:
    outcome = run.outcome if run.exit_code in (0, None) else f"{run.outcome} ({run.exit_code})"
    what = "  ".join(filter(None, (run.run_id, None if run.succeeded else _words(run))))
    began = run.began
    return (
        f"{began.astimezone():%Y-%m-%d %H:%M:%S}" if began is not None else "-",
        outcome,
        "-" if run.skipped or run.duration is None else span_of(run.duration),
        "-" if run.tokens is None else str(run.tokens),
        what or "-",
    )


def _has_utf8(environ: "os._Environ[str]" = os.environ) -> bool:
    """Whether the locale's encoding is UTF-8; asked of the variables, which Python's own UTF-8 mode hides."""
    named = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "C")
    return "UTF-8" in named.upper() or "UTF8" in named.upper()

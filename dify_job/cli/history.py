"""`dify-job history`: the past runs of all or some jobs, from their state directories."""

import os
from collections.abc import Sequence
from datetime import datetime

import click

from ..config.loader import load_config, pick
from ..config.model import Config
from ..exit_codes import Outcome
from ..messages.command import Command, command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..messages.sanitize import one_line
from ..report.history_text import durations_line, history_lines
from ..report.past_runs import JobHistory, find_job, job_history, newest_first, run_as_json, state_of
from ..run.state_directory import elsewhere_note
from ..schedulers.detect import find_jobs, visible
from ..schedulers.model import InstalledJob
from ..state.history import RunRecord
from ..system.paths import is_missing
from .jobs import config_or_none
from .options import Globals, option, pass_globals, since_option
from .output import echo, echo_data, echo_err, echo_json, terminal_of_stdout


@click.command()
@click.argument("jobs", nargs=-1)
@option(
    "-n",
    "count",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help=msg("Show only the last N runs."),
)
@option("--failed", is_flag=True, help=msg("Show only failed runs."))
@since_option
@option("--user", "scope", flag_value="user", help=msg("Show only your own jobs."))
@option("--system", "scope", flag_value="system", help=msg("Show only system jobs."))
@option("--json", "as_json", is_flag=True, help=msg("Print JSON, newest run first."))
@pass_globals
def history(
    options: Globals,
    /,
    *,
    jobs: tuple[str, ...],
    count: int,
    failed: bool,
    since: datetime | None,
    scope: str | None,
    as_json: bool,
) -> None:
    """Show past runs of all jobs or of some, newest first, with what failed and why.

    dify-job stores the last 1,000 runs of each job.
    """
    installed = [one for _, one in find_jobs(visible("auto", scope), jobs)[0]]
    required = not jobs and not installed
    config = load_config(options.config_path, options.env_file) if required else config_or_none(options)
    configured = config.names if config is not None and scope is None else ()
    names = tuple(dict.fromkeys(jobs or (*(one.job for one in installed), *configured)))
    histories = [_history(name, installed, config, scope) for name in names]
    _check_names(jobs, histories, config, scope)
    unreadable = [each for each in histories if each.error is not None]
    again = command(
        "dify-job",
        "history",
        *jobs,
        *(["--system"] if scope == "system" else []),
        *(["--failed"] if failed else []),
        *(["--since", f"{since.astimezone():%Y-%m-%d %H:%M}"] if since is not None else []),
        needs_root=True,
    )
    if jobs or len(unreadable) == len(histories):
        _check_readable(unreadable, scope, again)
    runs = newest_first(histories, since=since, failed=failed)[:count]
    if as_json:
        only = histories[0] if len(names) == 1 else None
        echo_json(
            {
                "schema": 1,
                "job": only.job if only is not None else None,
                "console": only.console_url if only is not None else None,
                "runs": [run_as_json(run) for run in runs],
            }
        )
        return
    if runs:
        _print(runs, histories)
    else:
        _echo_no_runs(histories, narrowed=failed or since is not None)
    for each in histories:
        if (note := elsewhere_note(each.job, each.directory)) is not None:
            echo_err(note)
    if unreadable:
        hidden = join(", ", (each.job for each in unreadable))
        echo_err(
            msg(
                "you have no permission to read the history of {jobs}; to read it, run: {command}",
                jobs=hidden,
                command=again,
            )
        )


def _print(runs: Sequence[RunRecord], histories: Sequence[JobHistory]) -> None:
    """Print a line for each run; for one job also the durations and the address of its log in Dify."""
    terminal = terminal_of_stdout()
    echo_data("\n".join(history_lines(runs, terminal)))
    if len(histories) == 1:
        if (line := durations_line(runs, terminal)) is not None:
            echo_data(line)
        if histories[0].console_url:
            echo(msg("console    {url}", url=one_line(histories[0].console_url)))


def _history(
    name: str, installed: Sequence[InstalledJob], config: Config | None, scope: str | None
) -> JobHistory:
    job = config.jobs.get(name) if config is not None else None
    console = job.console_url if job is not None else None
    one = find_job(name, installed, config)
    return job_history(name, state_of(name, one, config, scope), console, one.unit_result if one else None)


def _check_names(
    jobs: Sequence[str], histories: Sequence[JobHistory], config: Config | None, scope: str | None
) -> None:
    """Raise JobError (config) for a name that is no job and has no past runs."""
    if scope is not None or config is None or config.path is None:
        return
    for name, each in zip(dict.fromkeys(jobs), histories, strict=False):
        if is_missing(each.directory) and name not in config.names:
            pick(config, name)  # raises


def _check_readable(unreadable: Sequence[JobHistory], scope: str | None, again: Command) -> None:
    """Raise JobError if a requested history cannot be read. again: this command, for root."""
    if not unreadable:
        return
    first = unreadable[0]
    if isinstance(first.error, PermissionError):
        own = os.geteuid() == 0 or scope == "user"
        if len(unreadable) > 1 and not own:
            number = len(unreadable)
            raise JobError(
                Outcome.DENIED,
                msg("you have no permission to read the histories of {number} jobs", number=number),
                again,
            )
        hint = command("ls", "-ld", str(first.directory)) if own else again
        raise JobError(
            Outcome.DENIED,
            msg(
                "you have no permission to read the history of {job} in {directory}",
                job=first.job,
                directory=first.directory,
            ),
            hint,
        )
    reason = first.error.strerror if first.error is not None else ""
    raise JobError(
        Outcome.CANNOT_WRITE,
        msg(
            "the history of {job} in {directory} cannot be read: {reason}",
            job=first.job,
            directory=first.directory,
            reason=reason,
        ),
        command("ls", "-l", str(first.directory)),
    )


def _echo_no_runs(histories: Sequence[JobHistory], *, narrowed: bool) -> None:
    if narrowed and any(each.runs for each in histories):
        echo(
            msg(
                "no run on record matches the options; to see all runs, run: {command}",
                command=command("dify-job", "history"),
            )
        )
    elif len(histories) == 1:
        only = histories[0]
        echo(
            msg(
                "no run of {job} is on record in {directory}; to see the next runs, run: {command}",
                job=only.job,
                directory=only.directory,
                command=command("dify-job", "status"),
            )
        )
    else:
        names = join(", ", (each.job for each in histories))
        look = command("dify-job", "status")
        echo(
            msg(
                "no run of {jobs} is on record; to see the next runs, run: {command}",
                jobs=names,
                command=look,
            )
        )

"""`dify-job status`: is it installed as configured, is it armed, how did it end, when is the next run."""

from collections.abc import Container
from datetime import UTC, datetime
from typing import Any

import click

from ..config.loader import load_config
from ..config.model import Config
from ..messages.message import msg
from ..schedulers.backend import InstalledJob, Scope, Sync
from ..schedulers.detect import chosen_scope, config_place, installed_jobs, visible
from ..schedulers.http_socket import SOCKET, HttpSocket, HttpSocketStatus
from .common_options import scope_options, try_config
from .job_status import JobStatus, row_of
from .options import Globals
from .output import echo, echo_err, echo_json, span_of


@click.command()
@click.argument("jobs", nargs=-1)
@scope_options
@click.option("--json", "as_json", is_flag=True, help=msg("As JSON; its keys are in docs/status.md."))
@click.pass_context
def status(
    ctx: click.Context, /, *, jobs: tuple[str, ...], scope: str | None, backend: str, as_json: bool
) -> int:
    """Show what is installed and how it does; exit 0 when all is well, 1 when something needs attention."""
    options = ctx.ensure_object(Globals)
    config = try_config(options)
    now = datetime.now(UTC)
    installed = installed_jobs(visible(backend, scope), jobs)
    rows = [row_of(one.job, one, config, now) for _, one in installed]
    there = {one.job for _, one in installed if jobs or scope or _is_own(one, config)}
    wanted = list(jobs) if jobs else list(config.names) if config is not None else []
    rows += [row_of(job, None, config, now) for job in wanted if job not in there]
    if not rows and config is None:
        load_config(options.config_path, options.env_file)  # what is wrong with it is told
    doors = _doors(backend, scope, {row.job for row in rows} if jobs else None)
    errors = config.errors if config is not None else ()
    for error in errors:
        echo_err(msg("the configuration has a mistake: {message}", message=error.message))
    if as_json:
        echo_json(
            {
                "schema": 1,
                "jobs": [row.as_json() for row in rows],
                "http": [_door_as_json(door) for door in doors],
            }
        )
    elif not rows:
        echo(
            msg("nothing is installed, and no job is configured: dify-job install --every 1h --env-file .env")
        )
    else:
        _table(rows, now)
        for door in doors:
            echo(msg("http: {door_in_words}", door_in_words=_door_in_words(door)))
        if any(row.installed and row.last is None and row.past is None for row in rows):
            echo(msg("how some ended is not for you to read: sudo dify-job status"))
    return (
        0
        if not errors
        and all(row.healthy for row in rows)
        and all(door.listening is not False for door in doors)
        else 1
    )


def _is_own(one: InstalledJob, config: Config | None) -> bool:
    """False for a job of the machine that shares but its name with one in the caller's config."""
    if config is None or config.path is None or one.scope is chosen_scope(None):
        return True
    return one.source == str(config_place(config, one.scope))


def _doors(backend: str, scope: str | None, jobs: Container[str] | None) -> list[HttpSocketStatus]:
    """The HTTP interfaces in sight; of some jobs those that serve one of them."""
    scopes = {scheduler.scope: None for scheduler in visible(backend, scope) if not scheduler.by_cron}
    found = [state for each in scopes if (state := HttpSocket(each).state()) is not None]
    return [state for state in found if jobs is None or any(job in jobs for job in state.jobs)]


def _door_as_json(state: HttpSocketStatus) -> dict[str, Any]:
    return {
        "scope": state.scope.value,
        "listen": state.door.listen if state.door is not None else None,
        "listening": state.listening,
        "jobs": list(state.jobs),
    }


def _door_in_words(state: HttpSocketStatus) -> str:
    where = state.door.listen if state.door is not None else SOCKET
    if state.listening is False:
        return f"nothing listens on {where}: dify-job doctor {next(iter(state.jobs), '')}".rstrip()
    return msg("{where} serves {jobs}", where=where, jobs=", ".join(state.jobs))


def _table(rows: list[JobStatus], now: datetime) -> None:
    lines = [("JOB", "STATE", "SCHEDULE", "LAST", "MEAN", "NEXT")]
    lines += [
        (row.job, _state(row), row.schedule or "-", _last_words(row), _mean(row), _when(row.next_runs, now))
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for line in lines:
        echo("  ".join([*(cell.ljust(width) for cell, width in zip(line[:5], widths, strict=True)), line[5]]))
    for row in rows:
        for word in _attention(row):
            echo(msg("{job}: {word}", job=row.job, word=word))


def _state(row: JobStatus) -> str:
    one = row.installed
    if one is None:
        return msg("not installed")
    armed = {True: "armed", False: msg("not armed"), None: "enabled"}[one.enabled]  # None: by its files
    word = "running" if one.running else "paused" if one.paused else armed
    return f"{word} ({one.backend}{'' if one.scope is Scope.SYSTEM else ', user'})"


def _last_words(row: JobStatus) -> str:
    if row.last is None:
        return "-"
    code = "" if row.last["exit_code"] is None else f" ({row.last['exit_code']})"
    return f"{row.last['outcome']}{code} {_to_the_minute(row.last['call_time'])}"


def _to_the_minute(call_time: Any) -> str:
    return str(call_time)[:16].replace("T", " ")


def _mean(row: JobStatus) -> str:
    return "-" if row.past is None or row.past.mean_duration is None else span_of(row.past.mean_duration)


def _when(runs: tuple[datetime, ...], now: datetime) -> str:
    if not runs:
        return "-"
    left = int((runs[0] - now).total_seconds())
    hours, minutes = divmod(max(left, 0) // 60, 60)
    days, hours = divmod(hours, 24)
    span = f"{days}d {hours}h" if days else f"{hours}h {minutes}min" if hours else f"{minutes}min"
    return msg("{astimezone:%Y-%m-%d %H:%M:%S %Z} (in {span})", astimezone=runs[0].astimezone(), span=span)


def _attention(row: JobStatus) -> list[str]:
    by = row.installed.scope.sudo if row.installed else ""
    mends = {
        Sync.OUTDATED: msg(
            "the config has changed since it was installed: {by}dify-job install {job}", by=by, job=row.job
        ),
        Sync.EDITED: msg(
            "its files were edited by hand: {by}dify-job install {job} --diff", by=by, job=row.job
        ),
        Sync.ORPHAN: msg("its config is gone: {by}dify-job uninstall {job}", by=by, job=row.job),
        Sync.MISSING: msg("not installed: dify-job install {job}", job=row.job)
        if row.schedule
        else msg("neither installed nor configured: dify-job status shows what is"),
    }
    words: list[str] = [mends[row.sync]] if row.sync in mends else []
    words += row.troubles
    if row.last is not None and row.ended_badly:
        words.append(
            msg(
                "the last run: {last} ({by}dify-job logs {job})", last=row.last["message"], by=by, job=row.job
            )
        )
        if row.past is not None and row.past.failures_in_a_row > 1:
            good = row.past.last_success
            since = (
                msg("the last success began {to_the_minute}", to_the_minute=_to_the_minute(good))
                if good
                else msg("no success is on record")
            )
            words.append(
                msg(
                    "{failures_in_a_row} failures in a row; {since}",
                    failures_in_a_row=row.past.failures_in_a_row,
                    since=since,
                )
            )
    return words

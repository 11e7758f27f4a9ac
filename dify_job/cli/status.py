"""`dify-job status`: is it installed as configured, is it armed, how did it end, when is the next run."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ..config.model import Config, Job, ScheduleConfig
from ..config.read import load_config
from ..errors import JobError
from ..exits import TABLE, Outcome
from ..history import PastRun, Summary, read_history, summary
from ..kept import read_last
from ..ownership import is_gone
from ..scheduling import preview, schedule
from ..scheduling.base import Installed, Scope, Sync
from ..scheduling.doorway import SOCKET, DoorState, Doorway
from ..scheduling.host import config_place, installed_jobs, visible
from ..scheduling.plan import plan_of
from .options import Globals
from .output import put, put_json, span_of
from .scopes import config_of, fault_of_config, scope_options, tick_of, try_config

# Where another run holds the lock, its end counts.
_NO_NEWS = frozenset({Outcome.SKIPPED.value, Outcome.BUSY.value})
_GOOD = frozenset({Outcome.SUCCEEDED.value, Outcome.SKIPPED.value})


@dataclass(frozen=True, slots=True)
class _Row:
    job: str
    sync: Sync
    installed: Installed | None
    schedule: str | None
    next_runs: tuple[datetime, ...]
    last: dict[str, Any] | None
    past: Summary | None = None  # None where the history cannot be read
    fault: str | None = None  # of the config that it was installed from

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with what is installed."""
        return (*((self.fault,) if self.fault else ()), *(self.installed.troubles if self.installed else ()))

    @property
    def healthy(self) -> bool:
        """A pause is somebody's will, and no trouble."""
        bad_end = self.last is not None and self.last["outcome"] not in _GOOD
        return self.sync is Sync.CONFIGURED and not bad_end and not self.troubles

    def as_json(self) -> dict[str, Any]:
        one = self.installed
        return {
            "job": self.job,
            "healthy": self.healthy,
            "sync": self.sync.value,
            "backend": one.backend if one else None,
            "scope": one.scope.value if one else None,
            "armed": one.armed if one else False,
            "paused": one.paused if one else False,
            "running": one.running if one else False,
            "schedule": self.schedule,
            "next_runs": [at.isoformat() for at in self.next_runs],
            "last": self.last,
            "last_success": self.past.last_success if self.past else None,
            "failures_in_a_row": self.past.failures_in_a_row if self.past else None,
            "mean_duration_s": self.past.mean_duration if self.past else None,
            "troubles": list(self.troubles),
            "files": [str(path) for path in one.paths] if one else [],
            "config": one.source if one else None,
        }


@click.command()
@click.argument("jobs", nargs=-1)
@scope_options
@click.option("--json", "as_json", is_flag=True, help="As JSON; its keys are in docs/status.md.")
@click.pass_context
def status(
    ctx: click.Context, /, *, jobs: tuple[str, ...], scope: str | None, backend: str, as_json: bool
) -> int:
    """Show what is installed and how it does; exit 0 when all is well, 1 when something needs attention."""
    options = ctx.ensure_object(Globals)
    config = try_config(options)
    now = datetime.now(UTC)
    rows = [
        row
        for installed in (one for _, one in installed_jobs(visible(backend, scope), jobs))
        for row in [_row(installed.job, installed, config, now)]
    ]
    there = {row.job for row in rows}
    wanted = list(jobs) if jobs else list(config.jobs) if config is not None else []
    rows += [_row(job, None, config, now) for job in wanted if job not in there]
    if not rows and config is None:
        load_config(options.config_path, options.env_file)  # what is wrong with it is told
    doors = _doors(backend, scope, {row.job for row in rows} if jobs else None)
    if as_json:
        put_json(
            {
                "schema": 1,
                "jobs": [row.as_json() for row in rows],
                "http": [_door_as_json(door) for door in doors],
            }
        )
    elif not rows:
        put("nothing is installed, and no job is configured: dify-job install --every 1h --env-file .env")
    else:
        _table(rows, now)
        for door in doors:
            put(f"http: {_door_in_words(door)}")
    return 0 if all(row.healthy for row in rows) and all(door.listening is not False for door in doors) else 1


def _doors(backend: str, scope: str | None, jobs: Container[str] | None) -> list[DoorState]:
    """The HTTP interfaces in sight; of some jobs those that serve one of them."""
    scopes = {scheduler.scope: None for scheduler in visible(backend, scope) if not scheduler.by_cron}
    found = [state for each in scopes if (state := Doorway(each).state()) is not None]
    return [state for state in found if jobs is None or any(job in jobs for job in state.jobs)]


def _door_as_json(state: DoorState) -> dict[str, Any]:
    return {
        "scope": state.scope.value,
        "listen": state.door.listen if state.door is not None else None,
        "listening": state.listening,
        "jobs": list(state.jobs),
    }


def _door_in_words(state: DoorState) -> str:
    where = state.door.listen if state.door is not None else SOCKET
    if state.listening is False:
        return f"nothing listens on {where}: dify-job doctor {next(iter(state.jobs), '')}".rstrip()
    return f"{where} serves {', '.join(state.jobs)}"


def _row(name: str, one: Installed | None, config: Config | None, now: datetime) -> _Row:
    told = config_of(one, config) if one is not None else config
    job = told.jobs.get(name) if isinstance(told, Config) else None
    times = job.times if job is not None else None
    words = schedule.in_words(times) if times is not None else None
    if one is None:
        return _Row(name, Sync.MISSING, None, words, (), None)
    runs = _runs(one)
    last = _last(one, runs or ())
    past = summary(runs) if runs is not None else None
    fault = fault_of_config(one, told) if isinstance(told, JobError) else None
    return _Row(name, _sync(one, job, config), one, words, _coming(one, times, now), last, past, fault)


def _runs(one: Installed) -> tuple[PastRun, ...] | None:
    try:
        return read_history(one.state)
    except OSError:
        return None


def _coming(one: Installed, times: ScheduleConfig | None, now: datetime) -> tuple[datetime, ...]:
    if times is None or not one.armed:
        return (one.next_run,) if one.next_run is not None else ()
    by_cron = one.by_cron
    last = tick_of(one.state)
    try:
        if_due = schedule.ticks_of(times, by_cron=by_cron).if_due
        runs = tuple(islice(preview.coming(times, now, by_cron=by_cron, last=last), 3))
    except JobError:  # changed to what this scheduler cannot keep; the row says that it is outdated
        return ()
    if one.next_run is None or if_due:  # the timer's next tick need not be a run
        return runs
    return (one.next_run, *(at for at in runs if at > one.next_run))[:3]


def _sync(one: Installed, job: Job | None, config: Config | None) -> Sync:
    if one.edited:
        return Sync.EDITED
    if config is None or one.source != str(config_place(config, one.scope)):
        return Sync.ORPHAN if one.source and is_gone(Path(one.source)) else Sync.CONFIGURED
    if job is None:
        return Sync.ORPHAN
    plan = plan_of(job, Path(one.source), python=one.python)
    return Sync.CONFIGURED if plan.fingerprint == one.fingerprint else Sync.OUTDATED


def _last(one: Installed, runs: Sequence[PastRun]) -> dict[str, Any] | None:
    """From the state where it can be read, else from the service manager by the exit-code table."""
    kept: Mapping[str, Any] | None = read_last(one.state)
    if runs and runs[-1].outcome not in _NO_NEWS and runs[-1].call_time != (kept or {}).get("call_time"):
        kept = runs[-1].as_record()  # the unit's handler kept it, not the run
    if kept is not None:
        keys = ("outcome", "exit_code", "call_time", "duration_s", "message", "workflow_run_id")
        last = {key: kept.get(key) for key in keys}
        if one.ended is None or one.exit_code == last["exit_code"] or not _began_later(one.ended, last):
            return last
    if one.ended is None or one.exit_code is None:
        return None
    outcomes = [row.outcome.value for row in TABLE if row.code == one.exit_code]
    return {
        "outcome": outcomes[0] if outcomes else "not started",
        "exit_code": one.exit_code,
        "call_time": one.ended.isoformat(),
        "duration_s": None,
        "message": f"systemd says: {one.result}, status {one.exit_code}",
        "workflow_run_id": None,
    }


def _began_later(ended: datetime, last: dict[str, Any]) -> bool:
    """True where systemd saw an end long after the last result: a start that came to no result."""
    try:
        kept = datetime.fromisoformat(str(last["call_time"])).timestamp() + float(last["duration_s"] or 0)
    except ValueError:
        return True
    return ended.timestamp() > kept + 5


def _table(rows: list[_Row], now: datetime) -> None:
    lines = [("JOB", "STATE", "SCHEDULE", "LAST", "MEAN", "NEXT")]
    lines += [
        (row.job, _state(row), row.schedule or "-", _last_words(row), _mean(row), _when(row.next_runs, now))
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for line in lines:
        put("  ".join([*(cell.ljust(width) for cell, width in zip(line[:5], widths, strict=True)), line[5]]))
    for row in rows:
        for word in _attention(row):
            put(f"{row.job}: {word}")


def _state(row: _Row) -> str:
    one = row.installed
    if one is None:
        return "not installed"
    armed = {True: "armed", False: "not armed", None: "enabled"}[one.armed]  # None: by its files
    word = "running" if one.running else "paused" if one.paused else armed
    return f"{word} ({one.backend}{'' if one.scope is Scope.SYSTEM else ', user'})"


def _last_words(row: _Row) -> str:
    if row.last is None:
        return "-"
    code = "" if row.last["exit_code"] is None else f" ({row.last['exit_code']})"
    return f"{row.last['outcome']}{code} {_to_the_minute(row.last['call_time'])}"


def _to_the_minute(call_time: Any) -> str:
    return str(call_time)[:16].replace("T", " ")


def _mean(row: _Row) -> str:
    return "-" if row.past is None or row.past.mean_duration is None else span_of(row.past.mean_duration)


def _when(runs: tuple[datetime, ...], now: datetime) -> str:
    if not runs:
        return "-"
    left = int((runs[0] - now).total_seconds())
    hours, minutes = divmod(max(left, 0) // 60, 60)
    days, hours = divmod(hours, 24)
    span = f"{days}d {hours}h" if days else f"{hours}h {minutes}min" if hours else f"{minutes}min"
    return f"{runs[0].astimezone():%Y-%m-%d %H:%M:%S %Z} (in {span})"


def _attention(row: _Row) -> list[str]:
    by = row.installed.scope.sudo if row.installed else ""
    mends = {
        Sync.OUTDATED: f"the config has changed since it was installed: {by}dify-job install {row.job}",
        Sync.EDITED: f"its files were edited by hand: {by}dify-job install {row.job} --diff",
        Sync.ORPHAN: f"its config is gone: {by}dify-job uninstall {row.job}",
        Sync.MISSING: f"not installed: dify-job install {row.job}"
        if row.schedule
        else "neither installed nor configured: dify-job status shows what is",
    }
    words = [mends[row.sync]] if row.sync in mends else []
    words += row.troubles
    if row.last is not None and row.last["outcome"] not in _GOOD:
        words.append(f"the last run: {row.last['message']} ({by}dify-job logs {row.job})")
        if row.past is not None and row.past.failures_in_a_row > 1:
            good = row.past.last_success
            since = f"the last success began {_to_the_minute(good)}" if good else "no success is on record"
            words.append(f"{row.past.failures_in_a_row} failures in a row; {since}")
    return words

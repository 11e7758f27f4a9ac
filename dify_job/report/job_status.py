"""The status of one job on this host: installed files, past runs and upcoming runs."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from ..checks.context import HostContext
from ..checks.registry import overview_problems
from ..config.model import Config, Job, KeySource, ScheduleConfig
from ..exit_codes import Outcome
from ..messages.command import Reader, command, for_reader
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.unit_records import latest_run
from ..schedule import intervals, schedule_lines, upcoming
from ..schedule.zones import zone_of
from ..schedulers.backend import Backend
from ..schedulers.job_spec import job_spec
from ..schedulers.model import InstalledJob, Scope
from ..state.history import RunRecord, Summary, summary
from ..state.reader import due_record, lock_holder, read_in_flight, read_last, read_last_due
from ..system.paths import is_missing
from .past_runs import JobHistory, distinct, failures_since, job_history, state_of
from .since import parse_since

RECENT_RUNS = 10
_UPCOMING = 3
_GOOD_OUTCOMES = frozenset({Outcome.SUCCEEDED.value, Outcome.SKIPPED.value})


class Health(StrEnum):
    """The health of a job, the worst first."""

    FAILING = "failing"
    ATTENTION = "attention"
    UNKNOWN = "unknown"
    RUNNING = "running"
    OK = "ok"
    PAUSED = "paused"


class Sync(StrEnum):
    """How the files of a job on this host compare with its configuration."""

    CONFIGURED = msg("as configured")
    OUTDATED = "outdated"
    EDITED = "edited"
    ORPHAN = "orphan"
    MISSING = msg("not installed")
    UNKNOWN = "unknown"  # a scheduler that may have the job does not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One job on this host, configured or installed or both.

    Attributes:
        job: Its name.
        sync: The comparison of installed files and configuration.
        installed: The installed job, or None.
        description: The configured description.
        schedule: The schedule as text; None if the configuration cannot be read.
        next_runs: Upcoming runs, at most three; empty if the schedule is disabled.
        last: The record of the last start, or None.
        history: The past runs.
        past: The summary of the past runs; None if they cannot be read.
        failures: Failed runs since yesterday, oldest first.
        running_since: The start of the run in progress; None without one, or if unknown.
        running: Whether a run is in progress.
        config_error: The error of the configuration that the job was installed from, or None.
        other_problems: Other problems, each a sentence with its fix.
        config_options: The options for commands about the configuration of the installed job; empty if it is
            the caller's.
        caller_can_install: Whether the caller's configuration has the job, and the caller can install it.
    """

    job: str
    sync: Sync
    installed: InstalledJob | None = None
    description: str | None = None
    schedule: str | None = None
    next_runs: tuple[datetime, ...] = ()
    last: RunRecord | None = None
    history: JobHistory | None = None
    past: Summary | None = None
    failures: tuple[RunRecord, ...] = ()
    running_since: datetime | None = None
    running: bool = False
    config_error: str | None = None
    other_problems: tuple[str, ...] = ()
    config_options: tuple[str, ...] = ()
    caller_can_install: bool = False

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems of the installed job, a sentence each."""
        return (*((self.config_error,) if self.config_error else ()), *self.other_problems)

    @property
    def last_failed(self) -> bool:
        """True if the last run did not succeed."""
        return self.last is not None and self.last.outcome not in _GOOD_OUTCOMES

    @property
    def health(self) -> Health:
        """The health of the job; unknown if the caller cannot see how its last run ended.

        A pause alone is no problem, because a person decided it.
        """
        if self.last_failed:
            return Health.FAILING
        if self.sync is not Sync.CONFIGURED or self.problems or self.failures:
            return Health.ATTENTION
        if self.running:
            return Health.RUNNING
        if self.hidden and self.last is None:
            return Health.UNKNOWN
        return Health.PAUSED if self.paused else Health.OK

    @property
    def healthy(self) -> bool:
        """True if the job needs no attention."""
        return self.health not in (Health.FAILING, Health.ATTENTION)

    @property
    def hidden(self) -> bool:
        """True if the caller has no permission to read the past runs."""
        return self.history is not None and isinstance(self.history.error, PermissionError)

    @property
    def paused(self) -> bool:
        """True if somebody disabled the schedule."""
        return self.installed is not None and self.installed.paused

    @property
    def enabled(self) -> bool | None:
        """True if the scheduler will start the job; None if the scheduler does not answer."""
        if self.installed is None:
            return None if self.sync is Sync.UNKNOWN else False
        return self.installed.enabled

    @property
    def recent(self) -> list[RunRecord]:
        """The last ten runs, oldest first, without skipped starts."""
        runs = self.history.runs if self.history is not None else ()
        return distinct([run for run in runs[-10 * RECENT_RUNS :] if not run.skipped])[-RECENT_RUNS:]

    def as_json(self) -> dict[str, Any]:
        """Return the object that docs/status.md describes."""
        one = self.installed
        readable = self.past is not None
        return {
            "job": self.job,
            "healthy": self.healthy,
            "health": self.health.value,
            "sync": self.sync.value,
            "backend": one.backend if one else None,
            "scope": one.scope.value if one else None,
            "enabled": self.enabled,
            "paused": self.paused,
            "running": self.running,
            "running_since": self.running_since.isoformat() if self.running_since else None,
            "schedule": self.schedule,
            "next_runs": [at.isoformat() for at in self.next_runs],
            "last": _last_as_json(self.last) if self.last is not None else None,
            "last_success": self.past.last_success if self.past else None,
            "failures_in_a_row": self.past.failures_in_a_row if self.past else None,
            "failures_since_yesterday": len(self.failures) if readable else None,
            "recent": [
                {"call_time": run.call_time, "outcome": run.outcome, "exit_code": run.exit_code}
                for run in self.recent
            ],
            "mean_duration_s": self.past.mean_duration if self.past else None,
            "problems": list(self.problems),
            "files": [str(path) for path in one.paths] if one else [],
            "config": one.source if one else None,
        }


def configured_status(
    name: str, config: Config | None, now: datetime, scheduler_error: JobError | None = None
) -> JobStatus:
    """Return the status of a job that is not installed but may have been run by hand.

    Args:
        name: The name of the job.
        config: The caller's configuration, which may lack the job, or None.
        now: The current time, aware.
        scheduler_error: Why a scheduler, which may have the job, does not answer; None if all schedulers do.
    """
    state = state_of(name, None, config, None)
    job = config.jobs.get(name) if config is not None else None
    broken = broken_job(name, config) if config is not None else None
    mistake = msg(
        "the job's configuration has an error; to see it, run: {command}",
        command=command("dify-job", "config", "validate"),
    )
    past = job_history(name, state, job.console_url if job is not None else None)
    return JobStatus(
        job=name,
        sync=Sync.MISSING if scheduler_error is None else Sync.UNKNOWN,
        **_runs_of(past, None, now),
        config_error=mistake if broken is not None else None,
        other_problems=(with_fix(scheduler_error.message, scheduler_error.hint),)
        if scheduler_error is not None
        else (),
        description=job.description if job is not None else None,
        schedule=schedule_lines.schedule_text(job.times) if job is not None else None,
    )


def installed_status(
    scheduler: Backend,
    one: InstalledJob,
    of_config: Config | JobError | None,
    callers: Config | None,
    now: datetime,
) -> JobStatus:
    """Return the status of an installed job.

    Args:
        scheduler: The scheduler that has it.
        one: The job as it is installed.
        of_config: The configuration that the job was installed from, or its error; None if the caller cannot
            access it.
        callers: The caller's configuration, which can be another one.
        now: The current time, aware.
    """
    config = of_config if isinstance(of_config, Config) else None
    job = config.jobs.get(one.job) if config is not None else None
    broken = broken_job(one.job, of_config) if isinstance(of_config, Config) else of_config
    times = job.times if job is not None else None
    past = job_history(one.job, one.state, job.console_url if job is not None else None, one.unit_result)
    context = HostContext(
        job=job or _unknown_job(one.job),
        config=config or Config(path=None, files=(), jobs={}),
        scheduler=scheduler,
        now=now,
        installed=((scheduler, one),),
        past=past.runs if past.error is None else None,
    )
    problems = overview_problems(context, configured=job is not None)
    elsewhere = config is not None and config is not callers
    options = ("--config", one.source) if elsewhere else ()
    reader = Reader(config_options=options)
    return JobStatus(
        job=one.job,
        sync=_sync(one, job, of_config),
        installed=one,
        description=job.description if job is not None else None,
        schedule=schedule_lines.schedule_text(times) if times is not None else None,
        next_runs=tuple(in_readers_zone(at, times) for at in _next_runs(one, times, now)),
        **_runs_of(past, one, now),
        config_error=_config_error(one, broken) if broken is not None else None,
        other_problems=tuple(
            for_reader(with_fix(problem.message, problem.fix), reader) for problem in problems
        ),
        config_options=options,
        caller_can_install=callers is not None
        and one.job in callers.names
        and (one.scope is Scope.USER or os.geteuid() == 0),
    )


def _unknown_job(name: str) -> Job:
    """Return a placeholder for a job without a readable configuration; no drop-in contradicts its values."""
    return Job(name=name, base_url="", key=KeySource(), timeout=0.0, schedule=ScheduleConfig(catch_up=True))


def _runs_of(past: JobHistory, one: InstalledJob | None, now: datetime) -> dict[str, Any]:
    """Return the attributes of a status that concern runs."""
    runs = past.runs if past.error is None else None
    unit_result = one.unit_result if one is not None else None
    running, since = _running(past.directory, one, now)
    return {
        "last": latest_run(read_last(past.directory), runs, unit_result, past.abandoned),
        "history": past,
        "past": summary(runs) if runs is not None else None,
        "failures": tuple(failures_since(past.runs, parse_since("yesterday", now), now + timedelta(days=1))),
        "running": running,
        "running_since": since,
    }


def broken_job(name: str, config: Config) -> JobError | None:
    """Return why a job cannot be used, or that an unreadable file may declare it; None for a usable job.

    Args:
        name: The job.
        config: The configuration.
    """
    files = () if name in config.jobs else sorted(config.broken_files, key=lambda file: not file.is_for(name))
    return config.broken.get(name) or next((file.error for file in files), None)


def with_fix(message: str, fix: str | None) -> str:
    """Return a problem and its fix as one sentence.

    Args:
        message: The problem.
        fix: The fix, or None.
    """
    return msg("{message}: {fix}", message=message, fix=fix) if fix else message


def _config_error(one: InstalledJob, error: JobError) -> str | None:
    """Return why no run can read the configuration; None for callers who may not read all of it."""
    if one.scope is Scope.SYSTEM and os.geteuid() != 0:
        return None
    fix = command("dify-job", "--config", one.source, "config", "validate")
    if "\n" in error.message:
        return msg("the job's configuration has several errors; to see them, run: {command}", command=fix)
    return msg(
        "the job's configuration cannot be used: {error}. To check it, run: {command}",
        error=error.message,
        command=fix,
    )


def _running(state: Path, one: InstalledJob | None, now: datetime) -> tuple[bool, datetime | None]:
    """Return whether a run is in progress, and its start; under cron, only the lock shows it."""
    by_manager = one is not None and one.running
    if not by_manager and lock_holder(state, now) is None:
        return False, None
    in_flight = read_in_flight(state)
    began = in_flight.began if in_flight is not None else None
    if began is None and one is not None and one.unit_result is not None and by_manager:
        return True, one.unit_result.began
    return True, began


def _next_runs(one: InstalledJob, times: ScheduleConfig | None, now: datetime) -> tuple[datetime, ...]:
    if times is None or not one.enabled:
        return (one.next_run,) if one.next_run is not None else ()
    by_cron = one.by_cron
    if not has_known_times(times, one.state):
        return ()
    try:
        if_due = schedule_lines.lines_for(times, by_cron=by_cron).if_due
        last = last_due_time(one.state)
        runs = tuple(islice(upcoming.run_times(times, now, by_cron=by_cron, last=last), _UPCOMING))
    except JobError:  # the scheduler cannot follow the changed schedule; `sync` is outdated
        return ()
    if one.next_run is None or if_due:  # the timer fires more often than the job runs
        return runs
    return (one.next_run, *(at for at in runs if at > one.next_run))[:_UPCOMING]


def in_readers_zone(at: datetime, times: ScheduleConfig | None) -> datetime:
    """Return an upcoming run in the time zone of its schedule, or in the reader's.

    Args:
        at: The time, aware.
        times: The schedule; None if unknown.
    """
    return at.astimezone(zone_of(times.timezone) if times is not None and times.timezone else None)


def has_known_times(times: ScheduleConfig, state: Path) -> bool:
    """Return False for an interval that counts from a record which the caller has no permission to read.

    Args:
        times: The schedule.
        state: The job's state directory.
    """
    if times.every is None or intervals.grid_of(times.every) == round(times.every):
        return True
    return is_missing(due_record(state)) or os.access(due_record(state), os.R_OK)


def last_due_time(state: Path) -> datetime | None:
    """Return the recorded time from which `--if-due` counts, or None.

    Args:
        state: The job's state directory.
    """
    at = read_last_due(state)
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _sync(one: InstalledJob, job: Job | None, of_config: Config | JobError | None) -> Sync:
    """Compare a job with the configuration that it was installed from."""
    if one.edited:
        return Sync.EDITED
    if job is not None:
        spec = job_spec(job, Path(one.source), python=one.python)
        return Sync.CONFIGURED if spec.fingerprint == one.fingerprint else Sync.OUTDATED
    if isinstance(of_config, Config):
        return Sync.ORPHAN if broken_job(one.job, of_config) is None else Sync.CONFIGURED
    return Sync.ORPHAN if one.source and is_missing(Path(one.source)) else Sync.CONFIGURED


def _last_as_json(run: RunRecord) -> dict[str, Any]:
    keys = ("outcome", "exit_code", "call_time", "duration_s", "message", "workflow_run_id", "failed_node")
    record = run.as_json()
    return {key: record[key] for key in keys}

"""How jobs stand on this host: their files against the config, their last end, their coming runs."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from ..config.loader import load_config
from ..config.model import Config, Job, ScheduleConfig
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.unit_result import latest_run
from ..schedule import schedule_lines, upcoming
from ..schedulers.backend import InstalledJob, Scope, Sync
from ..schedulers.detect import config_place
from ..schedulers.job_spec import job_spec
from ..state.history import RunRecord, Summary, read_history, summary
from ..state.reader import read_in_flight, read_last
from ..system.managed_files import is_missing
from .common_options import tick_of

_GOOD = frozenset({Outcome.SUCCEEDED.value, Outcome.SKIPPED.value})


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job on this host, configured or installed or both."""

    job: str
    sync: Sync
    installed: InstalledJob | None
    schedule: str | None
    next_runs: tuple[datetime, ...]
    last: dict[str, Any] | None
    past: Summary | None = None  # None where the history cannot be read
    fault: str | None = None  # of the config that it was installed from

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with what is installed."""
        return (*((self.fault,) if self.fault else ()), *(self.installed.problems if self.installed else ()))

    @property
    def healthy(self) -> bool:
        """A pause is somebody's will, and no trouble."""
        return self.sync is Sync.CONFIGURED and not self.ended_badly and not self.troubles

    @property
    def ended_badly(self) -> bool:
        """True where the last run did not succeed."""
        return self.last is not None and self.last["outcome"] not in _GOOD

    def as_json(self) -> dict[str, Any]:
        """As docs/status.md tells it."""
        one = self.installed
        return {
            "job": self.job,
            "healthy": self.healthy,
            "sync": self.sync.value,
            "backend": one.backend if one else None,
            "scope": one.scope.value if one else None,
            "armed": one.enabled if one else False,
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


def row_of(name: str, one: InstalledJob | None, config: Config | None, now: datetime) -> JobStatus:
    """How a job stands; one: as it is installed. config: the caller's, where there is one."""
    told = _config_of(one, config) if one is not None else config
    job = told.jobs.get(name) if isinstance(told, Config) else None
    broken = _broken(name, told) if isinstance(told, Config) else told
    times = job.times if job is not None else None
    words = schedule_lines.in_words(times) if times is not None else None
    if one is None:
        mistake = msg("its configuration has a mistake: dify-job config validate") if broken else None
        return JobStatus(name, Sync.MISSING, None, words, (), None, None, mistake)
    runs = _runs(one)
    last = _last(one, runs)
    past = summary(runs) if runs is not None else None
    fault = _fault_of_config(one, broken) if isinstance(broken, JobError) else None
    return JobStatus(name, _sync(one, job, config), one, words, _coming(one, times, now), last, past, fault)


def _broken(name: str, config: Config) -> JobError | None:
    """Why a job of the config cannot be used, or may stand in a file that cannot be read."""
    files = (file.error for file in config.broken_files if file.is_for(name) and name not in config.jobs)
    return config.broken.get(name) or next(files, None)


def _config_of(one: InstalledJob, config: Config | None) -> Config | JobError | None:
    """The config that a job was installed from, which need not be the caller's; None where it is not seen."""
    if config is not None and one.source == str(config_place(config, one.scope)):
        return config
    return _config_at(Path(one.source)) if one.source and os.access(one.source, os.R_OK) else None


@cache
def _config_at(path: Path) -> Config | JobError:
    try:
        return load_config(path)
    except JobError as error:
        return error


def _fault_of_config(one: InstalledJob, error: JobError) -> str | None:
    """Why no run can read the config; others than its owner may just not see all of it."""
    if one.scope is Scope.SYSTEM and os.geteuid() != 0:
        return None
    why, _, _ = error.message.partition("\n")
    return msg(
        "its config cannot be used: {why}: dify-job --config {quote} config validate",
        why=why,
        quote=shlex.quote(one.source),
    )


def _runs(one: InstalledJob) -> tuple[RunRecord, ...] | None:
    try:
        return read_history(one.state)
    except OSError:
        return None


def _coming(one: InstalledJob, times: ScheduleConfig | None, now: datetime) -> tuple[datetime, ...]:
    if times is None or not one.enabled:
        return (one.next_run,) if one.next_run is not None else ()
    by_cron = one.by_cron
    last = tick_of(one.state)
    try:
        if_due = schedule_lines.ticks_of(times, by_cron=by_cron).if_due
        runs = tuple(islice(upcoming.coming(times, now, by_cron=by_cron, last=last), 3))
    except JobError:  # changed to what this scheduler cannot keep; the row says that it is outdated
        return ()
    if one.next_run is None or if_due:  # the timer's next tick need not be a run
        return runs
    return (one.next_run, *(at for at in runs if at > one.next_run))[:3]


def _sync(one: InstalledJob, job: Job | None, config: Config | None) -> Sync:
    if one.edited:
        return Sync.EDITED
    if config is None or one.source != str(config_place(config, one.scope)):
        return Sync.ORPHAN if one.source and is_missing(Path(one.source)) else Sync.CONFIGURED
    if job is None:
        return Sync.CONFIGURED if _broken(one.job, config) is not None else Sync.ORPHAN
    plan = job_spec(job, Path(one.source), python=one.python)
    return Sync.CONFIGURED if plan.fingerprint == one.fingerprint else Sync.OUTDATED


def _last(one: InstalledJob, runs: Sequence[RunRecord] | None) -> dict[str, Any] | None:
    """From the state where it can be read, and where a start left no record, from the service manager."""
    last = latest_run(read_last(one.state), runs, one.ending, read_in_flight(one.state))
    if last is None:
        return None
    keys = ("outcome", "exit_code", "call_time", "duration_s", "message", "workflow_run_id")
    record = last.as_record()
    return {key: record[key] for key in keys}

"""The upcoming runs of jobs, merged by time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from ..config.model import Job, ScheduleConfig
from ..messages.errors import JobError
from ..schedule import schedule_lines, upcoming
from ..schedulers import systemctl
from ..schedulers.model import InstalledJob
from .job_status import has_known_times, in_readers_zone, last_due_time


@dataclass(frozen=True, slots=True)
class UpcomingRuns:
    """The upcoming runs of one job.

    Attributes:
        job: The job.
        name: Its name, with scope and scheduler if another job has the same name.
        installed: The installed job, or None.
        schedule: The schedule as text.
        runs: The next runs, aware; empty if the schedule has none, or if they are unknown.
        known: False if the runs depend on a record that the caller has no permission to read.
        warnings: The effects of clock changes.
    """

    job: Job
    name: str
    installed: InstalledJob | None
    schedule: str
    runs: tuple[datetime, ...]
    known: bool
    warnings: tuple[str, ...]

    @property
    def enabled(self) -> bool:
        """True if the scheduler will start these runs, or if it does not answer."""
        return (
            self.installed is not None and self.installed.enabled is not False and not self.installed.paused
        )

    def as_json(self) -> dict[str, Any]:
        """Return the object that `next --json` prints."""
        return {
            "job": self.job.name,
            "enabled": self.installed.enabled if self.installed is not None else False,
            "runs": [at.isoformat() for at in self.runs],
            "warnings": list(self.warnings),
        }


def upcoming_runs(job: Job, installed: InstalledJob | None, now: datetime, count: int) -> UpcomingRuns:
    """Compute the upcoming runs of a job by the rules of its scheduler.

    Args:
        job: The configured job.
        installed: The installed job, or None.
        now: The current time, aware.
        count: The number of runs.

    Raises:
        JobError: (rejected) The scheduler cannot follow the schedule, or it has no time in the future.
    """
    times = job.times
    upcoming.check(times, now)
    by_cron = _by_cron(installed, times)
    last = last_due_time(installed.state) if installed is not None else None
    known = installed is None or has_known_times(times, installed.state)
    runs = islice(upcoming.run_times(times, now, by_cron=by_cron, last=last), count)
    return UpcomingRuns(
        job=job,
        name=job.name,
        installed=installed,
        schedule=schedule_lines.schedule_text(times),
        runs=tuple(in_readers_zone(at, times) for at in runs) if known else (),
        known=known,
        warnings=tuple(upcoming.clock_warnings(times, now, by_cron=by_cron)),
    )


def merge_runs(jobs: Sequence[UpcomingRuns], count: int) -> list[tuple[datetime, UpcomingRuns]]:
    """Return the next runs of the enabled jobs, the earliest first.

    Args:
        jobs: The jobs with their runs; if none is enabled, the runs of the disabled jobs are returned.
        count: The number of runs of all jobs together.
    """
    chosen = [one for one in jobs if one.enabled] or jobs
    runs = ((at, one) for one in chosen for at in one.runs)
    return sorted(runs, key=lambda pair: (pair[0], pair[1].name))[:count]


def _by_cron(installed: InstalledJob | None, times: ScheduleConfig) -> bool:
    if installed is not None or systemctl.is_booted():
        return installed is not None and installed.by_cron
    try:
        schedule_lines.cron_lines(times)
    except JobError:  # this host's scheduler cannot follow the schedule; another host's may
        return False
    return True

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
from ..schedulers.backend import InstalledJob
from .job_status import in_readers_zone, last_due_time


@dataclass(frozen=True, slots=True)
class UpcomingRuns:
    """The upcoming runs of one job.

    Attributes:
        job: The job.
        installed: As it is installed; None where it is not.
        schedule: When it runs, in words.
        runs: The next of them, aware; none where the schedule never comes again.
        warnings: What clock changes do to them.
    """

    job: Job
    installed: InstalledJob | None
    schedule: str
    runs: tuple[datetime, ...]
    warnings: tuple[str, ...]

    @property
    def enabled(self) -> bool:
        """True where the scheduler will start these runs; where nobody can ask it, they are believed."""
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
    """Compute the upcoming runs of a job as its scheduler would start them.

    Args:
        job: The job as it is configured.
        installed: The job as it is installed; None where it is not.
        now: The current time, aware.
        count: How many runs.

    Raises:
        JobError: (rejected) for a schedule that the scheduler cannot follow, or that never comes again.
    """
    times = job.times
    upcoming.check(times, now)
    by_cron = _by_cron(installed, times)
    last = last_due_time(installed.state) if installed is not None else None
    runs = islice(upcoming.run_times(times, now, by_cron=by_cron, last=last), count)
    return UpcomingRuns(
        job=job,
        installed=installed,
        schedule=schedule_lines.schedule_text(times),
        runs=tuple(in_readers_zone(at, times) for at in runs),
        warnings=tuple(upcoming.clock_warnings(times, now, by_cron=by_cron)),
    )


def merge_runs(jobs: Sequence[UpcomingRuns], count: int) -> list[tuple[datetime, UpcomingRuns]]:
    """Return the next runs of those jobs that the scheduler will start, the earliest first.

    Args:
        jobs: Each with its own runs; where the scheduler will start none of them, those that it would start.
        count: How many, of all jobs together.
    """
    chosen = [one for one in jobs if one.enabled] or jobs
    runs = ((at, one) for one in chosen for at in one.runs)
    return sorted(runs, key=lambda pair: (pair[0], pair[1].job.name))[:count]


def _by_cron(installed: InstalledJob | None, times: ScheduleConfig) -> bool:
    if installed is not None or systemctl.is_booted():
        return installed is not None and installed.by_cron
    try:
        schedule_lines.cron_lines(times)
    except JobError:  # this host has neither systemd nor a cron that can follow it; another may
        return False
    return True

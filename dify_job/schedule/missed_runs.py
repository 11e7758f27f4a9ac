"""Scheduled runs without a record: the scheduler did not start them. Pure."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..config.model import ScheduleConfig
from . import intervals, schedule_lines, upcoming

_EARLY = timedelta(seconds=5)  # tolerance for rounded records
_LATE = timedelta(minutes=10)  # tolerance for process starts on a busy machine
_VERY_LATE = timedelta(hours=6)  # tolerance for a paused virtual machine
_MIN_LOOKBACK = timedelta(minutes=30)
_MAX_LOOKBACK = timedelta(days=11 * 366)  # the longest interval is ten years


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A recorded start, which may have been skipped.

    Attributes:
        began: When it began, aware.
        ended: When it ended, aware.
    """

    began: datetime
    ended: datetime

    def covers(self, scheduled: datetime, late: timedelta) -> bool:
        """Return whether this is the run of a scheduled time, or was in progress then and prevented it.

        Args:
            scheduled: The scheduled time, aware.
            late: The permitted delay of the run.
        """
        return self.began <= scheduled + late and self.ended >= scheduled - _EARLY


def missed_runs(
    times: ScheduleConfig,
    now: datetime,
    *,
    since: datetime,
    runs: Sequence[RecordedRun],
    by_cron: bool = False,
    last: datetime | None = None,
    asleep: timedelta = timedelta(0),
) -> tuple[datetime, ...]:
    """Return the last two scheduled times if neither has a record, the earlier first; otherwise nothing.

    Args:
        times: The job's schedule.
        now: The current time, aware.
        since: The time since which the schedule is active: the latest of install, resume and boot.
        runs: The recorded starts, in any order.
        by_cron: Whether cron starts the runs.
        last: The recorded last due time of `--if-due`, or None.
        asleep: The time in which the machine was suspended since boot.

    Raises:
        JobError: This scheduler cannot run the schedule (rejected).
    """
    now, since = now.astimezone(UTC), since.astimezone(UTC)
    times = _until_counted(times, last, by_cron=by_cron)
    due, pending = _last_scheduled(times, now, since, by_cron=by_cron, last=last)
    if len(due) < 2 or asleep >= now - due[0].at:
        return ()
    if any(run.covers(scheduled.at, scheduled.late) for run in runs for scheduled in (*due, *pending)):
        return ()
    return tuple(scheduled.at for scheduled in due)


def _until_counted(times: ScheduleConfig, last: datetime | None, *, by_cron: bool) -> ScheduleConfig:
    """Replace an interval without a recorded start by its grid, because any grid time can be its first."""
    if times.every is None or last is not None or not schedule_lines.lines_for(times, by_cron=by_cron).if_due:
        return times
    return times._replace(every=float(intervals.grid_of(times.every)))


@dataclass(frozen=True, slots=True)
class _ScheduledRun:
    """A scheduled time. due: the time by which its run must have started. late: the permitted delay."""

    at: datetime
    due: datetime
    late: timedelta


def _last_scheduled(
    times: ScheduleConfig, now: datetime, since: datetime, *, by_cron: bool, last: datetime | None
) -> tuple[list[_ScheduledRun], list[_ScheduledRun]]:
    """Return the last two due scheduled times, and later ones."""
    look = _MIN_LOOKBACK + timedelta(seconds=times.jitter)
    while True:
        start = max(since, now - look)
        due: deque[_ScheduledRun] = deque(maxlen=2)
        pending: list[_ScheduledRun] = []
        for scheduled in _scheduled_runs(times, start, now, by_cron=by_cron, last=last):
            (due if scheduled.due <= now else pending).append(scheduled)
        if len(due) == 2 or start == since or look > _MAX_LOOKBACK:
            return list(due), pending
        look *= 3


def _scheduled_runs(
    times: ScheduleConfig, start: datetime, now: datetime, *, by_cron: bool, last: datetime | None
) -> Iterator[_ScheduledRun]:
    """Yield the scheduled times after `start` until now.

    A timer starts its service as soon as the machine can; cron starts nothing after the scheduled minute.
    """
    jitter = timedelta(seconds=times.jitter)
    at = upcoming.run_times(times, start, by_cron=by_cron, last=last)
    coming = (scheduled.astimezone(UTC) for scheduled in at)  # in UTC, a difference is elapsed time
    scheduled = next(coming, None)
    while scheduled is not None and scheduled <= now:
        following = next(coming, None)
        pause = following - scheduled if following is not None and not by_cron else timedelta(0)
        yield _ScheduledRun(
            scheduled, scheduled + jitter + _LATE, jitter + max(_LATE, min(pause / 4, _VERY_LATE))
        )
        scheduled = following

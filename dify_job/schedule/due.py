"""Decide whether a start is a run: due by the job's record (`--if-due`), not too late (`max_late`). Pure."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..config.model import ScheduleConfig
from ..messages.message import msg
from ..system.timespan import timespan_text
from . import intervals, upcoming

_CRON_MINUTE = 60.0  # seconds in which cron starts a line
# A larger step back corrects a wrong clock; a smaller one must not repeat a run.
_CLOCK_STEP_BACK = timedelta(days=1)
_CLOCK_STEPPED_BACK = msg("the system clock was set back, so the interval starts again now")


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one start.

    Attributes:
        due: The run is due.
        new_last_due: The time to record as last due; None to leave the record unchanged.
        why: Why the run is not due.
    """

    due: bool
    new_last_due: datetime | None = None
    why: str = ""


def decide(schedule: ScheduleConfig, now: datetime, last: datetime | None) -> Decision:
    """Decide whether a job is due.

    With catch_up, a missed run is caught up once, within max_late.

    Args:
        schedule: The job's schedule.
        now: The time of the start, aware.
        last: The recorded last due time; None at the first start, which is not a run, so no install starts
            one.
    """
    now = now.astimezone(UTC)  # within a time zone, subtraction uses wall-clock time
    if schedule.every is not None:
        return _decide_interval(schedule, schedule.every, now, last)
    if last is not None and last - now > _CLOCK_STEP_BACK:
        return Decision(due=False, new_last_due=now, why=_CLOCK_STEPPED_BACK)
    since = now - timedelta(seconds=schedule.max_late or _CRON_MINUTE)
    if last is not None:
        since = last if schedule.catch_up and schedule.max_late is None else max(last, since)
    at = next(upcoming.due_times(schedule, since), None)
    if at is not None and at <= now:
        return Decision(due=True, new_last_due=now)
    return Decision(due=False, new_last_due=now if last is None else None, why=_not_before(at))


def _decide_interval(
    schedule: ScheduleConfig, every: float, now: datetime, last: datetime | None
) -> Decision:
    grid, step = intervals.grid_of(every), round(every)
    grid_time = int(now.timestamp()) // grid * grid
    if last is None:
        why = msg("the first interval of the job starts now")
        return Decision(due=False, new_last_due=datetime.fromtimestamp(grid_time, UTC), why=why)
    last_due = int(last.timestamp())
    if grid_time < last_due:
        return Decision(
            due=False, new_last_due=datetime.fromtimestamp(grid_time, UTC), why=_CLOCK_STEPPED_BACK
        )
    steps = (grid_time - last_due) // step
    # This time is recorded instead of the grid time, so that the interval does not drift.
    at = datetime.fromtimestamp(last_due + steps * step, UTC)
    late = (now - at).total_seconds()
    # a clock change delays cron by one grid time; a longer delay is an outage
    within_limit = (
        late <= schedule.max_late if schedule.max_late is not None else schedule.catch_up or late < 2 * grid
    )
    if steps and within_limit:
        return Decision(due=True, new_last_due=at)
    coming = datetime.fromtimestamp(last_due + (steps + 1) * step, UTC).astimezone()
    return Decision(due=False, why=_not_before(coming))


def _not_before(at: datetime | None) -> str:
    if at is None:
        return msg("the schedule names no time in the future")
    return msg("the run is not due before {when}", when=at.strftime("%Y-%m-%d %H:%M %Z"))


def too_late(schedule: ScheduleConfig, now: datetime, *, by_cron: bool = False) -> str | None:
    """Return why a scheduled start is later than max_late allows; None if it may run.

    Suspend, a clock jump, or a run longer than the interval makes a start late.

    Args:
        schedule: The job's schedule; its jitter does not count as lateness.
        now: The time of the start, aware.
        by_cron: cron started it.
    """
    if schedule.max_late is None:
        return None
    since = now.astimezone(UTC) - timedelta(seconds=schedule.max_late + schedule.jitter + 1)
    if next(upcoming.run_times(schedule, since, by_cron=by_cron), now + timedelta(1)) <= now:
        return None
    return msg(
        "the scheduled time was more than {max_late} ago (max_late)",
        max_late=timespan_text(schedule.max_late),
    )


def jitter_of(schedule: ScheduleConfig, job: str, host: str) -> float:
    """Return the jitter of a job on a host in seconds: always the same, at most the configured jitter.

    Args:
        schedule: The job's schedule.
        job: The job.
        host: The name of the host.
    """
    share = int.from_bytes(hashlib.sha256(f"{host}:{job}".encode()).digest()[:8], "big") / 2**64
    return share * schedule.jitter

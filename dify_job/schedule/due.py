"""Whether a tick is the job's: due by its own record (`--if-due`), and not too late (`max_late`). Pure."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..config.model import ScheduleConfig
from ..messages.message import msg
from ..system.timespan import timespan_text
from . import intervals, upcoming

_CRON_MINUTE = 60.0  # seconds in which a tick of cron begins
_CLOCK_STEP_BACK = timedelta(days=1)  # a clock that was wrong; a smaller step back must not repeat a run
_CLOCK_STEPPED_BACK = msg("the system clock was set back, so the interval starts again now")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a job runs at a tick.

    Attributes:
        due: Run now.
        new_last_due: What to remember as the job's last tick; None for what is remembered already.
        why: Why it is not due.
    """

    due: bool
    new_last_due: datetime | None = None
    why: str = ""


def decide(config: ScheduleConfig, now: datetime, last: datetime | None) -> Decision:
    """Decide whether a job is due at a tick.

    A time that was missed is made up for where the job says catch_up, once; max_late bounds that.

    Args:
        config: The job's schedule.
        now: The time of the tick, aware.
        last: The tick remembered; None at the first, where the count begins: no install starts a run.
    """
    now = now.astimezone(UTC)  # in a zone, subtraction is by its clock
    if config.every is not None:
        return _decide_interval(config, config.every, now, last)
    if last is not None and last - now > _CLOCK_STEP_BACK:
        return Decision(due=False, new_last_due=now, why=_CLOCK_STEPPED_BACK)
    since = now - timedelta(seconds=config.max_late or _CRON_MINUTE)
    if last is not None:
        since = last if config.catch_up and config.max_late is None else max(last, since)
    at = next(upcoming.due_times(config, since), None)
    if at is not None and at <= now:
        return Decision(due=True, new_last_due=now)
    return Decision(due=False, new_last_due=now if last is None else None, why=_not_before(at))


def _decide_interval(config: ScheduleConfig, every: float, now: datetime, last: datetime | None) -> Decision:
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
    at = datetime.fromtimestamp(last_due + steps * step, UTC)  # remembered, not the tick: no drift
    late = (now - at).total_seconds()
    # one tick late is what a clock change does to cron; longer is an outage
    within_limit = (
        late <= config.max_late if config.max_late is not None else config.catch_up or late < 2 * grid
    )
    if steps and within_limit:
        return Decision(due=True, new_last_due=at)
    coming = datetime.fromtimestamp(last_due + (steps + 1) * step, UTC).astimezone()
    return Decision(due=False, why=_not_before(coming))


def _not_before(at: datetime | None) -> str:
    if at is None:
        return msg("the schedule names no time in the future")
    return msg("the run is not due before {when}", when=f"{at:%Y-%m-%d %H:%M %Z}")


def too_late(config: ScheduleConfig, now: datetime, *, by_cron: bool = False) -> str | None:
    """Return why a scheduled start is later than max_late allows; None where it may run.

    It comes from suspend, a clock jump, or a run that was longer than the interval.

    Args:
        config: The job's schedule. Its jitter is no lateness.
        now: The time of the start, aware.
        by_cron: cron started it.
    """
    if config.max_late is None:
        return None
    since = now.astimezone(UTC) - timedelta(seconds=config.max_late + config.jitter + 1)
    if next(upcoming.run_times(config, since, by_cron=by_cron), now + timedelta(1)) <= now:
        return None
    return msg(
        "the scheduled time was more than {max_late} ago (max_late)",
        max_late=timespan_text(config.max_late),
    )


def jitter_of(config: ScheduleConfig, job: str, host: str) -> float:
    """Return the seconds that a job waits on a host: the same each time, and at most the configured jitter.

    Args:
        config: The job's schedule.
        job: The job.
        host: The name of the host.
    """
    share = int.from_bytes(hashlib.sha256(f"{host}:{job}".encode()).digest()[:8], "big") / 2**64
    return share * config.jitter

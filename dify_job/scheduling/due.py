"""Whether a tick is the job's: due by its own record (`--if-due`), and not too late (`max_late`). Pure."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..config.model import ScheduleConfig
from ..timespan import format_timespan
from . import intervals, schedule

_TICK = 60.0  # seconds in which a tick of cron begins


@dataclass(frozen=True, slots=True)
class Decision:
    """due: run now. mark: what to remember as the job's last tick. why: where it is not due, in words."""

    due: bool
    mark: datetime | None = None
    why: str = ""


def decide(config: ScheduleConfig, now: datetime, last: datetime | None) -> Decision:
    """Whether the job is due at this tick.

    last: the tick remembered; None at the first one, where the count begins, so that no install starts a run.
    """
    if config.every is not None:
        grid = intervals.grid_of(config.every)
        mark = datetime.fromtimestamp(int(now.timestamp()) // grid * grid, UTC)
        if last is None:
            return Decision(due=False, mark=mark, why="the interval is counted from this first tick")
        if mark < last:  # the clock was put back
            return Decision(due=False, mark=mark, why="the clock was put back; the interval is counted anew")
        at = last + timedelta(seconds=round(config.every))
        if mark >= at:
            return Decision(due=True, mark=mark)
        return Decision(due=False, why=f"not due before {at.astimezone():%Y-%m-%d %H:%M %Z}")
    since = now - timedelta(seconds=max(_TICK, config.max_late or 0.0))
    if last is not None:
        since = last if config.catch_up else max(last, since)
    at_or_none = next(schedule.coming(config, since), None)
    if at_or_none is not None and at_or_none <= now:
        return Decision(due=True, mark=now)
    when = f"{at_or_none:%Y-%m-%d %H:%M %Z}" if at_or_none else "any time"
    return Decision(due=False, why=f"not due before {when}")


def too_late(config: ScheduleConfig, now: datetime) -> str | None:
    """Why a scheduled start at `now` is later than max_late allows; None where it may run.

    The jitter is no lateness. From suspend, a clock jump, or a run that was longer than the interval.
    """
    if config.max_late is None:
        return None
    back = timedelta(seconds=config.max_late + config.jitter + 1)
    if next(schedule.coming(config, now - back), now + timedelta(1)) <= now:
        return None
    return f"the tick that started it is more than max_late = {format_timespan(config.max_late)} ago"


def jitter_of(config: ScheduleConfig, job: str, host: str) -> float:
    """Seconds that this job waits on this host, the same each time: at most the configured jitter."""
    share = int.from_bytes(hashlib.sha256(f"{host}:{job}".encode()).digest()[:8], "big") / 2**64
    return share * config.jitter

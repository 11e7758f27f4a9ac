"""Intervals as lists of times: an even division of a day, or the coarsest exact grid with `--if-due`.

OnBootSec, OnUnitActiveSec and OnActiveSec are not used, because they fire at install or reload
(systemd#16186). Steps such as 00/7 are not used, because systemd 252 loses a run at the end of a month
(systemd#22665).
"""

from dataclasses import dataclass
from functools import cache
from math import gcd

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.timespan import format_timespan, timespan_text

DAY = 86400
_MAX_LINES = 48
_MAX_INTERVAL = 10 * 366 * DAY
_MIN_GRID = 60  # seconds; a finer grid could start a process each second


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """Times of the day: every combination of these numbers.

    Attributes:
        hours: 0 to 23.
        minutes: 0 to 59.
        seconds: 0 to 59.
    """

    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]


def grid_of(every: float) -> int:
    """Return the grid of an interval in seconds; it is finer than the interval if `--if-due` is needed.

    Args:
        every: The interval, in seconds.

    Raises:
        JobError: (rejected) There is no such grid; the hint names the nearest exact intervals.
    """
    seconds = round(every)
    if seconds < 1 or abs(every - seconds) > 1e-6:
        raise _rejected(
            every,
            msg(
                "the setting every is {every!r}, which is not a whole number of seconds",
                every=timespan_text(every),
            ),
        )
    if seconds > _MAX_INTERVAL:
        raise _rejected(
            every,
            msg("the setting every is {every!r}, which is longer than ten years", every=timespan_text(every)),
        )
    grid = gcd(seconds, DAY)
    if grid != seconds and grid < _MIN_GRID:
        raise _rejected(
            every,
            msg(
                "the setting every is {every!r}, which does not divide a day evenly, and a timer for it "
                "would fire more than once a minute",
                every=timespan_text(every),
            ),
        )
    if len(times_of(grid)) > _MAX_LINES:
        raise _rejected(
            every,
            msg(
                "the setting every is {every!r}, which needs too many OnCalendar= lines in the timer",
                every=timespan_text(every),
            ),
        )
    return grid


@cache
def times_of(every: int) -> tuple[TimeGrid, ...]:
    """Return the times of an interval in a day, from midnight on, in few lists.

    Args:
        every: The interval in seconds; it divides a day.
    """
    hours: dict[tuple[int, int], list[int]] = {}
    for at in range(0, DAY, every):
        hours.setdefault((at // 60 % 60, at % 60), []).append(at // 3600)
    minutes: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for (minute, second), those in hours.items():
        minutes.setdefault((second, tuple(those)), []).append(minute)
    seconds: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for (second, those_hours), those in minutes.items():
        seconds.setdefault((those_hours, tuple(sorted(those))), []).append(second)
    return tuple(TimeGrid(h, m, tuple(sorted(s))) for (h, m), s in seconds.items())


def nearest_exact(every: float, unit: int = 1, *, lines: int = 2) -> tuple[int, ...]:
    """Return the intervals nearest to an interval, itself included, that divide a day.

    Args:
        every: The interval, in seconds.
        unit: The intervals are multiples of this, in seconds.
        lines: The maximum number of lists of times of each.

    Returns:
        Seconds of at most two, the shorter first.
    """
    exact = [size for size in range(unit, DAY + 1, unit) if DAY % size == 0 and len(times_of(size)) <= lines]
    below = [size for size in exact if size <= every]
    above = [size for size in exact if size > every]
    return (*below[-1:], *above[:1])


def listed(numbers: tuple[int, ...], size: int, width: int = 1) -> str:
    """Return numbers for a field of a schedule; `*` for all numbers.

    Args:
        numbers: The numbers.
        size: The number of possible values.
        width: The minimum number of digits.
    """
    return "*" if len(numbers) == size else ",".join(f"{number:0{width}}" for number in numbers)


def interval_text(intervals: tuple[int, ...]) -> str:
    """Return intervals (seconds) as text: `6h or 8h`."""
    spans = [format_timespan(size) for size in intervals]
    return spans[0] if len(spans) == 1 else msg("{shorter} or {longer}", shorter=spans[0], longer=spans[1])


def _rejected(every: float, message: str) -> JobError:
    return JobError(
        Outcome.REJECTED,
        message,
        msg(
            "use one of the nearest intervals that divide a day evenly: {intervals}",
            intervals=interval_text(nearest_exact(every)),
        ),
    )

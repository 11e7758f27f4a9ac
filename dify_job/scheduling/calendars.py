"""Calendar expressions of systemd (systemd.time(7)): checked, with steps written out as lists."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from oncalendar import BaseIterator, OnCalendarError, parse_tz

from ..errors import JobError
from ..exits import Outcome
from .intervals import Times

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_STEP = re.compile(r"/(\d+)")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LARGEST_STEP = {"hours": 23, "minutes": 59, "seconds": 59}


def split_zone(expression: str) -> tuple[str, str | None]:
    """The expression without its zone, and the zone."""
    head, _, last = expression.strip().rpartition(" ")
    if head and (last == "UTC" or parse_tz(last) is not None):
        return head, last
    return expression.strip(), None


def explicit(expression: str) -> str:
    """The expression as it can be given to any systemd: what has a step is written out as lists.

    Raises JobError (rejected) where systemd would refuse it, or take it and never elapse.
    """
    head, zone = split_zone(expression)
    fields = parsed(expression)
    if "/" in head:
        head = _written_out(fields)
    return f"{head} {zone}" if zone else head


def parsed(expression: str) -> BaseIterator:
    """The expression as sets of years, months, days, weekdays, hours, minutes and seconds."""
    head, _ = split_zone(expression)
    try:
        fields = BaseIterator(head, _EPOCH)
        time = head.rpartition(" ")[2]
        for part in time.split(":") if ":" in time else ():
            for step in _STEP.findall(part):
                if int(step) > _LARGEST_STEP["minutes"]:
                    raise _refused(expression, f"the step /{step} is longer than what it divides")
        next(fields)
    except (OnCalendarError, ValueError, IndexError):
        raise _refused(expression, "systemd would not read it") from None
    except StopIteration:
        raise _refused(expression, "it never elapses") from None
    return BaseIterator(head, _EPOCH)


def of_times(times: Iterable[Times], zone: str | None) -> tuple[str, ...]:
    """One expression for each combination of times."""
    tail = f" {zone}" if zone else ""
    return tuple(
        f"*-*-* {_listed(t.hours, 24)}:{_listed(t.minutes, 60)}:{_listed(t.seconds, 60)}{tail}" for t in times
    )


def _written_out(fields: BaseIterator) -> str:
    weekdays = sorted(fields.weekdays)
    day = "" if len(weekdays) == 7 else ",".join(WEEKDAYS[number] for number in weekdays) + " "
    years = "*" if len(fields.years) > 100 else ",".join(str(year) for year in sorted(fields.years))
    months = _listed(tuple(sorted(fields.months)), 12)
    if any(number < 0 for number in fields.days):
        days = "~" + ",".join(f"{-number:02}" for number in sorted(fields.days, reverse=True))
    else:
        days = "-" + _listed(tuple(sorted(fields.days)), 31)
    time = ":".join(
        _listed(tuple(sorted(numbers)), size)
        for numbers, size in ((fields.hours, 24), (fields.minutes, 60), (fields.seconds, 60))
    )
    return f"{day}{years}-{months}{days} {time}"


def _listed(numbers: tuple[int, ...], size: int) -> str:
    return "*" if len(numbers) == size else ",".join(f"{number:02}" for number in numbers)


def _refused(expression: str, why: str) -> JobError:
    return JobError(
        Outcome.REJECTED,
        f"calendar = {expression!r}: {why}",
        "man systemd.time tells the form, for example: Mon..Fri 07:30, or *-*-01 06:00 Europe/Berlin",
    )

"""Calendar expressions of systemd (systemd.time(7)): check them, and expand steps to lists."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from oncalendar import BaseIterator, OnCalendarError, parse_tz

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from .intervals import TimeGrid, listed

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_STEP = re.compile(r"(\d+)(?:\.\.(\d+))?/(\d+)")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LAST = {"date": (2199, 12, 31), "time": (23, 59, 59)}
_SEMIANNUALLY = {"semi-annually", "biannually", "bi-annually"}  # names that the library lacks


def split_zone(expression: str) -> tuple[str, str | None]:
    """Return an expression without its time zone, and the zone or None."""
    head, _, last = " ".join(expression.split()).rpartition(" ")
    if head and last.upper() == "UTC":
        return head, "UTC"
    if head and parse_tz(last) is not None:
        return head, last
    return " ".join(expression.split()), None


def without_steps(expression: str) -> str:
    """Return an equivalent expression for any systemd version, with steps expanded to lists.

    Args:
        expression: An expression of systemd.time(7).

    Raises:
        JobError: (rejected) systemd would reject it, or it never elapses.
    """
    head, zone = split_zone(expression)
    fields = parse_calendar(expression)
    if "/" in head or head.lower() in _SEMIANNUALLY:
        head = _written_out(head, fields)
    return f"{head} {zone}" if zone else head


def parse_calendar(expression: str) -> BaseIterator:
    """Parse an expression to sets of years, months, days, weekdays, hours, minutes and seconds.

    Args:
        expression: An expression of systemd.time(7).

    Raises:
        JobError: (rejected) systemd would reject it, or it never elapses.
    """
    head, _ = split_zone(expression)
    if head.lower() in _SEMIANNUALLY:
        head = "semiannually"
    try:
        fields = BaseIterator(head, _EPOCH)
        fields.days -= {0}  # the library continues ~3/1 to 0
        for step in _steps_too_long(head):
            raise _rejected(
                expression, msg("the step /{step} is longer than the range of its field", step=step)
            )
        next(fields)
    except (OnCalendarError, ValueError, IndexError):
        why = (
            msg("the expression has fractions of a second")
            if re.search(r":\d+\.\d", head)
            else msg("it is not a calendar expression of systemd.time(7)")
        )
        raise _rejected(expression, why) from None
    except StopIteration:
        raise _rejected(expression, msg("the expression has no time in the future")) from None
    return fields


def of_times(times: Iterable[TimeGrid], zone: str | None) -> tuple[str, ...]:
    """Return one expression for each combination of times.

    Args:
        times: The times.
        zone: Their time zone; None for the machine's.
    """
    tail = f" {zone}" if zone else ""
    return tuple(
        f"*-*-* {listed(t.hours, 24, 2)}:{listed(t.minutes, 60, 2)}:{listed(t.seconds, 60, 2)}{tail}"
        for t in times
    )


def _steps_too_long(head: str) -> Iterator[str]:
    """Yield steps that systemd rejects and the library accepts, such as `0/90`."""
    for word in head.split():
        kind = "time" if ":" in word else "date"
        parts = word.replace("-~", "~").replace("~", "-~").split(":" if kind == "time" else "-")
        last = _LAST[kind] if kind == "time" else _LAST[kind][-len(parts) :]
        for part, most in zip(parts, last, strict=False):
            for start, end, step in _STEP.findall(part):
                first = most + 1 - int(start) if part.startswith("~") else int(start)
                if not end and first + int(step) > most:
                    yield step


def _written_out(head: str, fields: BaseIterator) -> str:
    weekdays = sorted(fields.weekdays)
    day = "" if len(weekdays) == 7 else ",".join(WEEKDAYS[number] for number in weekdays) + " "
    years = "*" if len(fields.years) > 100 else ",".join(str(year) for year in sorted(fields.years))
    months = listed(tuple(sorted(fields.months)), 12, 2)
    days = listed(tuple(sorted(fields.days)), 31, 2)
    # days from the end of the month are not changed, because systemd 252 rejects lists such as ~01,28
    date = next((word for word in head.split() if "~" in word), f"{years}-{months}-{days}")
    time = ":".join(
        listed(tuple(sorted(numbers)), size, 2)
        for numbers, size in ((fields.hours, 24), (fields.minutes, 60), (fields.seconds, 60))
    )
    return f"{day}{date} {time}"


def _rejected(expression: str, why: str) -> JobError:
    return JobError(
        Outcome.REJECTED,
        msg(
            "the setting calendar is {expression!r}, which cannot be used: {reason}",
            expression=expression,
            reason=why,
        ),
        msg(
            "write calendar as described in systemd.time(7), for example: Mon..Fri 07:30, "
            "or *-*-01 06:00 Europe/Berlin"
        ),
    )

"""Cron's five fields (crontab(5), Debian's rules): strict parsing, and conversion to and from calendars."""

from dataclasses import dataclass

from oncalendar import BaseIterator

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg, text_of
from .intervals import TimeGrid, listed
from .oncalendar_expr import WEEKDAYS, parse_calendar, split_zone

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# field: first and last number, names and the number of the first name
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...], int], ...] = (
    ("minute", 0, 59, (), 0),
    ("hour", 0, 23, (), 0),
    (msg("day of month"), 1, 31, (), 0),
    ("month", 1, 12, _MONTHS, 1),
    (msg("day of week"), 0, 7, _DAYS, 0),
)
_DAYS_OF_MONTH = {month: 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in range(1, 13)}


@dataclass(frozen=True, slots=True)
class CronTimes:
    """The five fields as sorted numbers; Sunday is 0.

    Attributes:
        minutes: Of an hour.
        hours: Of a day.
        days: Of a month.
        months: Of a year.
        weekdays: 0 to 6.
        either_day: Both day fields are restricted, neither with `*`, so one match is enough (crontab(5)).
        line: The fields in plain numbers, which every cron reads.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool
    line: str


def read_cron(expression: str) -> CronTimes:
    """Parse five fields or a name such as @daily.

    Args:
        expression: The fields of crontab(5).

    Raises:
        JobError: (rejected) cron rejects it or gives it another meaning: for cron, `*/90` is hourly, `5/15`
            has no common meaning, and 30 February does not exist.
    """
    text = _MACROS.get(expression.strip().lower(), expression.strip())
    if text.lower() == "@reboot":
        raise _rejected(
            expression,
            msg("@reboot is not supported; with catch_up = true, the job runs once after an outage"),
        )
    if text.startswith("@"):
        raise _rejected(
            expression,
            msg(
                "{text} is not supported; use five fields or one of {macros}",
                text=text,
                macros=join(", ", _MACROS),
            ),
        )
    words = text.lower().split()
    if len(words) != 5:
        raise _rejected(expression, msg("a cron line has 5 fields, not {count}", count=len(words)))
    try:
        sets = [_numbers(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    except ValueError as error:
        raise _rejected(expression, text_of(error)) from None
    minutes, hours, days, months, weekdays = sets
    day_stars = [words[2].startswith("*"), words[4].startswith("*")]
    if not _exists(days, months) and any(day_stars):
        raise _rejected(
            expression, msg("day {day} does not exist in month {month}", day=words[2], month=words[3])
        )
    # A field that begins with `*` is not changed, because the star decides between `and` and `or`.
    plain = [
        word if word.startswith("*") else ",".join(map(str, numbers))
        for word, numbers in zip(words, sets, strict=True)
    ]
    return CronTimes(minutes, hours, days, months, weekdays, not any(day_stars), " ".join(plain))


def calendars_of(cron: CronTimes) -> tuple[str, ...]:
    """Return the equivalent calendar expressions, without a time zone."""
    time = f"{listed(cron.hours, 24, 2)}:{listed(cron.minutes, 60, 2)}:00"
    months = listed(cron.months, 12, 2)
    weekdays = ",".join(
        WEEKDAYS[(day - 1) % 7] for day in sorted(cron.weekdays, key=lambda day: (day - 1) % 7)
    )
    weekday = "" if len(cron.weekdays) == 7 else f"{weekdays} "
    date = f"*-{months}-{listed(cron.days, 31, 2)} {time}"
    if cron.either_day:
        by_weekday = f"{weekday}*-{months}-* {time}"
        return (by_weekday, date) if _exists(cron.days, cron.months) else (by_weekday,)
    return (f"{weekday}{date}",)


def each_day(times: TimeGrid) -> str:
    """Return the crontab line for these times of each day, which have no seconds."""
    return f"{listed(times.minutes, 60)} {listed(times.hours, 24)} * * *"


def cron_of(calendar: str) -> str:
    """Return the five fields that are equivalent to a calendar expression.

    Args:
        calendar: The expression; its time zone is ignored.

    Raises:
        ValueError: cron cannot express it; the text is the reason.
    """
    fields: BaseIterator = parse_calendar(calendar)
    expression, _ = split_zone(calendar)
    if fields.seconds != {0}:
        raise ValueError(msg("a cron line cannot contain seconds"))
    if len(fields.years) < 200:
        raise ValueError(msg("a cron line cannot contain years"))
    if any(day < 0 for day in fields.days):
        raise ValueError(
            msg(
                "a cron line cannot express the last day of the month (~ in {expression})",
                expression=expression,
            )
        )
    every_day, every_weekday = len(fields.days) == 31, len(fields.weekdays) == 7
    if not every_day and not every_weekday:
        raise ValueError(
            msg(
                "a cron line cannot require both a day of the month and a weekday, "
                "because cron runs it when one of them matches"
            )
        )
    weekdays = {(day + 1) % 7 for day in fields.weekdays}
    return " ".join(
        listed(tuple(sorted(numbers)), size)
        for numbers, size in (
            (fields.minutes, 60),
            (fields.hours, 24),
            (fields.days, 31),
            (fields.months, 12),
            (weekdays, 7),
        )
    )


def without_seconds(calendar: str) -> str:
    """Return a calendar expression with second 0, the nearest that cron can express."""
    head, zone = split_zone(calendar)
    words = head.split()
    if ":" not in words[-1]:
        return calendar
    words[-1] = ":".join([*words[-1].split(":")[:2], "00"])
    return " ".join([*words, *([zone] if zone else [])])


def _exists(days: tuple[int, ...], months: tuple[int, ...]) -> bool:
    return any(day <= _DAYS_OF_MONTH[month] for day in days for month in months)


def _numbers(
    word: str, name: str, first: int, last: int, names: tuple[str, ...], offset: int
) -> tuple[int, ...]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step = part.partition("/")
        if slash and (not _is_number(step) or int(step) == 0):
            raise ValueError(msg("the {name} {part!r} has no number after the /", name=name, part=part))
        if span == "*":
            start, end = first, last if name != "day of week" else 6
        else:
            low, dash, high = span.partition("-")
            start = _number(low, name, first, last, names, offset)
            end = _number(high, name, first, last, names, offset) if dash else start
            if slash and not dash:
                raise ValueError(
                    msg(
                        "{part!r} means different things in different cron versions; write "
                        "{low}-{last}/{step}",
                        part=part,
                        low=low,
                        last=last,
                        step=step,
                    )
                )
        if end < start:
            if name != "day of week":
                raise ValueError(
                    msg("the {name} {part!r} is a range whose end is before its start", name=name, part=part)
                )
            end += 7  # Debian's cron accepts fri-mon
        if slash and int(step) > end - start:
            meant = msg('; perhaps you mean every = "{step}min"', step=step) if name == "minute" else ""
            raise ValueError(
                msg("in {part!r}, the step is longer than the range{meant}", part=part, meant=meant)
            )
        numbers = range(start, end + 1, int(step or 1))
        found |= {number % 7 for number in numbers} if name == "day of week" else set(numbers)
    return tuple(sorted(found))


def _number(text: str, name: str, first: int, last: int, names: tuple[str, ...], offset: int) -> int:
    if text in names:
        return names.index(text) + offset
    if not _is_number(text) or not first <= int(text) <= last:
        raise ValueError(
            msg(
                "the {name} {text!r} is not a number from {first} to {last}",
                name=name,
                text=text,
                first=first,
                last=last,
            )
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 5


def _rejected(expression: str, why: str) -> JobError:
    return JobError(
        Outcome.REJECTED,
        msg(
            "the setting cron is {expression!r}, which cannot be used: {reason}",
            expression=expression,
            reason=why,
        ),
        msg(
            "a cron line has the fields minute, hour, day of month, month and day of "
            "week: 30 7 * * 1-5 (man 5 crontab)"
        ),
    )

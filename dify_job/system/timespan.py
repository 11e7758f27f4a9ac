"""Time spans as systemd writes them (systemd.time(7)): `90s`, `30min`, `1h 30min`."""

import re
from typing import Any

from ..messages.message import value_error

_UNITS: dict[str, float] = {
    unit: seconds
    for seconds, units in (
        (1e-6, ("us", "usec", "µs", "μs")),
        (1e-3, ("ms", "msec")),
        (1.0, ("s", "sec", "second", "seconds")),
        (60.0, ("m", "min", "minute", "minutes")),
        (3600.0, ("h", "hr", "hour", "hours")),
        (86400.0, ("d", "day", "days")),
        (604800.0, ("w", "week", "weeks")),
        (2629800.0, ("M", "month", "months")),
        (31557600.0, ("y", "year", "years")),
    )
    for unit in units
}
_PART = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-zµμ]*)"
_NUMBER = r"(?a)\s*(?:\d+(?:\.\d*)?|\.\d+)\s*"
_WEEK = 604800
_WRITTEN = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class TimeSpan(float):
    """A number of seconds with its original text.

    Attributes:
        text: The original text.
    """

    text: str

    def __new__(cls, seconds: float, text: str = "") -> "TimeSpan":
        """Return the span; the default text is that of format_timespan."""
        span = super().__new__(cls, seconds)
        span.text = text or format_timespan(seconds)
        return span


def parse_timespan(text: str) -> float:
    """Parse a time span as systemd does.

    Args:
        text: One or more numbers with units. A number without a unit is seconds.

    Returns:
        Seconds.

    Raises:
        ValueError: The text is not a time span.
    """
    rest, total = text.strip(), 0.0
    while rest:
        part = re.match(_PART, rest, re.ASCII)
        if part is None or (part[2] and part[2] not in _UNITS):
            rest = text
            break
        total += float(part[1]) * _UNITS[part[2] or "s"]
        rest = rest[part.end() :].lstrip()
    if rest or not text.strip():
        raise value_error(
            "{setting} is {text!r}, which is not a time span; write it as 90s, 30min or 1h 30min", text=text
        )
    return total


def format_timespan(seconds: float) -> str:
    """Format seconds as a time span; parse_timespan returns them with microsecond precision."""
    micros = round(seconds * 1_000_000)
    whole, below = divmod(micros, 1_000_000)
    if whole and not below and whole % _WEEK == 0:
        return f"{whole // _WEEK}w"
    parts = []
    for size, unit in _WRITTEN:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    millis, micros = divmod(below, 1000)
    parts += [f"{count}{unit}" for count, unit in ((millis, "ms"), (micros, "us")) if count]
    return " ".join(parts) or "0s"


def timespan_text(seconds: float) -> str:
    """Return the original text of a time span, or the text of format_timespan."""
    return seconds.text if isinstance(seconds, TimeSpan) else format_timespan(seconds)


# Readers of configuration values (config.readers.Reader).


def timespan(value: Any) -> TimeSpan:
    """Parse a time span in which every number has a unit; only 0 needs none.

    Args:
        value: The value of a key or an option, or a parsed span.

    Returns:
        Seconds, with the text.

    Raises:
        ValueError: The value is not a time span, is negative, lacks a unit or has the ambiguous unit `M`.
    """
    if isinstance(value, TimeSpan):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise value_error('{setting} must be a time span such as "30min"')
    text = value if isinstance(value, str) else f"{value}"
    if text.strip().startswith("-"):
        raise value_error("{setting} must not be negative")
    if re.fullmatch(_NUMBER, text) and float(text):
        number = text.strip()
        raise value_error(
            "{setting} has no unit; write it as {number}h, {number}min or {number}s", number=number
        )
    seconds = parse_timespan(text)
    for number, unit in re.findall(_PART, text, re.ASCII):
        if unit == "M":
            raise value_error(
                "{setting} is {text!r}, in which M is ambiguous; write {number}min for "
                "minutes or {number}month for months",
                text=text,
                number=number,
            )
        if not unit and float(number):
            raise value_error(
                "{setting} is {text!r}, in which {number} has no unit; write it as {number}min or {number}s",
                text=text,
                number=number,
            )
    if seconds == float("inf"):
        raise value_error("{setting} is too large for a time span")
    return TimeSpan(seconds, " ".join(text.split()) if seconds else "0s")


def positive_timespan(value: Any) -> TimeSpan:
    """Parse a time span above zero, with the arguments and errors of timespan."""
    if (seconds := timespan(value)) <= 0:
        raise value_error("{setting} must be more than 0 s")
    return seconds

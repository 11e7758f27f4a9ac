"""Time spans as systemd writes them (systemd.time(7)): `90s`, `30min`, `1h 30min`."""

import re
from typing import Any

from ..messages.message import msg

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
_WRITTEN = (
    (31557600, "y"), (2629800, "month"), (604800, "w"), (86400, "d"), (3600, "h"), (60, "min"), (1, "s"),
)  # fmt: skip


def parse_timespan(text: str) -> float:
    """Seconds of a time span; a number without a unit is seconds. Raises ValueError with a sentence."""
    rest, total = text.strip(), 0.0
    while rest:
        part = re.match(_PART, rest)
        if part is None or (part[2] and part[2] not in _UNITS):
            rest = text
            break
        total += float(part[1]) * _UNITS[part[2] or "s"]
        rest = rest[part.end() :].lstrip()
    if rest or not text.strip():
        raise ValueError(msg("{text!r} is not a time span; write it as 90s, 30min or 1h 30min", text=text))
    return total


def format_timespan(seconds: float) -> str:
    """As systemd writes it; parse_timespan reads it back to the microsecond."""
    micros = round(seconds * 1_000_000)
    whole, below = divmod(micros, 1_000_000)
    parts = []
    for size, unit in _WRITTEN:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    millis, micros = divmod(below, 1000)
    parts += [f"{count}{unit}" for count, unit in ((millis, "ms"), (micros, "us")) if count]
    return " ".join(parts) or "0s"


# What a config or a flag says


def timespan(value: Any) -> float:
    """Seconds from `30min`, or from a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(msg('must be a time span such as "30min"'))
    seconds = parse_timespan(value) if isinstance(value, str) else float(value)
    if not 0 <= seconds < float("inf"):
        raise ValueError(msg("must not be negative"))
    return seconds


def positive_timespan(value: Any) -> float:
    """The same, above zero."""
    if (seconds := timespan(value)) <= 0:
        raise ValueError(msg("must be more than 0 s"))
    return seconds


def interval(value: Any) -> float:
    """The same, with its unit: a bare 2 that was meant as hours would be a paid run every two seconds."""
    seconds = positive_timespan(value)
    if not isinstance(value, str) or re.fullmatch(r"[\s\d.]+", value):
        raise ValueError(msg("has no unit; write it as {value}h, {value}min or {value}s", value=value))
    return seconds

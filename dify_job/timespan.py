"""Time spans as systemd writes them (systemd.time(7)): `90s`, `30min`, `1h 30min`."""

import re

_UNITS: dict[str, float] = {
    unit: seconds
    for seconds, units in (
        (1e-6, "us usec µs μs"),
        (1e-3, "ms msec"),
        (1.0, "s sec second seconds"),
        (60.0, "m min minute minutes"),
        (3600.0, "h hr hour hours"),
        (86400.0, "d day days"),
        (604800.0, "w week weeks"),
        (2629800.0, "M month months"),
        (31557600.0, "y year years"),
    )
    for unit in units.split()
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
        raise ValueError(f"{text!r} is not a time span; write it as 90s, 30min or 1h 30min")
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

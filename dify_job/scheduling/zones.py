"""Time zones: the machine's own, and when its clocks change."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

_LOCALTIME = Path("/etc/localtime")  # what systemd and cron go by, whatever TZ is in a shell


@dataclass(frozen=True, slots=True)
class ClockChange:
    """The first moment after a change, in UTC; by: how far clocks were put forward (negative: back)."""

    at: datetime
    by: timedelta


def local_name(localtime: Path = _LOCALTIME) -> str:
    """The machine's zone by name; UTC where there is none."""
    target = str(localtime.resolve()) if localtime.is_symlink() else ""
    _, found, name = target.partition("/zoneinfo/")
    if found:
        return name.removeprefix("posix/").removeprefix("right/")
    try:
        return Path("/etc/timezone").read_text(encoding="ascii").strip() or "UTC"
    except (OSError, UnicodeDecodeError):
        return "UTC"


def zone_of(name: str | None) -> ZoneInfo:
    """The named zone, or the machine's own."""
    try:
        return ZoneInfo(name or local_name())
    except (OSError, ValueError, KeyError):
        return ZoneInfo("UTC")


def same_zone(one: str | None, other: str | None) -> bool:
    """True where two names, None being the machine's zone, mean the same clock."""
    if (one or local_name()) == (other or local_name()):
        return True
    utc = {"UTC", "Etc/UTC", "Etc/UCT", "Zulu", "Etc/Zulu", "GMT", "Etc/GMT", "Universal"}
    return {one or local_name(), other or local_name()} <= utc


def changes(zone: ZoneInfo, start: datetime, days: int = 366) -> Iterator[ClockChange]:
    """The changes of a zone's clocks after `start`."""
    begin = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for day in range(days):
        low, high = begin + timedelta(days=day), begin + timedelta(days=day + 1)
        before, after = _offset(zone, low), _offset(zone, high)
        if before == after:
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
        yield ClockChange(high.replace(microsecond=0), after - before)


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)

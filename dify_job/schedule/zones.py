"""Time zones: the machine's own, and when its clocks change."""

import functools
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

_LOCALTIME = Path("/etc/localtime")  # what systemd and cron go by, whatever TZ is in a shell
_UTC = frozenset({"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "GMT", "Etc/GMT", "Universal"})


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A change of the clocks of a zone.

    Attributes:
        at: The first moment after it, in UTC.
        by: How far clocks were put forward; negative: back.
    """

    at: datetime
    by: timedelta


def local_name(localtime: Path | None = None) -> str:
    """Return the machine's zone by name, or the file that says it; UTC where there is none (tzset(3)).

    Args:
        localtime: The file to read in place of /etc/localtime.
    """
    localtime = localtime or _LOCALTIME
    target = str(localtime.resolve()) if localtime.is_symlink() else ""
    _, found, name = target.partition("/zoneinfo/")
    if found:
        return name.removeprefix("posix/").removeprefix("right/")
    return str(localtime) if localtime.exists() else "UTC"


def zone_of(name: str | None) -> tzinfo:
    """Return a zone.

    Args:
        name: Its name; None for the machine's own.

    Raises:
        ZoneInfoNotFoundError: The zone data lacks the name; config refuses such a name.
    """
    if name is None:
        return _machines(_LOCALTIME)
    return UTC if name in _UTC else ZoneInfo(name)


def same_zone(one: str | None, other: str | None) -> bool:
    """Return whether two names mean the same clock, as Europe/Kiev and Europe/Kyiv do.

    Args:
        one: A name; None for the machine's own zone.
        other: The same.
    """
    names = {one or local_name(), other or local_name()}
    if len(names) == 1 or names <= _UTC:
        return True
    data = _data_of(one)
    return data is not None and data == _data_of(other)


@functools.lru_cache  # a thousand jobs, and few zones
def changes(zone: tzinfo, start: datetime, days: int = 366) -> tuple[ClockChange, ...]:
    """Return the changes of a zone's clocks.

    Args:
        zone: The zone.
        start: From when on, aware.
        days: How far to look.
    """
    found = []
    begin = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for day in range(days):
        low, high = begin + timedelta(days=day), begin + timedelta(days=day + 1)
        before, after = offset(zone, low), offset(zone, high)
        if before == after:
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            low, high = (middle, high) if offset(zone, middle) == before else (low, middle)
        found.append(ClockChange(high.replace(microsecond=0), after - before))
    return tuple(found)


def offset(zone: tzinfo, at: datetime) -> timedelta:
    """Return how far a zone's clock is ahead of UTC.

    Args:
        zone: The zone.
        at: The moment, aware.
    """
    return at.astimezone(zone).utcoffset() or timedelta(0)


@functools.cache  # one object: times of two objects of one zone compare differently where clocks change
def _machines(localtime: Path) -> tzinfo:
    if (name := local_name(localtime)) in _UTC:
        return UTC
    try:
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        return UTC


def _data_of(name: str | None) -> bytes | None:
    places = [Path(directory, name) for directory in zoneinfo.TZPATH] if name else [_LOCALTIME]
    for place in places:
        try:
            return place.read_bytes()
        except OSError:
            continue
    return None

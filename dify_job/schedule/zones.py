"""Time zones: the machine's, and the changes of clocks."""

import functools
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from ..system.paths import resolved

_LOCALTIME = Path("/etc/localtime")  # systemd and cron use it, independent of TZ in a shell
_UTC = frozenset({"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "GMT", "Etc/GMT", "Universal"})


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A change of the clocks of a zone.

    Attributes:
        at: The first moment after it, in UTC.
        by: The step of the clocks; negative for a step back.
    """

    at: datetime
    by: timedelta


def local_name(localtime: Path | None = None) -> str:
    """Return the name of the machine's time zone, or its file; UTC without either (tzset(3)).

    Args:
        localtime: The file to read in place of /etc/localtime.
    """
    localtime = localtime or _LOCALTIME
    target = str(resolved(localtime)) if localtime.is_symlink() else ""
    _, found, name = target.partition("/zoneinfo/")
    if found:
        return name.removeprefix("posix/").removeprefix("right/")
    return str(localtime) if localtime.exists() else "UTC"


def zone_of(name: str | None) -> tzinfo:
    """Return a time zone.

    Args:
        name: The name; None for the machine's.

    Raises:
        ZoneInfoNotFoundError: The zone data lacks the name; config rejects such a name.
    """
    if name is None:
        return _machines(_LOCALTIME)
    return UTC if name in _UTC else ZoneInfo(name)


def same_zone(one: str | None, other: str | None) -> bool:
    """Return whether two names denote the same time zone, such as Europe/Kiev and Europe/Kyiv.

    Args:
        one: A name; None for the machine's time zone.
        other: A second name, like `one`.
    """
    names = {one or local_name(), other or local_name()}
    if len(names) == 1 or names <= _UTC:
        return True
    data = _data_of(one)
    return data is not None and data == _data_of(other)


@functools.lru_cache  # many jobs share few time zones
def changes(zone: tzinfo, start: datetime, days: int = 366) -> tuple[ClockChange, ...]:
    """Return the changes of a zone's clocks.

    Args:
        zone: The zone.
        start: The start of the period, aware.
        days: The length of the period.
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
    """Return the UTC offset of a time zone.

    Args:
        zone: The zone.
        at: The moment, aware.
    """
    return at.astimezone(zone).utcoffset() or timedelta(0)


@functools.cache  # cached, because times of two objects of one zone compare differently at clock changes
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

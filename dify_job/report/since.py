"""Parse a past time (systemd.time(7)): `yesterday`, `2h`, `2026-01-31`. Pure."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from ..messages.message import msg
from ..system.timespan import parse_timespan

_DAYS = {"today": 0, "yesterday": -1, "tomorrow": 1}
_WEEKDAY = re.compile(r"(?i)(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? ")
_AGE = re.compile(r"(?i)- ?(?P<before>\S.*)|\+ ?\S.*|(?P<ago>\S.*?)(?: ago)?")
_TIME = re.compile(
    r"(?:(?P<date>\d{4}-\d\d?-\d\d?)(?:$|[T ]|(?=Z|[+-]\d)))?"
    r"(?P<clock>\d\d?:\d\d(?::\d\d(?:\.\d{1,6})?)?)?"
    r" ?(?P<zone>Z|UTC|[+-]\d\d:?\d\d|[A-Z]\w+(?:/[\w+-]+)+)?",
    re.ASCII,
)


def parse_since(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Parse a past time.

    Args:
        text: A day (`today`, `yesterday`, `2026-01-31`), a time with or without a day and a zone (`07:00`,
            `2026-01-31 07:00 UTC`, RFC 3339), an age (`2h`, `-2h`, `2h ago`), or `@SECONDS` since 1970.
        now: The current time, aware.
        zone: The time zone of times without one; None for the machine's.

    Raises:
        ValueError: The text is none of these, or is a time in the future.
    """
    try:
        at = _time_of(" ".join(text.split()), now, zone)
    except (ValueError, OverflowError, OSError, LookupError):
        raise ValueError(
            msg(
                "{text} is not a time; write it as yesterday, '2h ago', 2026-01-31 or '2026-01-31 07:00'",
                text=repr(text),
            )
        ) from None
    if at > now:
        raise ValueError(msg("{text} is in the future", text=repr(text)))
    return at


def _time_of(text: str, now: datetime, zone: tzinfo | None) -> datetime:
    word = text.lower()
    if word == "now":
        return now
    today = now.astimezone(zone).date()
    if word in _DAYS:
        day = today + timedelta(days=_DAYS[word])
        return _aware(datetime.fromisoformat(f"{day}"), zone)
    if word.startswith("@"):
        return datetime.fromtimestamp(float(word[1:]), UTC)
    time = _TIME.fullmatch(_WEEKDAY.sub("", text, count=1))
    if time is not None and (time["date"] or time["clock"]):
        date = "-".join(part.zfill(2) for part in (time["date"] or str(today)).split("-"))
        hour, _, minutes = (time["clock"] or "00:00").partition(":")
        at = datetime.fromisoformat(f"{date} {hour.zfill(2)}:{minutes.partition('.')[0]}")
        return _aware(at, _zone_of(time["zone"]) if time["zone"] else zone)
    age = _AGE.fullmatch(text)
    span = (age["before"] or age["ago"]) if age is not None else None
    if span is None or not re.search(r"[A-Za-z]\W*$", span):
        raise ValueError(text)
    return now.astimezone(UTC) - timedelta(seconds=parse_timespan(span))


def _aware(at: datetime, zone: tzinfo | None) -> datetime:
    """Return the time in a time zone, or in the machine's."""
    return at.astimezone() if zone is None else at.replace(tzinfo=zone)


def _zone_of(name: str) -> tzinfo:
    if name in ("Z", "UTC"):
        return UTC
    if name[0] in "+-":
        hours, minutes = int(name[1:3]), int(name[-2:])
        return timezone((1 if name[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
    return ZoneInfo(name)

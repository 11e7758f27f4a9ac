"""Times in files that other users or programs can write."""

from datetime import datetime

END_OF_TIME = 1e11  # seconds since 1970: the year 5138; the calendar of datetime ends at 9999


def read_time(text: object) -> datetime | None:
    """Return the time in a text, aware, local without an offset; None if it is invalid.

    Times at the ends of datetime's calendar are invalid: in another time zone, they would overflow.

    Args:
        text: A time in the form of RFC 3339, or any other value.
    """
    try:
        at = datetime.fromisoformat(f"{text}")
        at = at if at.tzinfo else at.astimezone()
    except (ValueError, OverflowError):
        return None
    return at if 0 <= at.timestamp() < END_OF_TIME else None

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.report.since import parse_since

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 29, 12, 0, tzinfo=BERLIN)  # clocks went forward at 02:00


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-03-29T12:00:00+02:00"),
        ("today", "2026-03-29T00:00:00+01:00"),
        ("yesterday", "2026-03-28T00:00:00+01:00"),
        ("YESTERDAY", "2026-03-28T00:00:00+01:00"),
        ("2h", "2026-03-29T10:00:00+02:00"),
        ("-2h", "2026-03-29T10:00:00+02:00"),
        ("- 2h", "2026-03-29T10:00:00+02:00"),
        ("2h ago", "2026-03-29T10:00:00+02:00"),
        ("2 hours ago", "2026-03-29T10:00:00+02:00"),
        ("1d", "2026-03-28T11:00:00+01:00"),
        ("1h 30min", "2026-03-29T10:30:00+02:00"),
        ("07:00", "2026-03-29T07:00:00+02:00"),
        ("7:00", "2026-03-29T07:00:00+02:00"),
        ("9:30:15", "2026-03-29T09:30:15+02:00"),
        ("2026-01-31", "2026-01-31T00:00:00+01:00"),
        ("2026-1-3", "2026-01-03T00:00:00+01:00"),
        ("Sat 2026-01-31", "2026-01-31T00:00:00+01:00"),
        ("2026-01-31 07:00", "2026-01-31T07:00:00+01:00"),
        ("2026-01-31  07:00:10", "2026-01-31T07:00:10+01:00"),
        ("2026-01-31 07:00 UTC", "2026-01-31T07:00:00+00:00"),
        ("2026-01-31 UTC", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31 07:00 Asia/Shanghai", "2026-01-31T07:00:00+08:00"),
        ("2026-01-31T07:00:00+08:00", "2026-01-31T07:00:00+08:00"),
        ("2026-01-31T07:00:00.123-0330", "2026-01-31T07:00:00-03:30"),
        ("2026-01-31T07:00:00Z", "2026-01-31T07:00:00+00:00"),
        ("@1769814000", "2026-01-30T23:00:00+00:00"),
    ],
)
def test_time_is_parsed_like_systemd(text: str, expected: str) -> None:
    assert parse_since(text, NOW, BERLIN) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["tomorrow", "2026-03-29 12:01", "2027-01-01", "13:00", "@99999999999"])
def test_future_time_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is in the future"):
        parse_since(text, NOW, BERLIN)


@pytest.mark.parametrize(
    "text",
    ["", " ", "2", "-2", "+2h", "soon", "Fri", "7:5", "25:00", "2026-13-01", "2026-02-30", "26-01-31",
     "2x", "2026-01-31 07:00 Mars/Phobos", "../../etc/passwd", "@", "@nan",
      "@1e300", "9" * 400 + "d", "--", "\x00"],
)  # fmt: skip
def test_invalid_time_is_rejected_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time; write it as yesterday, '2h ago', 2026-01-31"):
        parse_since(text, NOW, BERLIN)


@given(st.text(max_size=30))
def test_any_text_is_a_past_time_or_rejected(text: str) -> None:
    try:
        at = parse_since(text, NOW, BERLIN)
    except ValueError:
        return
    assert at <= NOW


@given(st.integers(0, int(NOW.timestamp())))
def test_time_printed_by_history_is_accepted(seconds: int) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    assert parse_since(f"{at:%Y-%m-%d %H:%M:%S %Z}", NOW) == at
    assert parse_since(at.isoformat(), NOW) == at


def test_time_without_a_zone_is_in_the_zone_of_the_machine() -> None:
    now = datetime.now(UTC)
    midnight = parse_since("today", now)
    assert midnight.astimezone().strftime("%H:%M:%S") == "00:00:00"
    assert now - midnight < timedelta(hours=26)

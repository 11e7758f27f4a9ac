"""Calendar expressions, compared with oncalendar and systemd-analyze."""

import re
from datetime import UTC, datetime

import pytest

from dify_job.config.model import ScheduleConfig
from dify_job.messages.errors import JobError
from dify_job.schedule import oncalendar_expr, schedule_lines, upcoming
from tests.support.schedules import NOW, by_systemd, wall_times
from tests.support.systemd_analyze import needs_systemd_analyze

EXPRESSIONS = [
    "daily", "weekly", "monthly", "quarterly", "semi-annually", "annually", "hourly", "minutely",
    "Mon..Fri *:0/15", "mon-fri 07:30", "Mon,Wed 7:5", "*-*~01 10:00", "*-*~03/1 10:00", "*-*~28/9",
    "Mon *-*~07/1 10:00", "*-2-29/1", "*-*-1/10", "*-*-5..20/5", "*-*-31", "*:00/07", "0/23:00", "0/5:00",
    "0..23/5:00", "0..10/20:00", "*:5/10", "10:00:00/20", "*:*:00/7", "2027-1..6/2-1", "2027/3-1-1",
    "*-1/11-1", "daily Europe/Berlin", "07:30 Asia/Kathmandu", "07:30 utc", "*-*-* *:00 Europe/Kiev",
]  # fmt: skip


@needs_systemd_analyze
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_normalised_calendar_elapses_like_the_original_and_the_upcoming_runs(
    expression: str,
) -> None:
    line = oncalendar_expr.without_steps(expression)
    assert "/" not in line.split("~")[0].partition(" Europe/")[0].partition(" Asia/")[0]
    expected = by_systemd(expression, 12)
    assert expected
    assert by_systemd(line, 12) == expected
    zone = oncalendar_expr.split_zone(line)[1]
    if zone is not None:  # other tests cover the machine's own zone
        assert wall_times(upcoming.run_times(ScheduleConfig(calendar=(expression,)), NOW), 12) == expected


@needs_systemd_analyze
@pytest.mark.parametrize(
    "expression",
    [
        "*:0/90", "*:*:0/60", "0/30:00", "0/24:00", "5/20:00", "*:30/40", "*-1/12-1", "*-*-1/31", "*-*-10/25",
        "*-*~1/1", "Sat..Mon 10:00", "Mon Tue 10:00", "*-*-* 25:00", "10", "10:", "*-*-* *", "noon", "",
        "07:30 europe/berlin", "07:30 Mars/Olympus", "*-*-* 07:30; rm", "-1:00", "2026-13-01",
    ],
)  # fmt: skip
def test_expression_that_systemd_rejects_is_rejected(expression: str) -> None:
    assert by_systemd(expression, 1) == []
    with pytest.raises(JobError, match=re.escape(repr(expression))):
        oncalendar_expr.without_steps(expression)


@pytest.mark.parametrize("expression", ["*-02-30", "2026-02-30", "2020-01-01", "Mon 2026-01-01", "2025-*-*"])
def test_calendar_that_never_elapses_is_rejected(expression: str) -> None:
    with pytest.raises(JobError, match="no time in the future"):
        upcoming.check(ScheduleConfig(calendar=(expression,)), NOW)


def test_past_year_is_rejected() -> None:
    times = ScheduleConfig(calendar=("2026-06-01 07:00",), timezone="UTC")
    upcoming.check(times, datetime(2026, 5, 1, tzinfo=UTC))
    with pytest.raises(JobError, match="no time in the future"):
        upcoming.check(times, NOW)


def test_some_of_several_dates_can_be_past() -> None:
    upcoming.check(ScheduleConfig(calendar=("2026-06-01 07:00 UTC", "2027-06-01 07:00 UTC")), NOW)


def test_zone_in_a_calendar_must_equal_the_timezone_setting() -> None:
    twice = ScheduleConfig(calendar=("07:00 Asia/Tokyo",), timezone="Europe/Paris")
    with pytest.raises(JobError, match="contains the time zone Asia/Tokyo, but timezone is Europe/Paris"):
        schedule_lines.systemd_lines(twice)
    same = ScheduleConfig(calendar=("07:00 Europe/Kyiv",), timezone="Europe/Kiev")
    assert schedule_lines.systemd_lines(same).lines == ("07:00 Europe/Kyiv",)

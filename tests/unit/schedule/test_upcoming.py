"""Upcoming runs across clock changes."""

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from dify_job.config.model import ScheduleConfig
from dify_job.schedule import schedule_lines, upcoming
from tests.support.schedules import NOW, by_systemd, wall_times
from tests.support.systemd_analyze import needs_systemd_analyze


def test_upcoming_runs_of_an_interval_under_cron_use_the_local_clock(local: object) -> None:
    local("Asia/Shanghai")  # type: ignore[operator]
    times = ScheduleConfig(every=6 * 3600.0)
    assert schedule_lines.cron_lines(times).lines == ("0 0,6,12,18 * * *",)
    runs = [
        at.astimezone(ZoneInfo("Asia/Shanghai")).hour
        for at in islice(upcoming.run_times(times, NOW, by_cron=True), 4)
    ]
    assert runs == [0, 6, 12, 18]


SPRING, AUTUMN = datetime(2027, 3, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)


@needs_systemd_analyze
@pytest.mark.parametrize(
    ("expression", "base"),
    [
        ("*-*-* 02:30 Europe/Berlin", SPRING),
        ("*-*-* *:00 Europe/Berlin", AUTUMN),
        ("*-*-* *:00,30 Europe/Berlin", AUTUMN),
        ("*-*-* 02,03:00 Europe/Kiev", AUTUMN),
        ("*-*-* 02:30 America/New_York", AUTUMN),
        ("*-*-* 02:15 Australia/Lord_Howe", SPRING),
        ("*-*-* 00:30 America/Havana", SPRING),
    ],
)
def test_upcoming_runs_equal_those_of_systemd_across_clock_changes(expression: str, base: datetime) -> None:
    count = 1000 if "*:" in expression else 60
    upcoming_times = wall_times(upcoming.run_times(ScheduleConfig(calendar=(expression,)), base), count)
    assert upcoming_times == by_systemd(expression, count, f"{base:%Y-%m-%d %H:%M:%S} UTC")


@pytest.mark.parametrize(
    ("times", "by_cron", "warning"),
    [
        (
            {"calendar": ("02:30",)},
            False,
            "on 2027-03-28, clocks go forward in X; the runs at 02:30 are skipped",
        ),
        (
            {"cron": "30 2 * * *"},
            False,
            "on 2027-03-28, clocks go forward in X; the runs at 02:30 are skipped",
        ),
        (
            {"cron": "30 2 * * *"},
            True,
            "on 2027-03-28, clocks go forward in X; the runs at 02:30 start just after the change",
        ),
        (
            {"cron": "*/20 2 * * *"},
            True,
            "on 2027-10-31, clocks go back in X; the runs at 02:00, 02:20, 02:40 start twice",
        ),
        (
            {"calendar": ("hourly",)},
            False,
            "on 2027-10-31, clocks go back in X; there is one hour without a run",
        ),
        (
            {"every": 7200.0},
            True,
            "on 2027-03-28, clocks go forward in X; the runs at 02:00 start just after the change",
        ),
    ],
)
def test_clock_change_that_affects_a_job_is_reported(
    times: dict[str, object], by_cron: bool, warning: str, local: object
) -> None:
    local("Europe/Berlin")  # type: ignore[operator]
    zone = None if "every" in times else "Europe/Berlin"
    found = upcoming.clock_warnings(ScheduleConfig(**times, timezone=zone), NOW, by_cron=by_cron)  # type: ignore[arg-type]
    assert warning.replace("in X", "in Europe/Berlin") in found


@pytest.mark.parametrize(
    ("times", "by_cron"),
    [
        ({"every": 7200.0}, False),
        ({"cron": "0 4 * * *"}, False),
        ({"cron": "30 * * * *"}, True),
        ({"calendar": ("02:30 UTC",)}, False),
        ({"calendar": ("02:30 Asia/Shanghai",)}, False),
        ({"calendar": ("Mon 02:30",)}, False),  # they change on Sundays
    ],
)
def test_job_unaffected_by_clock_changes_has_no_warning(
    times: dict[str, object], by_cron: bool, local: object
) -> None:
    local("Europe/Berlin")  # type: ignore[operator]
    assert upcoming.clock_warnings(ScheduleConfig(**times), NOW, by_cron=by_cron) == ()  # type: ignore[arg-type]

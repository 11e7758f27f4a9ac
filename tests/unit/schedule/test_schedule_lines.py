"""Conversion of schedules to crontab lines and calendars preserves the meaning."""

import random

import pytest
from cronsim import CronSim
from oncalendar import OnCalendar

from dify_job.config.model import ScheduleConfig
from dify_job.messages.errors import JobError
from dify_job.schedule import cron_expr, intervals, oncalendar_expr, schedule_lines, upcoming
from tests.support.schedules import NOW, random_cron, wall_times


@pytest.mark.parametrize("kind", ["every", "cron"])
def test_crontab_lines_have_the_times_of_the_schedule(kind: str) -> None:
    chance = random.Random(7)
    for _ in range(150):
        if kind == "every":
            times = ScheduleConfig(
                every=chance.choice(intervals.nearest_exact(chance.uniform(60, 90_000), 60))
            )
        else:
            times = ScheduleConfig(cron=random_cron(chance))
        try:
            ticks = schedule_lines.cron_lines(times)
        except JobError:
            continue
        want = wall_times(upcoming.run_times(times, NOW), 50)
        merged = sorted({at for line in ticks.lines for at in wall_times(CronSim(line, NOW), 50)})[
            : len(want)
        ]
        assert merged == want, times


def test_calendar_survives_conversion_to_cron_and_back() -> None:
    chance = random.Random(9)
    converted = 0
    for _ in range(400):
        try:
            cron = cron_expr.read_cron(random_cron(chance))
        except JobError:
            continue
        for line in cron_expr.calendars_of(cron):
            fields = oncalendar_expr.parse_calendar(line)
            if len(fields.days) < 31 and len(fields.weekdays) < 7:
                with pytest.raises(ValueError, match="when one of them matches"):
                    cron_expr.cron_of(line)
                continue
            back = cron_expr.cron_of(line)
            converted += 1
            assert wall_times(CronSim(back, NOW), 40) == wall_times(iter(OnCalendar(line, NOW)), 40)
    assert converted > 200


def test_cron_entry_of_another_zone_fires_at_each_minute_that_can_be_due(local: object) -> None:
    local("Europe/Berlin")  # type: ignore[operator]
    for zone, minutes in [
        ("Asia/Kathmandu", {"15"}),  # 5:45 ahead
        ("America/New_York", {"0", "30"}),  # 02:30 in the skipped hour runs at 03:00
        ("Australia/Lord_Howe", {"0", "30"}),  # its clock changes by half an hour
    ]:
        hour = "2" if zone == "America/New_York" else "9"
        minute = "30" if zone == "America/New_York" else "0"
        ticks = schedule_lines.cron_lines(ScheduleConfig(cron=f"{minute} {hour} * * *", timezone=zone))
        assert ticks.if_due
        assert set(ticks.lines[0].split()[0].split(",")) == minutes, zone


def test_equivalent_zone_needs_no_hourly_line(local: object) -> None:
    local("Europe/Kyiv")  # type: ignore[operator]
    assert schedule_lines.cron_lines(ScheduleConfig(cron="0 7 * * *", timezone="Europe/Kiev")).lines == (
        "0 7 * * *",
    )
    local("Etc/UTC")  # type: ignore[operator]
    assert schedule_lines.cron_lines(ScheduleConfig(cron="0 7 * * *", timezone="UTC")).lines == ("0 7 * * *",)


def test_schedule_without_cron_syntax_is_decided_by_the_run_or_rejected(local: object) -> None:
    local("Etc/UTC")  # type: ignore[operator]
    for expression in ("*-*~01 07:00", "Mon *-*-01..07 07:00", "2099-*-* 07:00"):
        ticks = schedule_lines.cron_lines(ScheduleConfig(calendar=(expression,)))
        assert ticks.if_due
        assert ticks.lines == ("0 * * * *",)
    with pytest.raises(JobError, match="a cron line cannot contain seconds") as refused:
        schedule_lines.cron_lines(ScheduleConfig(calendar=("Mon 07:30:20 UTC",)))
    assert "'Mon 07:30:00 UTC'" in (refused.value.hint or "")

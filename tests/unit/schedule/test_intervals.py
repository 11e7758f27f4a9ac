"""Intervals as systemd calendars that elapse exactly at the interval."""

import re
from itertools import islice, pairwise

import pytest
from oncalendar import OnCalendar

from dify_job.config.model import ScheduleConfig
from dify_job.messages.errors import JobError
from dify_job.schedule import schedule_lines
from tests.support.schedules import NOW


@pytest.mark.parametrize(
    ("every", "lines", "if_due"),
    [
        (7200, ("*-*-* 00,02,04,06,08,10,12,14,16,18,20,22:00:00 UTC",), False),
        (3600, ("*-*-* *:00:00 UTC",), False),
        (86400, ("*-*-* 00:00:00 UTC",), False),
        (2, ("*-*-* *:*:" + ",".join(f"{n:02}" for n in range(0, 60, 2)) + " UTC",), False),
        (
            5400,
            (
                "*-*-* 00,03,06,09,12,15,18,21:00:00 UTC",
                "*-*-* 01,04,07,10,13,16,19,22:30:00 UTC",
            ),
            False,
        ),
        (7 * 3600, ("*-*-* *:00:00 UTC",), True),
        (14 * 86400, ("*-*-* 00:00:00 UTC",), True),
    ],
)
def test_interval_becomes_calendars(every: float, lines: tuple[str, ...], if_due: bool) -> None:
    ticks = schedule_lines.systemd_lines(ScheduleConfig(every=every))
    assert sorted(ticks.lines) == sorted(lines)
    assert ticks.if_due is if_due


@pytest.mark.parametrize("every", [7, 90, 0.5, 61, 3607, 86399, 1801, 1e10])
def test_interval_without_a_short_list_is_rejected_with_the_nearest_exact_ones(every: float) -> None:
    with pytest.raises(JobError) as refused:
        schedule_lines.cron_lines(ScheduleConfig(every=every))
    named = re.findall(r"\d+\w+(?: \d+\w+)*", refused.value.hint or "")
    assert named
    assert refused.value.outcome == "rejected"


@pytest.mark.parametrize("every", [s for s in range(60, 86401, 60) if 86400 % s == 0])
def test_divisor_of_a_day_elapses_exactly_at_the_interval(every: int) -> None:
    try:
        ticks = schedule_lines.systemd_lines(ScheduleConfig(every=float(every)))
    except JobError:
        return  # too many lines; the error names the nearest intervals
    found = list(islice(OnCalendar("\n".join(line[:-4] for line in ticks.lines), NOW), 200))
    gaps = {(after - before).total_seconds() for before, after in pairwise(found)}
    assert gaps == {float(every)}

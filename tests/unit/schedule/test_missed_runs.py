"""Missed runs: two scheduled runs in a row have no record, and nothing explains that."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dify_job.config.model import ScheduleConfig
from dify_job.schedule.missed_runs import RecordedRun, missed_runs

NOW = datetime(2026, 3, 12, 12, 20, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)
MINUTE = timedelta(minutes=1)
HOURLY = ScheduleConfig(every=3600.0)
DAILY = ScheduleConfig(cron="0 7 * * *", timezone="UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}:00+00:00")


def run(text: str, minutes: float = 1) -> RecordedRun:
    return RecordedRun(at(text), at(text) + timedelta(minutes=minutes))


def missed(
    times: ScheduleConfig,
    *runs: RecordedRun,
    now: datetime = NOW,
    since: datetime = LONG_AGO,
    by_cron: bool = False,
    last: datetime | None = None,
    asleep: timedelta = timedelta(0),
) -> Sequence[datetime]:
    return missed_runs(times, now, since=since, runs=runs, by_cron=by_cron, last=last, asleep=asleep)


@pytest.mark.parametrize("by_cron", [False, True])
@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (HOURLY, ("2026-03-12T11:00", "2026-03-12T12:00")),
        (DAILY, ("2026-03-11T07:00", "2026-03-12T07:00")),
        (ScheduleConfig(every=60.0), ("2026-03-12T12:09", "2026-03-12T12:10")),
        (ScheduleConfig(cron="*/15 * * * *", timezone="UTC"), ("2026-03-12T11:45", "2026-03-12T12:00")),
        (ScheduleConfig(calendar=("Mon *-*-* 06:00 UTC",)), ("2026-03-02T06:00", "2026-03-09T06:00")),
    ],
)
def test_two_scheduled_runs_without_record_are_missed(
    times: ScheduleConfig, expected: tuple[str, str], by_cron: bool
) -> None:
    assert missed(times, by_cron=by_cron) == tuple(map(at, expected))
    assert missed(times, run("2026-02-20T10:31"), by_cron=by_cron) != ()


@pytest.mark.parametrize("by_cron", [False, True])
def test_one_record_of_two_runs_is_enough(by_cron: bool) -> None:
    for text in ("2026-03-12T11:00", "2026-03-12T12:00", "2026-03-12T11:04"):
        assert missed(HOURLY, run(text), by_cron=by_cron) == ()


def test_manual_run_is_not_counted_as_a_scheduled_one() -> None:
    assert missed(DAILY, run("2026-03-11T15:30"), run("2026-03-12T11:00"), by_cron=True) != ()


def test_runs_at_the_times_of_another_zone_are_not_counted() -> None:
    """A cron daemon with its own TZ starts the job at other hours."""
    shifted = [run(f"2026-03-{day:02}T13:00") for day in range(1, 12)]
    assert missed(DAILY, *shifted, by_cron=True) == (at("2026-03-11T07:00"), at("2026-03-12T07:00"))


def test_times_within_a_long_run_are_not_missed() -> None:
    assert missed(HOURLY, run("2026-03-12T09:00", minutes=185)) == ()


def test_install_resume_or_boot_after_the_first_time_explains_missing_records() -> None:
    assert missed(HOURLY, since=at("2026-03-12T11:00") + MINUTE) == ()
    assert missed(HOURLY, since=at("2026-03-12T10:59")) != ()
    assert missed(DAILY, since=at("2026-03-11T07:01")) == ()


def test_run_that_can_still_start_is_not_missed() -> None:
    late = at("2026-03-12T12:09")
    assert missed(HOURLY, now=late) == (at("2026-03-12T10:00"), at("2026-03-12T11:00"))
    assert missed(HOURLY, run("2026-03-12T12:01"), now=late) == ()
    jittered = ScheduleConfig(every=3600.0, jitter=1800.0)
    assert missed(jittered, run("2026-03-12T11:29"), by_cron=True) == ()
    assert missed(jittered, by_cron=True) == (at("2026-03-12T10:00"), at("2026-03-12T11:00"))


def test_job_that_runs_again_has_no_missed_runs() -> None:
    assert missed(DAILY, run("2026-03-12T07:00"), by_cron=True) == ()


def test_suspended_machine_explains_missing_records() -> None:
    assert missed(DAILY, asleep=timedelta(hours=30)) == ()
    assert missed(DAILY, asleep=timedelta(hours=3)) != ()


@pytest.mark.parametrize("by_cron", [False, True])
def test_interval_that_divides_no_day_is_counted_from_its_first_start(by_cron: bool) -> None:
    times = ScheduleConfig(every=7 * 3600.0)
    assert missed(times, by_cron=by_cron) == (at("2026-03-12T11:00"), at("2026-03-12T12:00"))
    assert missed(times, since=NOW - timedelta(minutes=50), by_cron=by_cron) == ()
    counted = at("2026-03-12T04:00")  # the next is at 11:00
    assert missed(times, run("2026-03-12T04:00"), last=counted, by_cron=by_cron) == ()
    counted = at("2026-03-11T20:00")  # then came 03:00 and 10:00
    expected = (at("2026-03-12T03:00"), at("2026-03-12T10:00"))
    assert missed(times, run("2026-03-11T20:00"), last=counted, by_cron=by_cron) == expected


def test_schedule_in_another_zone_under_cron_is_correct_across_clock_changes() -> None:
    times = ScheduleConfig(cron="30 2 * * *", timezone="Europe/Berlin")
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 3, 31, 12, tzinfo=berlin)
    found = missed(times, now=now, by_cron=True)
    assert [f"{one.astimezone(berlin):%d %H:%M}" for one in found] == ["30 02:30", "31 02:30"]
    ran = RecordedRun(found[1], found[1])
    assert missed(times, ran, now=now, by_cron=True) == ()


def test_rare_schedule_is_checked_back_to_the_install() -> None:
    yearly = ScheduleConfig(calendar=("*-01-01 00:00 UTC",))
    assert missed(yearly) == ()
    assert missed(yearly, since=datetime(2024, 6, 1, tzinfo=UTC)) == (
        at("2025-01-01T00:00"),
        at("2026-01-01T00:00"),
    )

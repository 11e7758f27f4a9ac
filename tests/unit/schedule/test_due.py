"""Whether a job is due when cron starts it, on simulated clocks: clock changes, outages, steps back."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from dify_job.config.model import ScheduleConfig
from dify_job.schedule import due, schedule_lines, upcoming, zones
from tests.support.campaign import Campaign

START = datetime(2026, 10, 1, 9, 17, tzinfo=UTC)  # the following year has both clock changes
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _machine_in_berlin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterable[None]:
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    monkeypatch.setattr(zones, "_LOCALTIME", link)
    zones._machines.cache_clear()
    yield
    zones._machines.cache_clear()


def simulate(
    times: ScheduleConfig,
    days: int,
    *,
    start: datetime = START,
    awake: Callable[[datetime], bool] = lambda _: True,
    lag: float = 2.0,
) -> list[datetime]:
    """Simulate the starts by cron, and return the runs in UTC; `lag` is seconds from start to decision."""
    ticks = schedule_lines.cron_lines(times)
    assert ticks.if_due
    runs: list[datetime] = []
    last: datetime | None = None
    for tick in CronSim(ticks.lines[0], start.astimezone(zones.zone_of(None))):
        at = tick.astimezone(UTC)
        if at > start + timedelta(days=days):
            return runs
        if not awake(at):
            continue
        decision = due.decide(times, at + timedelta(seconds=lag), last)
        last = decision.new_last_due or last
        if decision.due:
            runs.append(at)
    return runs


def expected(times: ScheduleConfig, days: int, start: datetime = START) -> list[datetime]:
    end = start + timedelta(days=days)
    return [at.astimezone(UTC) for at in islice(upcoming.due_times(times, start), 20_000) if at <= end]


CALENDARS = [
    ScheduleConfig(cron="30 2 * * *", timezone="America/New_York"),  # in the skipped and in the repeated hour
    ScheduleConfig(cron="0 9 * * 1-5", timezone="Asia/Kathmandu"),
    ScheduleConfig(cron="15 3 * * *", timezone="Australia/Lord_Howe"),
    ScheduleConfig(cron="0 9 1,15 * 5", timezone="America/New_York"),
    ScheduleConfig(calendar=("*-*~01 23:30",), timezone="America/New_York"),
    ScheduleConfig(calendar=("Mon 07:00 Asia/Shanghai", "12:15 Europe/London")),
    ScheduleConfig(calendar=("02:30",), timezone="America/New_York"),
    ScheduleConfig(cron="0 7 * * *", catch_up=True),
]


@pytest.mark.parametrize("times", CALENDARS, ids=schedule_lines.schedule_text)
@pytest.mark.parametrize(
    "start", [datetime(2026, 9, 28, 9, 17, tzinfo=UTC), datetime(2027, 3, 5, 9, 17, tzinfo=UTC)]
)
def test_each_run_starts_once_across_clock_changes(
    times: ScheduleConfig, start: datetime, campaign: Campaign
) -> None:
    """In both periods the clocks of New York, London, Berlin and Lord Howe change."""
    for lag in campaign.pick((0.0, 55.0), 1):
        assert simulate(times, 40, start=start, lag=lag) == expected(times, 40, start)


def outage(at: datetime) -> bool:
    """False for three days from 20 October, 08:30."""
    begin = datetime(2026, 10, 20, 8, 30, tzinfo=UTC)
    return not begin <= at < begin + timedelta(days=3)


@pytest.mark.parametrize(
    "times",
    [ScheduleConfig(cron="0 9 * * *", timezone="Asia/Kathmandu"), ScheduleConfig(every=7 * 3600.0)],
    ids=schedule_lines.schedule_text,
)
def test_missed_runs_of_an_outage_are_not_caught_up(times: ScheduleConfig) -> None:
    whole, broken = simulate(times, 30), simulate(times, 30, awake=outage)
    assert broken == [at for at in whole if outage(at)]


@pytest.mark.parametrize(
    "times",
    [
        ScheduleConfig(cron="0 9 * * *", timezone="Asia/Kathmandu", catch_up=True),
        ScheduleConfig(every=7 * 3600.0, catch_up=True),
    ],
    ids=schedule_lines.schedule_text,
)
def test_catch_up_starts_one_run_after_an_outage(times: ScheduleConfig) -> None:
    whole, broken = simulate(times, 30), simulate(times, 30, awake=outage)
    extra = [at for at in broken if at not in whole]
    assert [at for at in broken if at in whole] == [at for at in whole if outage(at)]
    assert len(extra) == 1
    assert timedelta(0) <= extra[0] - datetime(2026, 10, 23, 8, 30, tzinfo=UTC) < HOUR


@pytest.mark.parametrize("hours", [1.5, 6, 24])
def test_interval_that_divides_a_day_is_caught_up_under_cron(hours: float) -> None:
    """The first start by cron after the outage catches up once."""
    times = ScheduleConfig(every=hours * 3600.0, catch_up=True)
    whole, broken = simulate(times, 30), simulate(times, 30, awake=outage)
    steps = {(after - before).total_seconds() for before, after in pairwise(whole)}
    assert steps == {hours * 3600}
    (extra,) = set(broken) - set(whole)
    assert timedelta(0) <= extra - datetime(2026, 10, 23, 8, 30, tzinfo=UTC) < HOUR
    assert [at for at in broken if at != extra] == [at for at in whole if outage(at)]


def test_catch_up_is_limited_by_max_late() -> None:
    times = ScheduleConfig(cron="0 9 * * *", timezone="Asia/Kathmandu", catch_up=True, max_late=7200.0)
    whole, broken = simulate(times, 30), simulate(times, 30, awake=outage)
    assert broken == [at for at in whole if outage(at)]


def test_outage_before_the_first_run_is_caught_up() -> None:
    times = ScheduleConfig(cron="0 9 20 * *", timezone="Asia/Kathmandu", catch_up=True)
    assert (
        len(simulate(times, 25, awake=lambda at: not START + 5 * HOUR < at < START + timedelta(days=21))) == 1
    )


@pytest.mark.parametrize("hours", [5, 7, 9, 10, 11, 13, 18, 36])
def test_interval_that_divides_no_day_does_not_drift_or_lose_or_repeat_runs(hours: int) -> None:
    runs = simulate(ScheduleConfig(every=hours * 3600.0), 190)
    first = runs[0]
    for number, at in enumerate(runs):
        late = at - (first + number * hours * HOUR)
        assert timedelta(0) <= late <= HOUR, at  # a clock change moves a time of a 2 h grid by one hour
    assert len(runs) in range(190 * 24 // hours - 2, 190 * 24 // hours + 1)


def test_start_missed_by_cron_is_no_lost_run() -> None:
    times = ScheduleConfig(every=7 * 3600.0)
    whole = simulate(times, 30)
    missed = whole[3]
    broken = simulate(times, 30, awake=lambda at: at != missed)
    assert broken == [*whole[:3], missed + HOUR, *whole[4:]]


@pytest.mark.parametrize(
    "times",
    [ScheduleConfig(every=7 * 3600.0), ScheduleConfig(cron="0 9 * * *", timezone="Asia/Tokyo")],
    ids=schedule_lines.schedule_text,
)
def test_first_start_runs_nothing_and_begins_the_interval(times: ScheduleConfig) -> None:
    now = START.replace(hour=10, minute=0)
    decision = due.decide(times, now, None)
    assert not decision.due
    assert decision.new_last_due is not None
    assert now - HOUR < decision.new_last_due <= now


@pytest.mark.parametrize(
    "times",
    [ScheduleConfig(every=7 * 3600.0), ScheduleConfig(cron="0 * * * *", timezone="Asia/Tokyo")],
    ids=schedule_lines.schedule_text,
)
def test_clock_that_was_years_ahead_blocks_no_job_and_starts_none(times: ScheduleConfig) -> None:
    decision = due.decide(times, START, datetime(2098, 1, 1, tzinfo=UTC))
    assert not decision.due
    assert "the system clock was set back" in decision.why
    assert decision.new_last_due is not None
    assert decision.new_last_due <= START
    later = START.replace(minute=0) + 8 * HOUR
    assert due.decide(times, later, decision.new_last_due).due


@given(
    st.integers(-3600, 0),
    st.sampled_from([ScheduleConfig(every=7 * 3600.0), ScheduleConfig(cron="0 10 * * *", timezone="UTC")]),
)
def test_step_back_of_the_clock_repeats_no_run(step: int, times: ScheduleConfig) -> None:
    ran = START.replace(hour=10, minute=0, second=1)
    first = due.decide(times, ran, ran - timedelta(hours=7, seconds=1))
    assert first.due
    again = due.decide(times, ran + timedelta(seconds=step), first.new_last_due)
    assert not again.due


@given(
    hours=st.integers(1, 100),
    gaps=st.lists(st.integers(1, 3 * 86400), min_size=5, max_size=60),
    catch_up=st.booleans(),
)
def test_runs_of_an_interval_are_at_least_an_interval_apart(
    hours: int, gaps: list[int], catch_up: bool
) -> None:
    times = ScheduleConfig(every=hours * 3600.0, catch_up=catch_up)
    now, last, points = START, None, []
    for gap in gaps:
        now += timedelta(seconds=gap)
        decision = due.decide(times, now, last)
        last = decision.new_last_due or last
        if decision.due:
            points.append(decision.new_last_due)
    assert len(points) == len(set(points))
    assert all((after - before).total_seconds() >= hours * 3600 for before, after in pairwise(points))  # type: ignore[operator]


# Late starts


def test_late_start_is_detected_and_jitter_is_not_late() -> None:
    times = ScheduleConfig(cron="0 7 * * *", timezone="UTC", max_late=600.0, jitter=300.0)
    tick = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
    assert due.too_late(times, tick + timedelta(minutes=14)) is None
    assert due.too_late(times, tick) is None
    assert "10min ago (max_late)" in (due.too_late(times, tick + timedelta(minutes=16)) or "")


def test_interval_under_cron_in_another_zone_is_not_late() -> None:
    """In Berlin, cron's `0 0,6,12,18` is 22, 4, 10 and 16 h UTC, but systemd's list is in UTC."""
    times = ScheduleConfig(every=6 * 3600.0, max_late=600.0)
    tick = datetime(2026, 7, 1, 6, 0, 5, tzinfo=ZoneInfo("Europe/Berlin"))
    assert due.too_late(times, tick, by_cron=True) is None
    assert due.too_late(times, tick) is not None


def test_run_that_cron_moves_past_the_skipped_hour_is_not_late() -> None:
    times = ScheduleConfig(calendar=("02:30",), max_late=60.0)
    after_the_hole = datetime(2027, 3, 28, 3, 0, 2, tzinfo=ZoneInfo("Europe/Berlin"))
    assert due.too_late(times, after_the_hole, by_cron=True) is None


def test_jitter_is_constant_per_job_and_host() -> None:
    times = ScheduleConfig(every=3600.0, jitter=300.0)
    found = {due.jitter_of(times, job, host) for job in ("a", "b", "c") for host in ("h1", "h2")}
    assert len(found) == 6
    assert all(0 <= seconds < 300 for seconds in found)
    assert due.jitter_of(times, "a", "h1") == due.jitter_of(times, "a", "h1")


def test_upcoming_runs_of_a_new_interval_begin_after_the_first_start() -> None:
    times = ScheduleConfig(every=7 * 3600.0)
    runs = simulate(times, 3)
    assert hours_of(upcoming.run_times(times, START), 3) == [at.hour for at in runs[:3]]


def hours_of(times: Iterable[datetime], count: int) -> list[int]:
    return [at.astimezone(UTC).hour for at in islice(times, count)]


def test_upcoming_runs_of_an_interval_continue_from_the_stored_time() -> None:
    times = ScheduleConfig(every=7 * 3600.0)
    last = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
    now = datetime(2026, 11, 24, 10, 20, tzinfo=UTC)
    assert [at.astimezone(UTC).hour for at in islice(upcoming.run_times(times, now, last=last), 2)] == [
        11,
        18,
    ]
    overdue = ScheduleConfig(every=7 * 3600.0, catch_up=True)
    later = now + timedelta(days=3)
    assert next(upcoming.run_times(overdue, later, last=last)) == later.replace(hour=11, minute=0)

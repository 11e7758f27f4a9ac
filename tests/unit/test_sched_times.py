"""When jobs run: cron and calendars against cronsim, oncalendar and the real systemd-analyze."""

import random
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from oncalendar import OnCalendar

from dify_job.config.model import ScheduleConfig
from dify_job.config.schema import FIELDS
from dify_job.messages.errors import JobError
from dify_job.schedule import cron_expr, intervals, oncalendar_expr, schedule_lines, upcoming, zones

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    """Set the machine's zone: local("Europe/Berlin")."""

    def set_zone(name: str) -> None:
        link = tmp_path / "localtime"
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/share/zoneinfo/{name}")
        zones._machines.cache_clear()
        monkeypatch.setattr(zones, "_LOCALTIME", link)

    yield set_zone
    zones._machines.cache_clear()


def by_systemd(expression: str, count: int, base: str = "2026-11-24 10:00:00 UTC") -> list[str]:
    """The coming times as the real systemd tells them, in UTC; empty where it refuses the expression."""
    command = [
        "systemd-analyze",
        "calendar",
        f"--iterations={count}",
        f"--base-time={base}",
        "--",
        expression,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
    )
    found = [
        line
        for line in done.stdout.splitlines()
        if re.match(r"\s+(Next elapse|Iter\. #\d+|\(in UTC\))", line)
    ]
    return [times[0] for line in found if (times := re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line))]


def told(times: Iterator[datetime], count: int) -> list[str]:
    return [f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for at in islice(times, count)]


# Cron to calendars: the same times


def random_field(chance: random.Random, low: int, high: int, names: list[str]) -> str:
    def part() -> str:
        kind = chance.random()
        if kind < 0.45:
            return chance.choice(names) if names and chance.random() < 0.2 else str(chance.randint(low, high))
        if kind < 0.75:
            start = chance.randint(low, high - 1)
            end = chance.randint(start, high)
            step = f"/{chance.randint(1, end - start)}" if end > start and chance.random() < 0.4 else ""
            return f"{start}-{end}{step}"
        return f"*/{chance.randint(1, high - low)}"

    if chance.random() < 0.35:
        return "*"
    return ",".join(part() for _ in range(chance.choice([1, 1, 1, 2, 3])))


def random_cron(chance: random.Random) -> str:
    fields = ((0, 59, []), (0, 23, []), (1, 31, []), (1, 12, MONTHS), (0, 6, DAYS))
    return " ".join(random_field(chance, low, high, names) for low, high, names in fields)


@pytest.mark.timeout(600)  # on a loaded machine
def test_ten_thousand_cron_expressions_mean_the_same_200_times_as_calendars() -> None:
    chance = random.Random(4)
    compared = 0
    while compared < 10_000:
        expression = random_cron(chance)
        try:
            lines = cron_expr.calendars_of(cron_expr.read_cron(expression))
        except JobError:
            assert " 30 " in expression or "31" in expression or "30" in expression  # never comes
            continue
        compared += 1
        got = [at.astimezone(UTC) for at in islice(OnCalendar("\n".join(lines), NOW), 200)]
        assert got == list(islice(CronSim(expression, NOW), len(got))), expression
        assert len(got) == 200 or got[-1].year > 2150, expression  # systemd's calendar ends in 2200


def test_the_real_systemd_elapses_when_cron_would_run() -> None:
    chance = random.Random(252)
    for _ in range(60):
        expression = random_cron(chance)
        try:
            lines = cron_expr.calendars_of(cron_expr.read_cron(expression))
        except JobError:
            continue
        both = sorted({at for line in lines for at in by_systemd(f"{line} UTC", 100)})[:100]
        assert both[:50] == told(CronSim(expression, NOW), 50), expression


@pytest.mark.parametrize("kind", ["every", "cron"])
def test_a_schedule_converted_to_crontab_lines_means_the_same(kind: str) -> None:
    chance = random.Random(7)
    for _ in range(150):
        if kind == "every":
            times = ScheduleConfig(
                every=chance.choice(intervals.nearest_exact(chance.uniform(60, 90_000), 60))
            )
        else:
            times = ScheduleConfig(cron=random_cron(chance))
        try:
            ticks = schedule_lines.cron_ticks(times)
        except JobError:
            continue
        want = told(upcoming.coming(times, NOW), 50)
        merged = sorted({at for line in ticks.lines for at in told(CronSim(line, NOW), 50)})[: len(want)]
        assert merged == want, times


def test_a_calendar_converted_to_cron_and_back_is_the_same() -> None:
    chance = random.Random(9)
    converted = 0
    for _ in range(400):
        try:
            cron = cron_expr.read_cron(random_cron(chance))
        except JobError:
            continue
        for line in cron_expr.calendars_of(cron):
            fields = oncalendar_expr.parsed(line)
            if len(fields.days) < 31 and len(fields.weekdays) < 7:
                with pytest.raises(ValueError, match="either, not both"):
                    cron_expr.cron_of(line)
                continue
            back = cron_expr.cron_of(line)
            converted += 1
            assert told(CronSim(back, NOW), 40) == told(iter(OnCalendar(line, NOW)), 40)
    assert converted > 200


@pytest.mark.parametrize(
    "name", ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@Daily"]
)
def test_a_macro_of_cron_is_what_the_manual_says(name: str) -> None:
    meant = {
        "@hourly": "0 * * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
    }
    expression = meant.get(name, "0 0 * * *")
    assert cron_expr.read_cron(name) == cron_expr.read_cron(expression)
    assert told(upcoming.coming(ScheduleConfig(cron=name), NOW), 5) == told(CronSim(expression, NOW), 5)


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("0 9 1,15 * 5", ("Fri *-*-* 09:00:00", "*-*-01,15 09:00:00")),
        ("0 9 */2 * 5", ("Fri *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 09:00:00",)),
        ("0 0 30 2 1", ("Mon *-02-* 00:00:00",)),  # either: there are Mondays in February
        ("0 0 * * fri-mon", ("Mon,Fri,Sat,Sun *-*-* 00:00:00",)),
        ("0 0 * * 5-7", ("Fri,Sat,Sun *-*-* 00:00:00",)),
        ("0 0 * * 0,7", ("Sun *-*-* 00:00:00",)),
        ("*/25 * * * *", ("*-*-* *:00,25,50:00",)),
    ],
)
def test_a_cron_expression_becomes_these_calendars(expression: str, lines: tuple[str, ...]) -> None:
    assert cron_expr.calendars_of(cron_expr.read_cron(expression)) == lines


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("*/90 * * * *", 'every = "90min"'),
        ("* */24 * * *", "longer than what it divides"),
        ("5/15 * * * *", "write 5-59/15"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("@reboot", "run at each boot"),
        ("@every_minute", "is no time"),
        ("61 * * * *", "is not from 0 to 59"),
        ("* * * *", "has 4 fields"),
        ("0 0 * * * *", "has 6 fields"),
        ("0 0 1 13 *", "is not from 1 to 12"),
        ("0 0 L * *", "is not from 1 to 31"),
        ("0 0 * * 1#2", "is not from 0 to 7"),
        ("10-5 * * * *", "ends before it begins"),
        ("*/0 * * * *", "has no step"),
        ("\N{ARABIC-INDIC DIGIT THREE} * * * *", "is not from 0 to 59"),
        ("²  * * * *", "is not from 0 to 59"),
        ("%s * * * *" % ("1" * 5000), "is not from 0 to 59"),
        ("", "has 0 fields"),
        ("0 0 1;rm * *", "is not from 1 to 31"),
    ],
)
def test_a_cron_expression_that_is_none_or_means_another_thing_is_refused(expression: str, why: str) -> None:
    with pytest.raises(JobError, match="cron = ") as refused:
        cron_expr.read_cron(expression)
    assert why in refused.value.message
    assert refused.value.outcome == "rejected"


# Calendars


EXPRESSIONS = [
    "daily", "weekly", "monthly", "quarterly", "semi-annually", "annually", "hourly", "minutely",
    "Mon..Fri *:0/15", "mon-fri 07:30", "Mon,Wed 7:5", "*-*~01 10:00", "*-*~03/1 10:00", "*-*~28/9",
    "Mon *-*~07/1 10:00", "*-2-29/1", "*-*-1/10", "*-*-5..20/5", "*-*-31", "*:00/07", "0/23:00", "0/5:00",
    "0..23/5:00", "0..10/20:00", "*:5/10", "10:00:00/20", "*:*:00/7", "2027-1..6/2-1", "2027/3-1-1",
    "*-1/11-1", "daily Europe/Berlin", "07:30 Asia/Kathmandu", "07:30 utc", "*-*-* *:00 Europe/Kiev",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_calendar_written_out_elapses_for_systemd_as_the_original_and_as_we_preview(
    expression: str,
) -> None:
    line = oncalendar_expr.explicit(expression)
    assert "/" not in line.split("~")[0].partition(" Europe/")[0].partition(" Asia/")[0]
    expected = by_systemd(expression, 12)
    assert expected
    assert by_systemd(line, 12) == expected
    zone = oncalendar_expr.split_zone(line)[1]
    if zone is not None:  # the machine's own zone is the matter of other tests
        assert told(upcoming.coming(ScheduleConfig(calendar=(expression,)), NOW), 12) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "*:0/90", "*:*:0/60", "0/30:00", "0/24:00", "5/20:00", "*:30/40", "*-1/12-1", "*-*-1/31", "*-*-10/25",
        "*-*~1/1", "Sat..Mon 10:00", "Mon Tue 10:00", "*-*-* 25:00", "10", "10:", "*-*-* *", "noon", "",
        "07:30 europe/berlin", "07:30 Mars/Olympus", "*-*-* 07:30; rm", "-1:00", "2026-13-01",
    ],
)  # fmt: skip
def test_what_systemd_refuses_is_refused(expression: str) -> None:
    assert by_systemd(expression, 1) == []
    with pytest.raises(JobError, match=re.escape(repr(expression))):
        oncalendar_expr.explicit(expression)


@pytest.mark.parametrize("expression", ["*-02-30", "2026-02-30", "2020-01-01", "Mon 2026-01-01", "2025-*-*"])
def test_a_calendar_that_never_elapses_is_refused(expression: str) -> None:
    with pytest.raises(JobError, match="never"):
        upcoming.check(ScheduleConfig(calendar=(expression,)), NOW)


def test_a_year_that_has_passed_is_refused_though_it_was_once_to_come() -> None:
    times = ScheduleConfig(calendar=("2026-06-01 07:00",), timezone="UTC")
    upcoming.check(times, datetime(2026, 5, 1, tzinfo=UTC))
    with pytest.raises(JobError, match="never comes again"):
        upcoming.check(times, NOW)


def test_of_several_dates_some_may_have_passed() -> None:
    upcoming.check(ScheduleConfig(calendar=("2026-06-01 07:00 UTC", "2027-06-01 07:00 UTC")), NOW)


def test_a_calendar_with_a_zone_of_its_own_must_not_have_another_one() -> None:
    twice = ScheduleConfig(calendar=("07:00 Asia/Tokyo",), timezone="Europe/Paris")
    with pytest.raises(JobError, match="names the zone Asia/Tokyo, and timezone says Europe/Paris"):
        schedule_lines.systemd_ticks(twice)
    same = ScheduleConfig(calendar=("07:00 Europe/Kyiv",), timezone="Europe/Kiev")
    assert schedule_lines.systemd_ticks(same).lines == ("07:00 Europe/Kyiv",)


# Intervals


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
def test_an_interval_becomes_these_calendars(every: float, lines: tuple[str, ...], if_due: bool) -> None:
    ticks = schedule_lines.systemd_ticks(ScheduleConfig(every=every))
    assert sorted(ticks.lines) == sorted(lines)
    assert ticks.if_due is if_due


@pytest.mark.parametrize("every", [7, 90, 0.5, 61, 3607, 86399, 1801, 1e10])
def test_an_interval_without_a_short_list_is_refused_with_its_nearest_exact_neighbours(every: float) -> None:
    with pytest.raises(JobError) as refused:
        schedule_lines.cron_ticks(ScheduleConfig(every=every))
    named = re.findall(r"\d+\w+(?: \d+\w+)*", refused.value.hint or "")
    assert named
    assert refused.value.outcome == "rejected"


@pytest.mark.parametrize("every", [s for s in range(60, 86401, 60) if 86400 % s == 0])
def test_every_divisor_of_a_day_ticks_exactly_that_often(every: int) -> None:
    try:
        ticks = schedule_lines.systemd_ticks(ScheduleConfig(every=float(every)))
    except JobError:
        return  # too many lines; the message names neighbours
    found = list(islice(OnCalendar("\n".join(line[:-4] for line in ticks.lines), NOW), 200))
    gaps = {(after - before).total_seconds() for before, after in pairwise(found)}
    assert gaps == {float(every)}


# Under cron: the machine's zone


def test_an_interval_under_cron_is_previewed_by_the_machines_clock(local: object) -> None:
    local("Asia/Shanghai")  # type: ignore[operator]
    times = ScheduleConfig(every=6 * 3600.0)
    assert schedule_lines.cron_ticks(times).lines == ("0 0,6,12,18 * * *",)
    runs = [
        at.astimezone(ZoneInfo("Asia/Shanghai")).hour
        for at in islice(upcoming.coming(times, NOW, by_cron=True), 4)
    ]
    assert runs == [0, 6, 12, 18]


def test_a_foreign_zone_under_cron_ticks_at_each_minute_at_which_the_job_can_be_due(local: object) -> None:
    local("Europe/Berlin")  # type: ignore[operator]
    for zone, minutes in [
        ("Asia/Kathmandu", {"15"}),  # 5:45 ahead
        ("America/New_York", {"0", "30"}),  # 02:30 in the spring hole runs at 03:00
        ("Australia/Lord_Howe", {"0", "30"}),  # its clock changes by half an hour
    ]:
        hour = "2" if zone == "America/New_York" else "9"
        minute = "30" if zone == "America/New_York" else "0"
        ticks = schedule_lines.cron_ticks(ScheduleConfig(cron=f"{minute} {hour} * * *", timezone=zone))
        assert ticks.if_due
        assert set(ticks.lines[0].split()[0].split(",")) == minutes, zone


def test_the_same_clock_under_another_name_needs_no_hourly_line(local: object) -> None:
    local("Europe/Kyiv")  # type: ignore[operator]
    assert schedule_lines.cron_ticks(ScheduleConfig(cron="0 7 * * *", timezone="Europe/Kiev")).lines == (
        "0 7 * * *",
    )
    local("Etc/UTC")  # type: ignore[operator]
    assert schedule_lines.cron_ticks(ScheduleConfig(cron="0 7 * * *", timezone="UTC")).lines == ("0 7 * * *",)


def test_what_cron_cannot_say_is_decided_by_the_run_or_refused_with_the_nearest_line(local: object) -> None:
    local("Etc/UTC")  # type: ignore[operator]
    for expression in ("*-*~01 07:00", "Mon *-*-01..07 07:00", "2099-*-* 07:00"):
        ticks = schedule_lines.cron_ticks(ScheduleConfig(calendar=(expression,)))
        assert ticks.if_due
        assert ticks.lines == ("0 * * * *",)
    with pytest.raises(JobError, match="cron has no seconds") as refused:
        schedule_lines.cron_ticks(ScheduleConfig(calendar=("Mon 07:30:20 UTC",)))
    assert "'Mon 07:30:00 UTC'" in (refused.value.hint or "")


# Clock changes


SPRING, AUTUMN = datetime(2027, 3, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)


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
def test_the_preview_is_systemds_own_across_clock_changes(expression: str, base: datetime) -> None:
    count = 1000 if "*:" in expression else 60
    ours = told(upcoming.coming(ScheduleConfig(calendar=(expression,)), base), count)
    assert ours == by_systemd(expression, count, f"{base:%Y-%m-%d %H:%M:%S} UTC")


@pytest.mark.parametrize(
    ("times", "by_cron", "warning"),
    [
        ({"calendar": ("02:30",)}, False, "2027-03-28: clocks go forward in X; runs at 02:30 are skipped"),
        ({"cron": "30 2 * * *"}, False, "2027-03-28: clocks go forward in X; runs at 02:30 are skipped"),
        (
            {"cron": "30 2 * * *"},
            True,
            "2027-03-28: clocks go forward in X; runs at 02:30 run just after the change",
        ),
        (
            {"cron": "*/20 2 * * *"},
            True,
            "2027-10-31: clocks go back in X; runs at 02:00, 02:20, 02:40 run twice",
        ),
        ({"calendar": ("hourly",)}, False, "2027-10-31: clocks go back in X; an hour passes without a run"),
        (
            {"every": 7200.0},
            True,
            "2027-03-28: clocks go forward in X; runs at 02:00 run just after the change",
        ),
    ],
)
def test_a_clock_change_that_hits_a_job_is_told(
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
def test_a_job_that_no_clock_change_hits_has_no_warning(
    times: dict[str, object], by_cron: bool, local: object
) -> None:
    local("Europe/Berlin")  # type: ignore[operator]
    assert upcoming.clock_warnings(ScheduleConfig(**times), NOW, by_cron=by_cron) == ()  # type: ignore[arg-type]


# The machine's zone


def test_a_zone_file_that_was_copied_is_read_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "localtime"
    copied.write_bytes(Path("/usr/share/zoneinfo/Asia/Tokyo").read_bytes())
    monkeypatch.setattr(zones, "_LOCALTIME", copied)
    zones._machines.cache_clear()
    assert zones.offset(zones.zone_of(None), NOW) == timedelta(hours=9)
    assert zones.same_zone(None, "Asia/Tokyo")
    assert not zones.same_zone(None, "Asia/Seoul") or NOW.year < 1900
    zones._machines.cache_clear()


@pytest.mark.parametrize("content", [None, b"", b"no zone at all"])
def test_a_machine_without_zone_data_goes_by_utc(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localtime = tmp_path / "localtime"
    if content is not None:
        localtime.write_bytes(content)
    monkeypatch.setattr(zones, "_LOCALTIME", localtime)
    zones._machines.cache_clear()
    assert zones.offset(zones.zone_of(None), NOW) == timedelta(0)
    assert told(upcoming.coming(ScheduleConfig(cron="0 7 * * *"), NOW), 1) == ["2026-11-25 07:00:00"]
    zones._machines.cache_clear()


def test_a_zone_that_the_machine_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="'Europe/Nowhere' is not a time zone of this machine"):
        FIELDS["timezone"]("Europe/Nowhere")

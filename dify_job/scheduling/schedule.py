"""When a job runs: ticks for a scheduler, coming runs, and what clock changes do to them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from ..config.model import ScheduleConfig
from ..errors import JobError
from ..exits import Outcome
from ..timespan import format_timespan
from . import calendars, crontimes, intervals, zones

DEFAULT = ScheduleConfig(every=3600.0)  # the original system's


@dataclass(frozen=True, slots=True)
class Ticks:
    """Lines for a scheduler: OnCalendar values or five cron fields.

    if_due: the lines tick more often than the job runs, and `run --if-due` decides. why: in words, then.
    """

    lines: tuple[str, ...]
    if_due: bool = False
    why: str = ""


def or_default(schedule: ScheduleConfig) -> ScheduleConfig:
    """The schedule, or the default where the job has none."""
    if schedule.every is None and not schedule.calendar and schedule.cron is None:
        return replace(schedule, every=DEFAULT.every)
    return schedule


def in_words(schedule: ScheduleConfig) -> str:
    """As a person wrote it: `every 2h`, `cron 0 7 * * 1-5 (Asia/Shanghai)`."""
    if schedule.every is not None:
        return f"every {format_timespan(schedule.every)}"
    text = f"cron {schedule.cron}" if schedule.cron else f"calendar {', '.join(schedule.calendar)}"
    return f"{text} ({schedule.timezone})" if schedule.timezone else text


def systemd_ticks(schedule: ScheduleConfig) -> Ticks:
    """As OnCalendar lines. Raises JobError (rejected)."""
    if schedule.every is not None:
        grid = intervals.grid_of(schedule.every)
        lines = calendars.of_times(intervals.times_of(grid), "UTC")
        return Ticks(lines, grid != round(schedule.every), _why_interval(schedule.every, grid))
    zone = f" {schedule.timezone}" if schedule.timezone else ""
    if schedule.cron is not None:
        cron = crontimes.read_cron(schedule.cron)
        return Ticks(tuple(f"{line}{zone}" for line in crontimes.calendars_of(cron)))
    return Ticks(tuple(_in_zone(line, schedule.timezone) for line in schedule.calendar))


def cron_ticks(schedule: ScheduleConfig) -> Ticks:
    """As crontab lines, which cron reads in the machine's own zone. Raises JobError (rejected)."""
    if schedule.every is not None:
        return _cron_interval(schedule.every)
    if schedule.catch_up:
        return _hourly(schedule, "cron makes up for no missed run by itself")
    if schedule.cron is not None:
        cron = crontimes.read_cron(schedule.cron)
        if zones.same_zone(schedule.timezone, None):
            return Ticks((cron.line,))
        return _hourly(schedule, f"cron reads its lines in this machine's zone, {zones.local_name()}")
    lines = []
    for expression in schedule.calendar:
        line = _in_zone(expression, schedule.timezone)
        try:
            lines.append(crontimes.cron_of(line))
        except ValueError as error:
            if calendars.parsed(line).seconds != {0}:
                raise JobError(
                    Outcome.REJECTED,
                    f"calendar = {expression!r} cannot be a crontab line: {error}",
                    "give it a time with :00 seconds, or use --backend systemd",
                ) from None
            return _hourly(schedule, str(error))
        if not zones.same_zone(calendars.split_zone(line)[1], None):
            return _hourly(schedule, f"cron reads its lines in this machine's zone, {zones.local_name()}")
    return Ticks(tuple(dict.fromkeys(lines)))


def coming(
    schedule: ScheduleConfig, after: datetime, *, by_cron: bool = False, last: datetime | None = None
) -> Iterator[datetime]:
    """The coming runs, in the schedule's zone; none where it never elapses.

    by_cron: as cron keeps time where clocks change (a skipped time runs just after, a repeated one once).
    last: the tick that an interval under `--if-due` counts from.
    """
    zone = zones.zone_of(schedule.timezone)
    start = after.astimezone(zone)
    if schedule.every is not None:
        yield from _coming_interval(schedule.every, start, last)
    elif schedule.cron is not None and by_cron:
        yield from _simulated(crontimes.read_cron(schedule.cron), start)
    else:
        from oncalendar import OnCalendar  # noqa: PLC0415 - where times are computed

        for at in OnCalendar("\n".join(systemd_ticks(schedule).lines), start):
            yield at.astimezone(zone)


def check(schedule: ScheduleConfig, now: datetime) -> None:
    """Raise JobError (rejected) for a schedule that cannot be kept or never comes."""
    systemd_ticks(schedule)
    if next(coming(schedule, now), None) is None:
        raise JobError(
            Outcome.REJECTED,
            f"{in_words(schedule)} never comes again",
            "look at its coming runs: dify-job next",
        )


def clock_warnings(schedule: ScheduleConfig, now: datetime, *, by_cron: bool = False) -> tuple[str, ...]:
    """What the clock changes of the coming year do to the job, a sentence each."""
    if schedule.every is not None:
        return ()
    zone_names = {calendars.split_zone(line)[1] for line in systemd_ticks(schedule).lines}
    found = []
    for name in sorted(zone_names, key=str):
        if name == "UTC":
            continue
        for change in zones.changes(zones.zone_of(name), now):
            wall = (change.at.astimezone(zones.zone_of(name))).replace(tzinfo=None)
            span = abs(change.by)
            begin = wall - span if change.by > timedelta(0) else wall
            hit = _wall_times(schedule, begin, begin + span)
            if not hit:
                continue
            times = ", ".join(f"{at:%H:%M}" for at in hit[:3]) + (" ..." if len(hit) > 3 else "")
            day = f"{wall:%Y-%m-%d}"
            if change.by > timedelta(0):
                what = "run just after the change" if by_cron else "are skipped"
                found.append(f"{day}: clocks go forward in {name or 'this zone'}; runs at {times} {what}")
            elif not by_cron and _each_hour(schedule):  # cron runs in both hours (schedulers: systemd#5595)
                found.append(f"{day}: clocks go back in {name or 'this zone'}; an hour passes without a run")
    return tuple(found)


def _each_hour(schedule: ScheduleConfig) -> bool:
    return any(len(calendars.parsed(line).hours) == 24 for line in systemd_ticks(schedule).lines)


def _wall_times(schedule: ScheduleConfig, begin: datetime, end: datetime) -> list[datetime]:
    """The times by the wall clock in [begin, end), as if no clock changed."""
    from oncalendar import OnCalendar  # noqa: PLC0415 - where times are computed

    lines = "\n".join(calendars.split_zone(line)[0] for line in systemd_ticks(schedule).lines)
    found = []
    for at in islice(OnCalendar(lines, begin.replace(tzinfo=UTC) - timedelta(seconds=1)), 100):
        if at.replace(tzinfo=None) >= end:
            break
        found.append(at.replace(tzinfo=None))
    return found


def _in_zone(expression: str, zone: str | None) -> str:
    line = calendars.explicit(expression)
    own = calendars.split_zone(line)[1]
    if own is not None and zone is not None and not zones.same_zone(own, zone):
        raise JobError(
            Outcome.REJECTED,
            f"calendar = {expression!r} names the zone {own}, and timezone says {zone}",
            "leave one of them out",
        )
    return f"{line} {zone}" if zone and own is None else line


def _why_interval(every: float, grid: int) -> str:
    if grid == round(every):
        return ""
    return (
        f"{format_timespan(every)} does not divide a day: it ticks every {format_timespan(grid)} and runs "
        f"when due (exact without that: {intervals.in_words(intervals.nearest_exact(every))})"
    )


def _cron_interval(every: float) -> Ticks:
    grid = intervals.grid_of(every)
    if grid % 60:
        raise JobError(
            Outcome.REJECTED,
            f"every = {format_timespan(every)!r} cannot be kept by cron, which counts in minutes",
            f"the nearest intervals that are exact: {intervals.in_words(intervals.nearest_exact(every, 60))}",
        )
    lines = tuple(
        f"{_cron_list(times.minutes, 60)} {_cron_list(times.hours, 24)} * * *"
        for times in intervals.times_of(grid)
    )
    return Ticks(lines, grid != round(every), _why_interval(every, grid))


def _cron_list(numbers: tuple[int, ...], size: int) -> str:
    return "*" if len(numbers) == size else ",".join(map(str, numbers))


def _hourly(schedule: ScheduleConfig, why: str) -> Ticks:
    """A line that ticks at every minute of the hour at which the job can be due."""
    local = zones.zone_of(None)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    minutes = {at.astimezone(local).minute for at in islice(coming(schedule, start), 2000)}
    if not minutes:
        raise JobError(
            Outcome.REJECTED, f"{in_words(schedule)} never comes", "dify-job next shows coming runs"
        )
    line = f"{_cron_list(tuple(sorted(minutes)), 60)} * * * *"
    return Ticks(
        (line,), if_due=True, why=f"{why}: the line ticks each hour, and the run decides whether it is due"
    )


def _coming_interval(every: float, start: datetime, last: datetime | None) -> Iterator[datetime]:
    grid = intervals.grid_of(every)
    now = int(start.timestamp())
    if grid == round(every):
        first = (now // grid + 1) * grid
    else:
        begin = int((last or start).timestamp()) // grid * grid
        first = begin + round(every)
        while first <= now:
            first += grid
    while True:
        yield datetime.fromtimestamp(first, start.tzinfo)
        first += round(every)


def _simulated(cron: crontimes.CronTimes, start: datetime) -> Iterator[datetime]:
    from cronsim import CronSim  # noqa: PLC0415 - where times are computed

    simulated: Iterator[datetime] = CronSim(cron.line, start)
    return simulated

"""The upcoming runs of a schedule, and what clock changes do to them. Pure."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby, islice, takewhile

import cronsim
import oncalendar

from ..config.model import ScheduleConfig
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from . import cron_expr, intervals, oncalendar_expr, schedule_lines, zones


def run_times(
    times: ScheduleConfig, after: datetime, *, by_cron: bool = False, last: datetime | None = None
) -> Iterator[datetime]:
    """Yield the upcoming runs in the schedule's time zone; none if it never elapses.

    Args:
        times: The schedule.
        after: The start of the period, aware.
        by_cron: Compute the times of crontab lines, which are in the machine's time zone.
        last: The recorded last due time of `--if-due`, or None.

    Raises:
        JobError: cron cannot run it (rejected).
    """
    if by_cron and not (converted := schedule_lines.cron_lines(times)).if_due:
        zone = zones.zone_of(times.timezone)
        yield from (at.astimezone(zone) for at in _as_cron(converted.lines, after, zones.zone_of(None)))
    elif by_cron:
        yield from due_times(times, after, last=last)
    else:
        yield from _as_systemd(times, after, last)


def due_times(times: ScheduleConfig, after: datetime, *, last: datetime | None = None) -> Iterator[datetime]:
    """Yield the times at which the job is due by `--if-due`.

    Args:
        times: The schedule.
        after: The start of the period, aware.
        last: The recorded last due time of `--if-due`, or None.
    """
    if times.every is None and times.cron is not None:
        line = cron_expr.read_cron(times.cron).line
        yield from _as_cron((line,), after, zones.zone_of(times.timezone))
    else:
        yield from _as_systemd(times, after, last)


def check(times: ScheduleConfig, now: datetime) -> None:
    """Check that a scheduler can run a schedule and that it has a time in the future.

    Args:
        times: The schedule.
        now: The current time, aware.

    Raises:
        JobError: (rejected) No scheduler can run it, or it has no time in the future.
    """
    if next(run_times(times, now), None) is None:
        raise JobError(
            Outcome.REJECTED,
            msg(
                "the schedule {schedule} has no time in the future",
                schedule=schedule_lines.schedule_text(times),
            ),
            msg(
                "choose a time in the future; to see the upcoming runs, run: {command}",
                command=command("dify-job", "next"),
            ),
        )


def clock_warnings(times: ScheduleConfig, now: datetime, *, by_cron: bool = False) -> tuple[str, ...]:
    """Return the effects of the clock changes of the next year on a job, a sentence each.

    Args:
        times: The job's schedule.
        now: The start of the year, aware.
        by_cron: cron starts the job.
    """
    return _warnings(_clock_lines(times, by_cron=by_cron), now)


def line_warnings(line: str, zone: str, now: datetime) -> tuple[str, ...]:
    """Return the effects of the clock changes of the next year on a line of a cron without catch-up.

    Args:
        line: Five fields.
        zone: The name of the line's time zone.
        now: The start of the year, aware.
    """
    expressions = cron_expr.calendars_of(cron_expr.read_cron(line))
    return _warnings((_Line(expression, zone, cron=True) for expression in expressions), now)


def _warnings(lines: "Iterable[_Line]", now: datetime) -> tuple[str, ...]:
    found = [
        effect
        for line in lines
        for change in zones.changes(zones.zone_of(line.zone), now)
        if (effect := _effect(line, change)) is not None
    ]
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Line:
    """A calendar expression in a time zone. catches_up: cron runs skipped times after a clock change."""

    expression: str
    zone: str | None
    cron: bool = False
    catches_up: bool = False


def _clock_lines(times: ScheduleConfig, *, by_cron: bool) -> Iterator[_Line]:
    if by_cron and not (converted := schedule_lines.cron_lines(times)).if_due:
        yield from (each for line in converted.lines for each in _cron_lines(line, None))
    elif by_cron and times.every is None and times.cron is not None:
        yield from _cron_lines(cron_expr.read_cron(times.cron).line, times.timezone)
    elif times.every is None:
        for line in schedule_lines.systemd_lines(times).lines:
            yield _Line(*oncalendar_expr.split_zone(line))


def _cron_lines(line: str, zone: str | None) -> Iterator[_Line]:
    """Yield crontab lines by the rule of cron(8): lines with * in hour or minute do not catch up."""
    minute, hour = line.split()[:2]
    catches_up = not minute.startswith("*") and not hour.startswith("*")
    for expression in cron_expr.calendars_of(cron_expr.read_cron(line)):
        yield _Line(expression, zone, cron=True, catches_up=catches_up)


def _effect(line: _Line, change: zones.ClockChange) -> str | None:
    """Return the effect of a clock change on the runs of a line, or None."""
    wall = change.at.astimezone(zones.zone_of(line.zone)).replace(tzinfo=None)
    span, forward = abs(change.by), change.by > timedelta(0)
    begin = wall - span if forward else wall
    hit = _wall_times(line.expression, begin, begin + span)
    each_hour = len(oncalendar_expr.parse_calendar(line.expression).hours) == 24
    if not hit or (each_hour and (forward or line.cron)):
        return None  # a skipped hour is not a gap of an hourly line
    runs = ", ".join(f"{at:%H:%M}" for at in hit[:3]) + (" ..." if len(hit) > 3 else "")
    zone = line.zone or zones.local_name()
    day = change.at.astimezone(zones.zone_of(line.zone))
    if forward and line.catches_up:
        return msg(
            "on {day:%Y-%m-%d}, clocks go forward in {zone}; the runs at {runs} start just after the change",
            day=day,
            zone=zone,
            runs=runs,
        )
    if forward:
        return msg(
            "on {day:%Y-%m-%d}, clocks go forward in {zone}; the runs at {runs} are skipped",
            day=day,
            zone=zone,
            runs=runs,
        )
    if line.cron:
        if line.catches_up:
            return None
        return msg(
            "on {day:%Y-%m-%d}, clocks go back in {zone}; the runs at {runs} start twice",
            day=day,
            zone=zone,
            runs=runs,
        )
    if not each_hour:
        return None
    return msg(
        "on {day:%Y-%m-%d}, clocks go back in {zone}; there is one hour without a run", day=day, zone=zone
    )  # systemd#5595


def _wall_times(expression: str, begin: datetime, end: datetime) -> list[datetime]:
    """Return the wall-clock times in [begin, end), ignoring clock changes."""
    times = oncalendar.OnCalendar(expression, begin.replace(tzinfo=UTC) - timedelta(seconds=1))
    walls = (at.replace(tzinfo=None) for at in islice(times, 100))
    return list(takewhile(lambda at: at < end, walls))


def _as_systemd(times: ScheduleConfig, after: datetime, last: datetime | None) -> Iterator[datetime]:
    zone = zones.zone_of(times.timezone)
    if times.every is not None:
        yield from _interval(times.every, after.astimezone(zone), last, catch_up=times.catch_up)
        return
    lines = "\n".join(schedule_lines.systemd_lines(times).lines)
    for at in oncalendar.OnCalendar(lines, after.astimezone(zone)):
        yield at.astimezone(zone)


def _as_cron(lines: tuple[str, ...], after: datetime, zone: tzinfo) -> Iterator[datetime]:
    start = after.astimezone(zone)
    runs = heapq.merge(*(cronsim.CronSim(line, start) for line in lines), key=datetime.timestamp)
    yield from (at for at, _ in groupby(runs))  # two lines can have the same time


def _interval(every: float, start: datetime, last: datetime | None, *, catch_up: bool) -> Iterator[datetime]:
    grid, now, step = intervals.grid_of(every), int(start.timestamp()), round(every)
    grid_time = (now // grid + 1) * grid
    if grid == step:
        at = grid_time
    elif last is None:  # the next grid time starts the interval
        at = grid_time + step
    else:
        begin = int(last.timestamp()) // grid * grid
        overdue = catch_up and begin + step <= now
        at = grid_time if overdue else begin + ((now - begin) // step + 1) * step
    while True:
        yield datetime.fromtimestamp(at, start.tzinfo)
        at += step

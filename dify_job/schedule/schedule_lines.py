"""Convert a schedule to lines for a scheduler, or reject it if no exact conversion exists. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import gcd

from ..config.model import ScheduleConfig
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg, text_of
from ..system.timespan import format_timespan, timespan_text
from . import cron_expr, intervals, oncalendar_expr, zones

_NO_CATCH_UP = msg("cron does not catch up missed runs")
# The period of clock changes; fixed, so that the lines do not change over time.
_FROM, _DAYS = datetime(2026, 1, 1, tzinfo=UTC), 731


@dataclass(frozen=True, slots=True)
class ScheduleLines:
    """Lines for a scheduler.

    Attributes:
        lines: OnCalendar values, or five cron fields each.
        if_due: The lines fire more often than the job runs, and `run --if-due` decides.
        why: The reason; empty without if_due.
    """

    lines: tuple[str, ...]
    if_due: bool = False
    why: str = ""


def schedule_text(schedule: ScheduleConfig) -> str:
    """Return a schedule as text: `every 2h`, `cron 0 7 * * 1-5 (Asia/Shanghai)`."""
    if schedule.every is not None:
        return msg("every {timespan_text}", timespan_text=timespan_text(schedule.every))
    text = (
        msg("cron {cron}", cron=schedule.cron)
        if schedule.cron
        else msg("calendar {calendar}", calendar=join(", ", schedule.calendar))
    )
    return msg("{schedule} ({zone})", schedule=text, zone=schedule.timezone) if schedule.timezone else text


def lines_for(schedule: ScheduleConfig, *, by_cron: bool) -> ScheduleLines:
    """Return a schedule as lines for cron or for systemd.

    Args:
        schedule: The schedule.
        by_cron: True for cron.

    Raises:
        JobError: (rejected) The scheduler cannot run it.
    """
    return cron_lines(schedule) if by_cron else systemd_lines(schedule)


def systemd_lines(schedule: ScheduleConfig) -> ScheduleLines:
    """Return a schedule as OnCalendar lines.

    Raises:
        JobError: systemd cannot run it (rejected).
    """
    if schedule.every is not None:
        grid = intervals.grid_of(schedule.every)
        lines = oncalendar_expr.of_times(intervals.times_of(grid), "UTC")
        return ScheduleLines(lines, grid != round(schedule.every), _why_interval(schedule.every, grid))
    zone = f" {schedule.timezone}" if schedule.timezone else ""
    if schedule.cron is not None:
        cron = cron_expr.read_cron(schedule.cron)
        return ScheduleLines(tuple(f"{line}{zone}" for line in cron_expr.calendars_of(cron)))
    return ScheduleLines(tuple(_in_zone(line, schedule.timezone) for line in schedule.calendar))


def cron_lines(schedule: ScheduleConfig) -> ScheduleLines:
    """Return a schedule as crontab lines in the machine's time zone.

    Raises:
        JobError: cron cannot run it (rejected).
    """
    if schedule.every is not None:
        return _cron_interval(schedule.every, catch_up=schedule.catch_up)
    if schedule.catch_up:
        return _hourly(schedule, _NO_CATCH_UP)
    if schedule.cron is not None:
        cron = cron_expr.read_cron(schedule.cron)
        if zones.same_zone(schedule.timezone, None):
            return ScheduleLines((cron.line,))
        return _hourly(
            schedule, msg("cron uses only this machine's time zone, {zone}", zone=zones.local_name())
        )
    lines = []
    for expression in schedule.calendar:
        line = _in_zone(expression, schedule.timezone)
        try:
            lines.append(cron_expr.cron_of(line))
        except ValueError as error:
            if oncalendar_expr.parse_calendar(line).seconds != {0}:
                raise JobError(
                    Outcome.REJECTED,
                    msg(
                        "the setting calendar is {expression!r}, which cron cannot express: {error}",
                        expression=expression,
                        error=error,
                    ),
                    msg(
                        "use the nearest time that cron can express, {nearest!r}, or --backend systemd",
                        nearest=cron_expr.without_seconds(line),
                    ),
                ) from None
            return _hourly(schedule, text_of(error))
        if not zones.same_zone(oncalendar_expr.split_zone(line)[1], None):
            return _hourly(
                schedule, msg("cron uses only this machine's time zone, {zone}", zone=zones.local_name())
            )
    return ScheduleLines(tuple(dict.fromkeys(lines)))


def _in_zone(expression: str, zone: str | None) -> str:
    line = oncalendar_expr.without_steps(expression)
    own = oncalendar_expr.split_zone(line)[1]
    if own is not None and zone is not None and not zones.same_zone(own, zone):
        raise JobError(
            Outcome.REJECTED,
            msg(
                "the setting calendar is {expression!r}, which contains the time zone {own}, "
                "but timezone is {zone}",
                expression=expression,
                own=own,
                zone=zone,
            ),
            msg("remove the time zone from calendar, or remove timezone"),
        )
    return f"{line} {zone}" if zone and own is None else line


def _why_interval(every: float, grid: int) -> str:
    if grid == round(every):
        return ""
    return msg(
        "{every} does not divide a day evenly, so the scheduler starts dify-job every {grid}, and dify-job "
        "decides each time whether a run is due (intervals that divide a day evenly: {exact})",
        every=timespan_text(every),
        grid=format_timespan(grid),
        exact=intervals.interval_text(intervals.nearest_exact(every)),
    )


def _cron_interval(every: float, *, catch_up: bool) -> ScheduleLines:
    grid = intervals.grid_of(every)
    if grid % 60:
        raise JobError(
            Outcome.REJECTED,
            msg(
                "the setting every is {every!r}, but with cron it must be a whole number of minutes",
                every=timespan_text(every),
            ),
            msg(
                "use one of the nearest intervals that divide a day evenly: {intervals}",
                intervals=intervals.interval_text(intervals.nearest_exact(every, 60)),
            ),
        )
    often = gcd(grid, 3600) if catch_up else grid
    lines = tuple(map(cron_expr.each_day, intervals.times_of(often)))
    if often != grid and grid == round(every):
        return ScheduleLines(lines, if_due=True, why=_more_often(_NO_CATCH_UP))
    return ScheduleLines(lines, grid != round(every), _why_interval(every, grid))


def _hourly(schedule: ScheduleConfig, why: str) -> ScheduleLines:
    """Return a line that fires in each hour, at all minutes at which the job can be due."""
    minutes: set[int] = set()
    local = zones.zone_of(None)
    for line in systemd_lines(schedule).lines:
        fields, zone = (
            oncalendar_expr.parse_calendar(line),
            zones.zone_of(oncalendar_expr.split_zone(line)[1]),
        )
        own_changes = zones.changes(zone, _FROM, _DAYS)
        for at in (_FROM, *(change.at for change in (*own_changes, *zones.changes(local, _FROM, _DAYS)))):
            shift = round((zones.offset(local, at) - zones.offset(zone, at)).total_seconds() / 60)
            minutes |= {(minute + shift) % 60 for minute in fields.minutes}
        for change in own_changes if schedule.cron is not None else ():
            if (change.at.astimezone(zone) - change.by).hour in fields.hours and change.by > timedelta(0):
                minutes.add(change.at.astimezone(local).minute)  # a skipped run starts just after the change
    line = f"{intervals.listed(tuple(sorted(minutes)), 60)} * * * *"
    return ScheduleLines((line,), if_due=True, why=_more_often(why))


def _more_often(why: str) -> str:
    return msg(
        "{reason}, so cron starts dify-job more often than the schedule says, and dify-job runs the job "
        "only when it is due",
        reason=why,
    )

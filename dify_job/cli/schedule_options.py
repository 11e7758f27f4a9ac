"""The options that say when a job runs."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from ..config.model import ScheduleConfig
from ..config.schema import FIELDS, SCHEDULE_KINDS
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedule import upcoming

_SPAN = r"[\d.][\d.\sA-Za-zµμ]*"
_CRON = r"(?:[\d*/,-]|[A-Za-z]{3})+"
_FORMS = msg("write it as 2h, Mon..Fri 07:00 or 30 7 * * 1-5")


def schedule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--every, --calendar, --cron and --timezone."""
    for option in (
        click.option("--timezone", metavar="ZONE", help=msg("Zone of --calendar and --cron.")),
        click.option("--cron", metavar="EXPR", help=msg("Run at the times of five cron fields.")),
        click.option(
            "--calendar",
            multiple=True,
            metavar="EXPR",
            help=msg("Run at systemd calendar times; can be repeated."),
        ),
        click.option("--every", metavar="DUR", help=msg("Run each 2h, 30min, 1d.")),
    ):
        command = option(command)
    return command


def schedule_of_flags(
    every: str | None, calendar: tuple[str, ...], cron: str | None, timezone: str | None
) -> ScheduleConfig | None:
    """The schedule that they say; None where they say none. Raises JobError (usage)."""
    given = {"every": every, "calendar": list(calendar) or None, "cron": cron, "timezone": timezone}
    set_flags = {key: value for key, value in given.items() if value is not None}
    if sum(key in set_flags for key in SCHEDULE_KINDS) > 1:
        raise JobError(
            Outcome.USAGE, msg("--every, --calendar and --cron exclude one another"), msg("keep one of them")
        )
    if not set_flags:
        return None
    if set_flags.keys() == {"timezone"}:
        raise JobError(Outcome.USAGE, msg("--timezone needs --calendar or --cron"), msg("add one of them"))
    try:
        values = {key: FIELDS[key](value) for key, value in set_flags.items()}
    except ValueError as error:
        raise JobError(Outcome.USAGE, msg("the schedule {error}", error=error), _FORMS) from None
    return ScheduleConfig(**values)


def schedule_of_text(text: str) -> ScheduleConfig:
    """Read a schedule as a person answers for one.

    Args:
        text: A time span (`2h`), calendar times (`Mon..Fri 07:00`) or a cron line (`30 7 * * 1-5`).

    Raises:
        JobError: Rejected; it is none of them, or never comes.
    """
    words = text.split()
    try:
        if text.startswith("@") or (len(words) == 5 and all(re.fullmatch(_CRON, word) for word in words)):
            schedule = ScheduleConfig(cron=FIELDS["cron"](text))
        elif re.fullmatch(_SPAN, text):
            schedule = ScheduleConfig(every=FIELDS["every"](text))
        else:
            schedule = ScheduleConfig(calendar=FIELDS["calendar"](text))
        upcoming.check(schedule, datetime.now(UTC))
    except ValueError as error:
        raise JobError(Outcome.REJECTED, msg("the schedule {error}", error=error), _FORMS) from None
    except JobError as error:
        message = error.message
        if not re.search(r"\d", text):
            message = msg("{text!r} is not a time span, calendar times or a cron line", text=text)
        raise JobError(Outcome.REJECTED, message, _FORMS) from None
    return schedule

"""Schedules as options, and as typed at the prompt of init."""

from typing import Any

import pytest

from dify_job.cli.arguments import schedule_of_flags, schedule_of_text
from dify_job.config.model import ScheduleConfig
from dify_job.messages.errors import JobError


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("2h", ScheduleConfig(every=7200)),
        ("1h 30min", ScheduleConfig(every=5400)),
        ("0.5 hours", ScheduleConfig(every=1800)),
        ("Mon..Fri 07:00", ScheduleConfig(calendar=("Mon..Fri 07:00",))),
        ("07:00", ScheduleConfig(calendar=("07:00",))),
        ("daily", ScheduleConfig(calendar=("daily",))),
        ("*-*-01 06:00 Asia/Shanghai", ScheduleConfig(calendar=("*-*-01 06:00 Asia/Shanghai",))),
        ("30 7 * * 1-5", ScheduleConfig(cron="30 7 * * 1-5")),
        ("0 7 1 1 1", ScheduleConfig(cron="0 7 1 1 1")),
        ("*/5 8-18 * jan,feb mon", ScheduleConfig(cron="*/5 8-18 * jan,feb mon")),
        ("@daily", ScheduleConfig(cron="@daily")),
    ],
)
def test_schedule_is_parsed_in_any_form(text: str, schedule: ScheduleConfig) -> None:
    assert schedule_of_text(text) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "has no unit"),
        ("30M", "30min for minutes or 30month for months"),
        ("often", "'often' is neither a time span"),
        ("2x", "'2x', which is not a time span"),
        ("99 7 * * *", "99"),
        ("2020-01-01", "no time in the future"),
        ("25:00", "calendar"),
        ("", "."),
    ],
)
def test_invalid_schedule_is_rejected_with_the_valid_forms(text: str, message: str) -> None:
    with pytest.raises(JobError, match=message) as raised:
        schedule_of_text(text)
    assert (
        raised.value.hint == "write the schedule as a time span (2h), calendar times (Mon..Fri 07:00) "
        "or a cron line (30 7 * * 1-5)"
    )


@pytest.mark.parametrize(
    ("option", "given"),
    [("every", {"every": "2"}), ("timezone", {"cron": "0 7 * * *", "timezone": "Mars"})],
)
def test_invalid_schedule_option_is_named_with_an_example_of_it(option: str, given: dict[str, Any]) -> None:
    with pytest.raises(JobError, match=f"^--{option} ") as raised:
        schedule_of_flags(**{"every": None, "calendar": (), "cron": None, "timezone": None} | given)
    assert str(raised.value.hint).startswith(f"write it like this: --{option} ")

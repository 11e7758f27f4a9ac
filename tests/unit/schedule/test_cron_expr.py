"""Cron expressions, compared with cronsim and systemd-analyze."""

import random
from datetime import UTC
from itertools import islice

import pytest
from cronsim import CronSim
from oncalendar import OnCalendar

from dify_job.config.model import ScheduleConfig
from dify_job.messages.errors import JobError
from dify_job.schedule import cron_expr, upcoming
from tests.support.campaign import Campaign
from tests.support.schedules import NOW, by_systemd, random_cron, wall_times
from tests.support.systemd_analyze import needs_systemd_analyze


@pytest.mark.timeout(600)  # on a loaded machine
@pytest.mark.timeout(600)
def test_cron_expression_and_its_calendar_have_the_same_next_200_times(campaign: Campaign) -> None:
    chance = random.Random(4 + campaign.seed)
    compared = 0
    while compared < (10_000 if campaign.whole else 150):
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


@needs_systemd_analyze
def test_systemd_elapses_at_the_times_of_the_cron_expression() -> None:
    chance = random.Random(252)
    for _ in range(60):
        expression = random_cron(chance)
        try:
            lines = cron_expr.calendars_of(cron_expr.read_cron(expression))
        except JobError:
            continue
        both = sorted({at for line in lines for at in by_systemd(f"{line} UTC", 100)})[:100]
        assert both[:50] == wall_times(CronSim(expression, NOW), 50), expression


@pytest.mark.parametrize(
    "name", ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@Daily"]
)
def test_cron_macro_equals_its_documented_expression(name: str) -> None:
    meant = {
        "@hourly": "0 * * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
    }
    expression = meant.get(name, "0 0 * * *")
    assert cron_expr.read_cron(name) == cron_expr.read_cron(expression)
    assert wall_times(upcoming.run_times(ScheduleConfig(cron=name), NOW), 5) == wall_times(
        CronSim(expression, NOW), 5
    )


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
def test_cron_expression_becomes_calendars(expression: str, lines: tuple[str, ...]) -> None:
    assert cron_expr.calendars_of(cron_expr.read_cron(expression)) == lines


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("*/90 * * * *", 'every = "90min"'),
        ("* */24 * * *", "longer than the range"),
        ("5/15 * * * *", "write 5-59/15"),
        ("0 0 30 2 *", "day 30 does not exist in month 2"),
        ("0 0 31 4,6,9,11 *", "day 31 does not exist in month 4,6,9,11"),
        ("@reboot", "@reboot is not supported"),
        ("@every_minute", "is not supported"),
        ("61 * * * *", "is not a number from 0 to 59"),
        ("* * * *", "a cron line has 5 fields, not 4"),
        ("0 0 * * * *", "a cron line has 5 fields, not 6"),
        ("0 0 1 13 *", "is not a number from 1 to 12"),
        ("0 0 L * *", "is not a number from 1 to 31"),
        ("0 0 * * 1#2", "is not a number from 0 to 7"),
        ("10-5 * * * *", "whose end is before its start"),
        ("*/0 * * * *", "has no number after the /"),
        ("\N{ARABIC-INDIC DIGIT THREE} * * * *", "is not a number from 0 to 59"),
        ("²  * * * *", "is not a number from 0 to 59"),
        ("%s * * * *" % ("1" * 5000), "is not a number from 0 to 59"),
        ("", "a cron line has 5 fields, not 0"),
        ("0 0 1;rm * *", "is not a number from 1 to 31"),
    ],
)
def test_invalid_or_ambiguous_cron_expression_is_rejected(expression: str, why: str) -> None:
    with pytest.raises(JobError, match="cron is ") as refused:
        cron_expr.read_cron(expression)
    assert why in refused.value.message
    assert refused.value.outcome == "rejected"

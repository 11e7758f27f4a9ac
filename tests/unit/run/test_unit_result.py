"""How a start ended that left no record, as status, history, doctor and notify all say it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dify_job.run.unit_result import latest_run, record_of, why_not_started, with_unit_result
from dify_job.state.history import RunRecord
from dify_job.state.store import InFlight
from dify_job.system.unit_result import UnitResult

UNIT = "dify-job-daily.service"
BEGAN = datetime(2026, 3, 12, 7, 0, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=40)


def shown(result: str, code: str, status: str) -> UnitResult:
    properties = {
        "Result": result,
        "ExecMainCode": code,
        "ExecMainStatus": status,
        "ExecMainStartTimestamp": f"{BEGAN:%a %Y-%m-%d %H:%M:%S UTC}",
        "ExecMainExitTimestamp": f"{ENDED:%a %Y-%m-%d %H:%M:%S UTC}",
    }
    return UnitResult.of_properties(UNIT, properties)


KILLED = shown("signal", "2", "9")
BROKEN_CONFIG = shown("exit-code", "1", "78")
NO_CREDENTIAL = shown("exit-code", "1", "243")


def recorded(
    began: datetime, outcome: str = "succeeded", code: int | None = 0, took: float = 1.0
) -> RunRecord:
    at = began.astimezone().isoformat(timespec="milliseconds")
    return RunRecord(call_time=at, outcome=outcome, exit_code=code, message="m", duration=took)


def left_at(began: datetime) -> InFlight:
    return InFlight(
        run="r", user="u", base_url="b", started=began.isoformat(), deadline=0.0, boot="", boot_deadline=0.0,
        workflow_run_id="wfr-1",
    )  # fmt: skip


YESTERDAY = recorded(BEGAN - timedelta(days=1))


def test_killed_run_is_killed_and_not_one_that_did_not_start() -> None:
    last = latest_run(YESTERDAY.as_record(), (YESTERDAY,), KILLED, left_at(BEGAN + timedelta(seconds=1)))
    assert last is not None
    assert (last.outcome, last.exit_code, last.run_id) == ("killed", None, "wfr-1")
    assert "SIGKILL" in last.message
    assert "may go on" in (last.hint or "")


def test_what_an_earlier_process_left_is_not_of_this_one() -> None:
    [_, last] = with_unit_result((YESTERDAY,), KILLED, left_at(BEGAN - timedelta(hours=3)))
    assert last.run_id is None


@pytest.mark.parametrize(
    ("ending", "outcome", "code", "said"),
    [
        (BROKEN_CONFIG, "config", 78, "config"),
        (NO_CREDENTIAL, "not-started", 243, "243/CREDENTIALS"),
        (shown("exit-code", "1", "201"), "not-started", 201, "status 201"),
        (shown("exit-code", "1", "1"), "crashed", 1, "status 1"),
        (shown("oom-kill", "2", "9"), "killed", None, "no memory"),
        (shown("timeout", "2", "9"), "killed", None, "in time"),
        (shown("core-dump", "3", "11"), "killed", None, "SEGV"),
        (shown("resources", "", ""), "not-started", None, "resources"),
    ],
)
def test_start_without_a_record_is_in_history_and_last(
    ending: UnitResult, outcome: str, code: int | None, said: str
) -> None:
    runs = with_unit_result((YESTERDAY,), ending, None)
    assert runs[0] == YESTERDAY
    assert (runs[1].outcome, runs[1].exit_code) == (outcome, code)
    assert said in runs[1].message
    assert runs[1].began == BEGAN
    assert runs[1].duration == 40.0
    assert latest_run(YESTERDAY.as_record(), (YESTERDAY,), ending, None) == runs[1]


@pytest.mark.parametrize(
    "record",
    [
        recorded(BEGAN, "config", 78),
        recorded(BEGAN + timedelta(seconds=39), "config", 78),
        recorded(ENDED + timedelta(seconds=8), "config", 78),
        recorded(ENDED + timedelta(seconds=8), "not-started", None),
        recorded(BEGAN + timedelta(seconds=1), "failed", 80),
    ],
)
def test_start_with_a_record_is_not_counted_twice(record: RunRecord) -> None:
    assert with_unit_result((YESTERDAY, record), BROKEN_CONFIG, None) == (YESTERDAY, record)


def test_run_by_hand_after_it_stays_the_last() -> None:
    by_hand = recorded(ENDED + timedelta(hours=2))
    runs = with_unit_result((YESTERDAY, by_hand), BROKEN_CONFIG, None)
    assert [run.outcome for run in runs] == ["succeeded", "config", "succeeded"]
    assert latest_run(by_hand.as_record(), (YESTERDAY, by_hand), BROKEN_CONFIG, None) == by_hand


@pytest.mark.parametrize(("status", "outcome"), [("0", "succeeded"), ("143", "cancelled")])
def test_where_the_history_cannot_be_read_systemd_is_the_source(status: str, outcome: str) -> None:
    [run] = with_unit_result(None, shown("success", "1", status), None)
    assert (run.outcome, run.exit_code) == (outcome, int(status))


def test_success_without_a_record_was_not_due() -> None:
    assert with_unit_result((YESTERDAY,), shown("success", "1", "0"), None) == (YESTERDAY,)


@pytest.mark.parametrize("ending", [None, UnitResult(unit=UNIT, result="success")])
def test_unit_that_never_ran_adds_nothing(ending: UnitResult | None) -> None:
    assert with_unit_result((YESTERDAY,), ending, None) == (YESTERDAY,)
    assert with_unit_result(None, ending, None) == ()
    assert latest_run(None, (), ending, None) is None


@pytest.mark.parametrize("outcome", ["busy", "skipped"])
def test_start_that_gave_way_is_no_news(outcome: str) -> None:
    gave_way = recorded(ENDED, outcome, 75 if outcome == "busy" else 0)
    assert latest_run(YESTERDAY.as_record(), (YESTERDAY, gave_way), None, None) == YESTERDAY


@pytest.mark.parametrize(("user", "command"), [(False, "journalctl -u"), (True, "journalctl --user -u")])
def test_hint_asks_the_manager_of_the_unit(user: bool, command: str) -> None:
    assert (record_of(replace(BROKEN_CONFIG, user=user), None, ENDED).hint or "").startswith(command)


@pytest.mark.parametrize(
    "environ", [{}, {"MONITOR_EXIT_CODE": "exited"}, {"MONITOR_SERVICE_RESULT": "exit-code"}]
)
def test_end_told_to_a_handler(environ: Mapping[str, Any]) -> None:
    ending = UnitResult.of_environ(environ)
    assert (ending is None) == ("MONITOR_SERVICE_RESULT" not in environ)


def test_only_statuses_of_systemd_mean_not_started() -> None:
    assert why_not_started(None) is None
    assert why_not_started(143) is None
    assert why_not_started(80) is None
    assert (why_not_started(224) or "").startswith("224/PAM")


def test_killed_run_without_a_unit_is_in_history_and_is_the_last() -> None:
    left = left_at(BEGAN)
    gave_way = YESTERDAY._replace(
        call_time=(BEGAN + timedelta(hours=1)).isoformat(), outcome="busy", exit_code=75
    )
    runs = with_unit_result((YESTERDAY, gave_way), None, left)
    assert [run.outcome for run in runs] == [YESTERDAY.outcome, "killed", "busy"]
    assert (runs[1].run_id, runs[1].exit_code) == (left.workflow_run_id, None)
    assert latest_run(YESTERDAY.as_record(), (YESTERDAY, gave_way), None, left) == runs[1]


def test_left_run_that_reported_itself_is_not_recorded_twice() -> None:
    assert with_unit_result((YESTERDAY,), None, left_at(BEGAN)._replace(reported="unknown")) == (YESTERDAY,)
    left = left_at(BEGAN)
    own = YESTERDAY._replace(call_time=left.started, outcome="unknown", exit_code=74)
    assert with_unit_result((own,), None, left) == (own,)

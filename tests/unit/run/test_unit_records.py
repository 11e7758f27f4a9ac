"""Result of a unit start without a record, shared by status, history, doctor and notify."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dify_job.run.unit_records import latest_run, record_of, why_not_started, with_unit_result
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


def test_killed_run_is_not_reported_as_not_started() -> None:
    last = latest_run(YESTERDAY.as_json(), (YESTERDAY,), KILLED, left_at(BEGAN + timedelta(seconds=1)))
    assert last is not None
    assert (last.outcome, last.exit_code, last.run_id) == ("killed", None, "wfr-1")
    assert "SIGKILL" in last.message
    assert "may still be in progress" in (last.hint or "")


def test_killed_run_is_the_last_one_after_runs_of_a_clock_that_was_ahead() -> None:
    ahead = recorded(BEGAN + timedelta(days=300))
    assert [run.outcome for run in with_unit_result((ahead, YESTERDAY), KILLED, None)][-1] == "killed"


def test_in_flight_record_of_an_earlier_process_is_ignored() -> None:
    [_, last] = with_unit_result((YESTERDAY,), KILLED, left_at(BEGAN - timedelta(hours=3)))
    assert last.run_id is None


@pytest.mark.parametrize(
    ("unit_result", "outcome", "code", "message"),
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
def test_start_without_a_record_is_in_the_history_and_the_last_run(
    unit_result: UnitResult, outcome: str, code: int | None, message: str
) -> None:
    runs = with_unit_result((YESTERDAY,), unit_result, None)
    assert runs[0] == YESTERDAY
    assert (runs[1].outcome, runs[1].exit_code) == (outcome, code)
    assert message in runs[1].message
    assert runs[1].began == BEGAN
    assert runs[1].duration == 40.0
    assert latest_run(YESTERDAY.as_json(), (YESTERDAY,), unit_result, None) == runs[1]


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


@pytest.mark.parametrize("before", [1, 400, 900])
def test_start_that_crashes_within_a_second_of_a_success_is_a_record_of_its_own(before: int) -> None:
    crashed = replace(shown("exit-code", "1", "1"), ended=BEGAN)
    success = recorded(BEGAN + timedelta(milliseconds=before), took=0.1)
    runs = with_unit_result((YESTERDAY, success), crashed, None)
    assert [run.outcome for run in runs] == ["succeeded", "succeeded", "crashed"]
    assert latest_run(success.as_json(), (YESTERDAY, success), crashed, None) == runs[2]


def test_later_manual_run_stays_the_last_run() -> None:
    by_hand = recorded(ENDED + timedelta(hours=2))
    runs = with_unit_result((YESTERDAY, by_hand), BROKEN_CONFIG, None)
    assert [run.outcome for run in runs] == ["succeeded", "config", "succeeded"]
    assert latest_run(by_hand.as_json(), (YESTERDAY, by_hand), BROKEN_CONFIG, None) == by_hand


@pytest.mark.parametrize(("status", "outcome"), [("0", "succeeded"), ("143", "cancelled")])
def test_unreadable_history_falls_back_to_systemd(status: str, outcome: str) -> None:
    [run] = with_unit_result(None, shown("success", "1", status), None)
    assert (run.outcome, run.exit_code) == (outcome, int(status))


def test_success_without_a_record_was_not_due() -> None:
    assert with_unit_result((YESTERDAY,), shown("success", "1", "0"), None) == (YESTERDAY,)


@pytest.mark.parametrize("unit_result", [None, UnitResult(unit=UNIT, result="success")])
def test_unit_that_never_ran_adds_nothing(unit_result: UnitResult | None) -> None:
    assert with_unit_result((YESTERDAY,), unit_result, None) == (YESTERDAY,)
    assert with_unit_result(None, unit_result, None) == ()
    assert latest_run(None, (), unit_result, None) is None


@pytest.mark.parametrize("outcome", ["busy", "skipped"])
def test_busy_or_skipped_run_is_not_the_last_run(outcome: str) -> None:
    not_run = recorded(ENDED, outcome, 75 if outcome == "busy" else 0)
    assert latest_run(YESTERDAY.as_json(), (YESTERDAY, not_run), None, None) == YESTERDAY


@pytest.mark.parametrize(("user", "command"), [(False, "journalctl -u"), (True, "journalctl --user -u")])
def test_hint_names_the_manager_of_the_unit(user: bool, command: str) -> None:
    assert (record_of(replace(BROKEN_CONFIG, user=user), None, ENDED).hint or "").startswith(command)


@pytest.mark.parametrize(
    "environ", [{}, {"MONITOR_EXIT_CODE": "exited"}, {"MONITOR_SERVICE_RESULT": "exit-code"}]
)
def test_unit_result_is_read_from_monitor_variables(environ: Mapping[str, Any]) -> None:
    unit_result = UnitResult.of_environ(environ)
    assert (unit_result is None) == ("MONITOR_SERVICE_RESULT" not in environ)


def test_only_statuses_of_systemd_mean_not_started() -> None:
    assert why_not_started(None) is None
    assert why_not_started(143) is None
    assert why_not_started(80) is None
    assert (why_not_started(224) or "").startswith("224/PAM")


def test_killed_run_without_a_unit_is_in_history_and_is_the_last() -> None:
    abandoned = left_at(BEGAN)
    not_run = YESTERDAY._replace(
        call_time=(BEGAN + timedelta(hours=1)).isoformat(), outcome="busy", exit_code=75
    )
    runs = with_unit_result((YESTERDAY, not_run), None, abandoned)
    assert [run.outcome for run in runs] == [YESTERDAY.outcome, "killed", "busy"]
    assert (runs[1].run_id, runs[1].exit_code) == (abandoned.workflow_run_id, None)
    assert latest_run(YESTERDAY.as_json(), (YESTERDAY, not_run), None, abandoned) == runs[1]


def test_recorded_run_with_an_in_flight_record_is_listed_once() -> None:
    assert with_unit_result((YESTERDAY,), None, left_at(BEGAN)._replace(reported="unknown")) == (YESTERDAY,)
    abandoned = left_at(BEGAN)
    own = YESTERDAY._replace(call_time=abandoned.started, outcome="unknown", exit_code=74)
    assert with_unit_result((own,), None, abandoned) == (own,)

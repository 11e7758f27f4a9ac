from datetime import UTC, datetime, timedelta
from pathlib import Path

from dify_job.report.past_runs import (
    JobHistory,
    distinct,
    failures_since,
    has_failed,
    job_history,
    newest_first,
)
from dify_job.state.history import RunRecord
from tests.support.histories import record, write_history

NOW = datetime(2026, 1, 31, 7, 30, tzinfo=UTC)


def run(minutes_ago: float, outcome: str = "succeeded", run_id: str | None = None) -> RunRecord:
    fields = record(NOW - timedelta(minutes=minutes_ago), outcome)
    return RunRecord.of(fields | ({"workflow_run_id": run_id} if run_id else {}))


def test_run_settled_later_is_listed_at_its_start_time(tmp_path: Path) -> None:
    younger, settled = record(NOW - timedelta(minutes=30)), record(NOW - timedelta(hours=1), "unknown")
    write_history(tmp_path, [younger, settled])
    assert [run.outcome for run in job_history("a", tmp_path).runs] == ["unknown", "succeeded"]


def test_history_of_several_jobs_is_newest_first(tmp_path: Path) -> None:
    write_history(tmp_path / "a", [record(NOW - timedelta(hours=hours)) for hours in (3, 1)])
    write_history(tmp_path / "b", [record(NOW - timedelta(hours=2), "failed")])
    histories = [job_history(job, tmp_path / job) for job in ("a", "b")]
    assert [one.job for one in newest_first(histories)] == ["a", "b", "a"]
    assert [one.job for one in newest_first(histories, failed=True)] == ["b"]
    assert [one.job for one in newest_first(histories, since=NOW - timedelta(minutes=90))] == ["a"]


def test_record_without_a_time_is_the_oldest_and_in_no_period() -> None:
    undated = RunRecord(call_time="nonsense", outcome="failed", exit_code=80, message="x")
    history = JobHistory("a", Path("/"), (run(5), undated))
    assert newest_first([history])[-1].call_time == undated.call_time
    assert newest_first([history], since=datetime(1, 1, 2, tzinfo=UTC))[0].outcome == "succeeded"
    assert len(newest_first([history], since=datetime(1, 1, 2, tzinfo=UTC))) == 1


def test_two_records_of_one_run_count_once() -> None:
    killed, settled = run(60, "killed", "r"), run(60, "failed", "r")
    assert distinct([killed, settled]) == [settled]
    ahead = run(-60 * 24 * 300, "failed")  # of a clock that was wrong
    assert failures_since([killed, settled, run(30), ahead], NOW - timedelta(hours=2), NOW) == [settled]


def test_skips_and_successes_are_no_failures() -> None:
    runs = [run(60, "skipped"), run(50), run(40, "timeout"), run(30, "killed")]
    assert [one.outcome for one in runs if has_failed(one)] == ["timeout", "killed"]


def test_unreadable_history_is_reported_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    unreadable = job_history("a", tmp_path)
    assert unreadable.error is not None
    assert unreadable.runs == ()
    assert job_history("a", tmp_path / "absent").error is None

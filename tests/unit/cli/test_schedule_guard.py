"""Whether a scheduled start is a run: by hand, due, too late, asked for; and its jitter."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dify_job.cli.schedule_guard import jitter, notified_by_unit, skip_reason
from dify_job.config.model import Job, KeySource, Notify, ScheduleConfig
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.state import request_file
from dify_job.state.store import JobState

TIMER = "dify-job-daily.timer"


def job(**schedule: object) -> Job:
    return Job(
        name="daily",
        base_url="http://x/v1",
        key=KeySource(),
        schedule=ScheduleConfig(**schedule),  # type: ignore[arg-type]
    )


@pytest.fixture
def state(tmp_path: Path) -> Iterator[JobState]:
    with closing(JobState(tmp_path / "state")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _under_cron(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INVOCATION_ID", "DIFY_JOB_TIMER", "TRIGGER_UNIT"):
        monkeypatch.delenv(name, raising=False)


def test_second_start_within_an_interval_is_not_due(state: JobState) -> None:
    every_day = job(every=86400.0)
    assert skip_reason(every_day, state, scheduled=False, if_due=True) is None, "by hand, for the first time"
    assert skip_reason(every_day, state, scheduled=True, if_due=True) is not None


def test_start_by_hand_is_never_held_back(state: JobState, monkeypatch: pytest.MonkeyPatch) -> None:
    every_day = job(every=86400.0)
    skip_reason(every_day, state, scheduled=False, if_due=True)
    monkeypatch.setenv("DIFY_JOB_TIMER", TIMER)
    assert skip_reason(every_day, state, scheduled=True, if_due=True) is None
    monkeypatch.setenv("TRIGGER_UNIT", TIMER)
    assert skip_reason(every_day, state, scheduled=True, if_due=True) is not None


def test_run_that_a_caller_asked_for_is_not_held_back(state: JobState) -> None:
    every_day = job(every=86400.0)
    skip_reason(every_day, state, scheduled=False, if_due=True)
    request_file.write_request(state)
    assert skip_reason(every_day, state, scheduled=True, if_due=True) is None


def test_late_start_is_skipped_and_recorded(state: JobState) -> None:
    leap_day = job(cron="0 0 29 2 *", max_late=60.0)
    why = skip_reason(leap_day, state, scheduled=True, if_due=False)
    assert why is not None
    [run] = [json.loads(line) for line in (state.directory / "history.jsonl").read_text().splitlines()]
    assert (run["outcome"], run["exit_code"], why in run["message"]) == ("skipped", 0, True)
    assert skip_reason(job(cron="0 0 29 2 *"), state, scheduled=True, if_due=False) is None


def test_due_needs_a_record() -> None:
    with pytest.raises(JobError) as caught:
        skip_reason(job(every=86400.0), None, scheduled=False, if_due=True)
    assert caught.value.outcome is Outcome.CONFIG


def test_unwritable_record_prevents_the_run(state: JobState, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JobState, "put_last_due", full)
    with pytest.raises(JobError) as caught:
        skip_reason(job(every=86400.0), state, scheduled=False, if_due=True)
    assert caught.value.outcome is Outcome.CANNOT_WRITE


def test_jitter_is_waited_under_cron_only(monkeypatch: pytest.MonkeyPatch) -> None:
    jittered = job(every=3600.0, jitter=600.0)
    assert 0.0 <= jitter(jittered) < 600.0
    assert jitter(jittered) == jitter(jittered), "the same on each tick"
    assert jitter(job(every=3600.0)) == 0.0
    monkeypatch.setenv("INVOCATION_ID", "0" * 32)
    assert jitter(jittered) == 0.0


def test_only_a_unit_has_a_handler_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    notified = job(every=3600.0)._replace(notify=Notify(on_failure=("json://localhost",)))
    assert not notified_by_unit(notified), "under cron"
    monkeypatch.setenv("INVOCATION_ID", "0" * 32)
    assert not notified_by_unit(job(every=3600.0))


@pytest.mark.parametrize(("parent", "by_systemd"), [("crond", False), ("wrapper", True)])
def test_start_by_a_crond_that_passes_on_its_environment_is_by_cron(
    tmp_path: Path, parent: str, by_systemd: bool
) -> None:
    """As busybox does, whose crond can be a unit of systemd."""
    program = "from dify_job.cli.schedule_guard import under_systemd; print(under_systemd())"
    shell, script = tmp_path / parent, tmp_path / "script"
    shell.symlink_to("/bin/sh")
    script.write_text('"$@"; true\n')  # a shell that stays
    done = subprocess.run(
        [shell, script, "sh", script, sys.executable, "-c", program],
        env=os.environ | {"INVOCATION_ID": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{by_systemd}\n"

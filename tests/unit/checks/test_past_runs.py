"""A job that its scheduler never starts has a finding, unless the missed runs are explained."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dify_job.checks import past_runs
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Finding, Severity
from dify_job.checks.past_runs import check_missed_runs
from dify_job.config.model import Config, Job, KeySource, ScheduleConfig
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.model import InstalledJob, Scope
from dify_job.state.history import RunRecord
from dify_job.state.store import JobState
from dify_job.system.unit_result import UnitResult

NOW = datetime(2026, 3, 12, 12, 20, tzinfo=UTC)
LAST = datetime(2026, 3, 12, 12, 0, tzinfo=UTC)
JOB = Job(name="daily", base_url="http://x/v1", key=KeySource(), schedule=ScheduleConfig(every=3600.0))


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Scope, "base", property(lambda _: tmp_path))
    monkeypatch.setattr(past_runs, "_booted_at", lambda now: now - timedelta(days=40))
    monkeypatch.setattr(past_runs, "_suspended_time", lambda: timedelta(0))
    return tmp_path


INSTALLED = InstalledJob(
    job="daily",
    backend="cron",
    scope=Scope.USER,
    files={},
    fingerprint="",
    source="",
    enabled=True,
    since=NOW - timedelta(days=9),
)


def check(
    one: InstalledJob = INSTALLED, past: Sequence[RunRecord] | None = (), job: Job = JOB
) -> Finding | None:
    scheduler = UserCrontab(Scope.USER)
    config = Config(path=None, files=(), jobs={})
    context = HostContext(job=job, config=config, scheduler=scheduler, now=NOW, installed=((scheduler, one),))
    vars(context).update(history=past)
    return check_missed_runs(context)


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("backend", "command"), [("cron", "journalctl -t CRON"), ("systemd", "systemctl --user")]
)
def test_scheduler_that_starts_nothing_is_a_warning(backend: str, command: str) -> None:
    found = check(replace(INSTALLED, backend=backend))
    assert found is not None
    assert found.severity is Severity.WARN
    assert f"{backend} did not start them" in found.message
    assert command in (found.fix or "")


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("outcome", ["succeeded", "failed", "skipped", "not-started", "killed"])
def test_every_record_counts_as_a_start(outcome: str) -> None:
    run = RunRecord(call_time=LAST.isoformat(), outcome=outcome, exit_code=None, message="")
    assert check(past=(run,)) is None


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    "one",
    [
        replace(INSTALLED, paused=True, enabled=False),
        replace(INSTALLED, since=NOW - timedelta(minutes=70)),
        replace(INSTALLED, since=None),
        replace(INSTALLED, enabled=None),
        replace(INSTALLED, running=True),
        replace(INSTALLED, backend="systemd", unit_result=UnitResult(unit="u", began=LAST, ended=LAST)),
    ],
)
def test_paused_new_running_or_systemd_started_job_has_no_finding(one: InstalledJob) -> None:
    assert check(one) is None


@pytest.mark.usefixtures("base")
def test_job_without_history_or_state_has_no_finding() -> None:
    assert check(past=None) is None
    assert check(job=JOB._replace(state="none")) is None


def test_machine_that_was_off_has_no_finding(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_runs, "_booted_at", lambda now: now - timedelta(minutes=70))
    assert base.is_dir()
    assert check() is None


def test_in_flight_record_of_a_killed_run_counts_as_a_start(base: Path) -> None:
    (base / "daily").mkdir()
    abandoned = {
        "run": "r",
        "user": "u",
        "base_url": "b",
        "started": LAST.isoformat(),
        "deadline": 0.0,
        "boot": "",
    }
    (base / "daily/in-flight.json").write_text(json.dumps({**abandoned, "boot_deadline": 0.0}))
    assert check() is None


def test_held_lock_counts_as_a_start(base: Path) -> None:
    with contextlib.closing(JobState(base / "daily")) as state:
        state.lock()
        assert check() is None
    assert check() is not None


def test_boot_of_a_container_is_the_start_of_its_first_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(past_runs, "_FIRST_PROCESS", stat)
    kernel = past_runs._booted_at(NOW)
    ticks = 30 * os.sysconf("SC_CLK_TCK")
    stat.write_text(f"1 (a name) with ) brackets) S {' 0' * 18} {ticks} 0\n")
    assert timedelta(seconds=29) < past_runs._booted_at(NOW) - kernel < timedelta(seconds=31)
    stat.write_text("1 (half")
    assert abs(past_runs._booted_at(NOW) - kernel) < timedelta(seconds=1)
    assert past_runs._suspended_time() >= timedelta(0)

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dify_job.checks import machine
from dify_job.checks.context import HostContext
from dify_job.config.model import Config
from dify_job.schedulers.model import Scope
from dify_job.schedulers.systemd import Systemd
from dify_job.state import reader
from dify_job.state.history import read_history
from dify_job.state.reader import lock_holder, read_last_due
from dify_job.state.store import InFlight, JobState, LockHeldError, boot_id
from tests.support.host_contexts import NOW, make_job


def record(**changed: object) -> InFlight:
    values = {"run": "r", "user": "u", "base_url": "b", "started": "s", "deadline": 0.0,
              "boot": boot_id(), "boot_deadline": 1e12}  # fmt: skip
    return InFlight(**{**values, **changed})  # type: ignore[arg-type]


def test_in_flight_record_is_read_back(tmp_path: Path) -> None:
    state = JobState(tmp_path / "job")
    assert state.in_flight() is None
    state.put_in_flight(record(task_id="t"))
    assert state.in_flight() == record(task_id="t")
    state.clear_in_flight()
    state.clear_in_flight()
    assert state.in_flight() is None


def test_unknown_or_partial_in_flight_record_is_ignored(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    half = json.dumps(record()._asdict() | {"user": 5})
    for text in ('{"run": "r"}', '{"run": ', "[]", "", half, "[" * 100_000):
        (tmp_path / "in-flight.json").write_text(text)
        assert state.in_flight() is None
    state.put_in_flight(record())
    stored = json.loads((tmp_path / "in-flight.json").read_text())
    (tmp_path / "in-flight.json").write_text(json.dumps(stored | {"later": 1}))
    assert state.in_flight() == record()


@pytest.mark.parametrize("at", ["1e300", "9" * 400, "-1", "NaN", "null", '"7"', "[" * 100_000])
def test_invalid_time_of_the_last_start_is_none(at: str, tmp_path: Path) -> None:
    (tmp_path / "tick.json").write_text(f'{{"at": {at}}}')
    assert (JobState(tmp_path).last_due(), read_last_due(tmp_path)) == (None, None)
    JobState(tmp_path).put_last_due(7.5)
    assert (JobState(tmp_path).last_due(), read_last_due(tmp_path)) == (7.5, 7.5)


def test_directory_of_a_dynamic_user_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup of BASE has only links, and a unit creates their targets with the same modes."""
    base, private = tmp_path / "lib/dify-job", tmp_path / "lib/private/dify-job/daily"
    monkeypatch.setattr("dify_job.state.directories.SYSTEM_BASE", base)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    base.mkdir(parents=True)
    (base / "daily").symlink_to(Path("../private/dify-job/daily"))
    monkeypatch.setattr("dify_job.checks.context.HostContext.state", base / "daily")
    config = Config(path=None, files=(), jobs={})
    context = HostContext(job=make_job(), config=config, scheduler=Systemd(Scope.SYSTEM), now=NOW)
    assert "the first run will create the state directory" in machine.check_state(context).message
    JobState(base / "daily").put_last_due(7.5)
    assert (private / "tick.json").exists()
    modes = [path.stat().st_mode & 0o777 for path in (private, private.parent, private.parents[1])]
    assert modes == [0o700, 0o755, 0o700]
    assert "is writable" in machine.check_state(context).message


def test_clock_step_does_not_make_a_run_of_this_boot_overdue() -> None:
    assert not record(deadline=0.0).overdue(60)
    assert record(deadline=1e12, boot_deadline=0.0).overdue(-1)
    assert record(boot="another", deadline=0.0).overdue(60)


def test_overdue_time_is_defined_for_any_deadline() -> None:
    assert record(deadline=1000.0).overdue_at(60).timestamp() == 1060
    for deadline in (3e11, 1e300, float("inf"), float("nan"), -1e300):
        assert record(deadline=deadline).overdue_at(60).tzinfo is not None


def test_history_is_bounded_and_ignores_damage(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    for number in range(1250):
        state.record_result({"outcome": "failed", "attempts": number})
    history = read_history(tmp_path)
    assert len(history) <= 1200
    assert history[-1].attempts == 1249
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"half": \n')
    assert read_history(tmp_path)[-1].attempts == 1249


def test_lock_names_its_holder_and_is_released_by_close(tmp_path: Path) -> None:
    first, second = JobState(tmp_path), JobState(tmp_path)
    first.lock()
    with pytest.raises(LockHeldError, match="process"):
        second.lock()
    first.close()
    second.lock()


def test_symlinks_in_the_state_directory_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    state = JobState(tmp_path / "job")
    for name in ("lock", "history.jsonl"):
        (tmp_path / "job" / name).symlink_to(target)
    with pytest.raises(OSError, match="not a regular file"):
        state.lock()
    with pytest.raises(OSError, match="not a regular file"):
        state.append_history({})
    (tmp_path / "job" / "lock").unlink()
    (tmp_path / "job" / "lock").hardlink_to(target)
    with pytest.raises(OSError, match="not a regular file"):
        state.lock()
    assert target.read_text() == "mine"


def test_line_separator_in_a_message_does_not_damage_the_history(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    for n in range(1250):
        state.record_result({"outcome": "failed", "attempts": n, "message": "a\u2028b\u0085c"})
    history = read_history(tmp_path)
    assert (history[-1].attempts, history[-1].message) == (1249, "a\u2028b\u0085c")
    assert 1000 <= len(history) <= 1200


def test_partial_line_of_a_full_disk_affects_no_other_line(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    state.append_history({"outcome": "failed", "attempts": 1})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"outcome": "failed", "attempts": 2, "mess')
    state.append_history({"outcome": "failed", "attempts": 3, "message": "lone \ud800 surrogate"})
    assert [run.attempts for run in read_history(tmp_path)] == [1, 3]


def test_lock_holder_is_the_process_that_has_the_lock_file_open(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    assert lock_holder(tmp_path, datetime.now(UTC)) is None
    state.lock()
    (tmp_path / "lock").write_text("process 1\n")
    holder = lock_holder(tmp_path, datetime.now(UTC))
    assert holder is not None
    assert holder[0] == f"process {os.getpid()}"
    assert reader._can_have_open(os.getpid(), (tmp_path / "lock").stat())
    other = tmp_path / "other"  # as a file with the same inode on another file system
    other.touch()
    assert not reader._can_have_open(os.getpid(), other.stat())
    state.close()
    assert lock_holder(tmp_path, datetime.now(UTC)) is None


def test_lock_that_a_child_of_an_ended_process_holds_is_held(tmp_path: Path) -> None:
    script = """if True:
        import fcntl, os, sys, time
        lock = open(sys.argv[1], "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if child := os.fork():
            print(child)
        else:
            os.closerange(1, 3)
            time.sleep(60)
    """
    parent = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "lock"], capture_output=True, text=True, check=True
    )
    try:
        assert lock_holder(tmp_path, datetime.now(UTC)) is not None
    finally:
        os.kill(int(parent.stdout), signal.SIGKILL)

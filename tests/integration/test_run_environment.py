"""`dify-job run` on full disks, with clock steps, after a crash, and in a removed directory."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.command import KEY, Command
from tests.support.command_result import CommandResult
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until
from tests.support.scripted_server import (
    ScriptedServer,
)


def run(dify_job: Command, server: ScriptedServer, *args: str) -> CommandResult:
    return dify_job("run", *args, env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})


def test_upcoming_clock_change_of_a_schedule_is_reported(dify_job: Command) -> None:
    # What each back end does then: tests/unit/schedule/test_due.py and test_upcoming.py
    config = dify_job.home / "c.toml"
    config.write_text(
        '[jobs.a]\nbase_url = "http://127.0.0.1:1"\napi_key_env = "K"\n'
        'calendar = "*-*-* 02:30:00"\ntimezone = "Europe/Berlin"\n'
    )
    ran = dify_job("next", "a", "-n", "400", "--config", str(config))
    assert ran.code == 0
    assert "clock" in ran.stdout + ran.stderr


def limit_files_to(size: int) -> None:
    """Simulate a full disk without root: the kernel prevents that files grow beyond `size` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_disk_that_becomes_full_during_the_run_does_not_change_the_exit_status(
    dify_job: Command, environ: dict[str, str]
) -> None:
    env = environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    process = dify_job.start(
        "run",
        "-i",
        f"text={'x' * 20000}",
        "--output",
        "o.json",
        env=env,
        preexec_fn=lambda: limit_files_to(900),
    )
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["outcome"] == "succeeded"
    assert "could not be" in stderr
    assert not (dify_job.home / "o.json").exists() or (dify_job.home / "o.json").stat().st_size == 0


def test_full_disk_is_reported_before_the_call(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    process = dify_job.start(
        "run", env=environ | {"PYTHONDONTWRITEBYTECODE": "1"}, preexec_fn=lambda: limit_files_to(0)
    )
    process.communicate()
    assert process.returncode == 73
    assert server.runs == []


def test_lock_file_of_a_crashed_process_locks_nothing(dify_job: Command, environ: dict[str, str]) -> None:
    state = dify_job.home / "state"
    state.mkdir()
    (state / "lock").write_text(f"process {os.getpid()}\n")
    assert dify_job("run", env=environ).code == 0


def test_read_only_state_directory_and_a_dead_journal_do_not_change_the_outcome(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    state = dify_job.home / "state"
    state.mkdir()
    process = dify_job.start(
        "run", env=environ | {"DIFY_API_KEY": "app-two-seconds", "JOURNAL_STREAM": "8:1"}
    )
    wait_until(lambda: server.runs and (state / "in-flight.json").exists())
    time.sleep(0.5)
    moved = dify_job.home / "moved"
    state.rename(moved)  # files cannot be created in a removed directory
    for file in moved.iterdir():
        file.unlink()
    moved.rmdir()
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["outcome"] == "succeeded"
    assert "could not be stored" in stderr


def faketime() -> str:
    """Path of libfaketime, which changes the clock of one process."""
    found = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
    if found is None:
        assert os.environ.get("CI") != "true", "faketime is missing: apt-get install faketime"
        pytest.skip("the clock cannot be stepped here: apt-get install faketime")
    return found


@pytest.mark.parametrize("step", ["+1d", "-1d"])
@pytest.mark.parametrize(("key", "code", "seconds"), [("app-two-seconds", 0, 2), ("app-slow", 124, 4)])
def test_clock_step_during_the_run_moves_no_deadline(
    dify_job: Command, server: FakeDify, step: str, key: str, code: int, seconds: float
) -> None:
    clock = dify_job.home / "clock"
    clock.write_text("+0\n")
    env = {
        "DIFY_API_KEY": key,
        "DIFY_BASE_URL": server.base_url,
        "LD_PRELOAD": faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    process = dify_job.start("run", "--timeout", "4s" if code else "30s", env=env)
    while process.poll() is None and not (server.runs and server.runs[0].past):
        time.sleep(0.01)
    clock.write_text(f"{step}\n")
    stdout, stderr = process.communicate()
    result = json.loads(stdout)
    assert (process.returncode, result["exit_code"]) == (code, code), stderr
    assert seconds - 0.5 <= result["duration_s"] < seconds + 8
    last = json.loads(stderr.splitlines()[-1])["timestamp"]
    apart = (datetime.fromisoformat(last) - datetime.now(UTC)).total_seconds()
    assert abs(apart - 86400 * int(step[:2])) < 60, "the clock was not stepped"


@pytest.mark.parametrize(
    ("words", "code"),
    [(("run",), 0), (("config", "show"), 0), (("history",), 0), (("--config", "c.toml", "run"), 78)],
)
def test_removed_working_directory_is_no_crash(
    dify_job: Command, server: FakeDify, words: tuple[str, ...], code: int
) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" "$@"'
    env = dify_job.environ({"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
    ran = subprocess.run(
        # -P: as for the installed program, the working directory is not in sys.path.
        # If it is, `import socket` raises SystemError on Python 3.13.0.
        ["/bin/sh", "-c", script, sys.executable, "-P", *dify_job.program, *words],
        env=env,
        cwd=dify_job.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, "Traceback" in ran.stderr) == (code, False), ran.stderr

"""Readers that do not read and terminals that close neither block a run nor hide its outcome."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import Command, catches
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until

F_SETPIPE_SZ = 1031


def lock_is_free(path: Path) -> bool:
    """True after a run has stored its result and released the lock."""
    if not path.with_name("last.json").exists():
        return False
    with path.open() as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def full_pipe(*, free: int = 0) -> tuple[int, int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 16)
    os.set_blocking(writer, True)
    if free:
        os.read(reader, free)
    return reader, writer


@pytest.mark.parametrize("free", [0, 64])
def test_deadline_stops_the_run_though_nobody_reads_stderr(
    dify_job: Command, server: FakeDify, environ: dict[str, str], free: int
) -> None:
    reader, writer = full_pipe(free=free)
    done = dify_job("run", "--timeout", "2s", "-v", env=environ | {"DIFY_API_KEY": "app-slow"}, stderr=writer)
    assert done.code == 124
    assert "the server confirmed it" in done.result["message"]
    assert len(server.runs) == 1
    os.close(reader)
    os.close(writer)


def test_signal_stops_the_run_though_nobody_reads_stderr(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    reader, writer = full_pipe()
    process = dify_job.start("run", "-v", env=environ | {"DIFY_API_KEY": "app-slow"}, stderr=writer)
    done = dify_job.signal_when(process, lambda: server.runs)
    assert done.code == 143
    assert "confirmed" in done.result["message"]
    os.close(reader)
    os.close(writer)


def test_result_waits_for_its_reader_and_is_complete(dify_job: Command, environ: dict[str, str]) -> None:
    reader, writer = full_pipe()
    process = dify_job.start("run", env=environ, stdout=writer)
    os.close(writer)
    last = dify_job.home / "state/last.json"
    wait_until(last.exists)
    time.sleep(0.2)  # a process that wrote only a part would have ended
    assert process.poll() is None
    # state is written and the lock released: another run can start
    assert dify_job("run", env=environ).code == 0
    read = b""
    while data := os.read(reader, 65536):
        read += data
    assert process.wait() == 0
    assert json.loads(read.lstrip(b"x"))["outcome"] == "succeeded"
    process.communicate()
    os.close(reader)


@pytest.mark.parametrize("key", ["app-canary-0123456789abcdef", "app-fails"])
def test_signal_while_waiting_for_the_reader_exits_with_the_code_of_the_outcome(
    dify_job: Command, environ: dict[str, str], key: str
) -> None:
    reader, writer = full_pipe()
    process = dify_job.start("run", env=environ | {"DIFY_API_KEY": key}, stdout=writer)
    os.close(writer)
    wait_until(lambda: lock_is_free(dify_job.home / "state/lock"))
    process.send_signal(signal.SIGTERM)
    assert process.wait() == (0 if key.startswith("app-canary") else 80)
    process.communicate()
    os.close(reader)


def test_non_blocking_stdout_gets_the_whole_result(dify_job: Command, environ: dict[str, str]) -> None:
    reader, writer = full_pipe(free=4096)
    os.set_blocking(writer, False)
    process = dify_job.start("run", "-i", f"text={'y' * 30_000}", env=environ, stdout=writer)
    os.close(writer)
    read = b""
    while data := os.read(reader, 1024):
        read += data
        time.sleep(0.005)
    assert process.wait() == 0
    assert json.loads(read)["exit_code"] == 0
    process.communicate()
    os.close(reader)


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131), (signal.SIGTERM, 143)],
)
def test_signal_stops_the_run_and_enters_the_history(
    dify_job: Command, server: FakeDify, environ: dict[str, str], signum: int, code: int
) -> None:
    process = dify_job.start("run", env=environ | {"DIFY_API_KEY": "app-slow"})
    done = dify_job.signal_when(process, lambda: server.runs, signum)
    assert done.code == code
    assert done.result["outcome"] == "cancelled"
    assert "the server confirmed it" in done.result["message"]
    [line] = (dify_job.home / "state/history.jsonl").read_text().splitlines()
    assert json.loads(line)["exit_code"] == code
    assert not (dify_job.home / "state/in-flight.json").exists()


def test_hangup_repeated_by_the_shell_does_not_cut_the_stop_short(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    process = dify_job.start("run", env=environ | {"DIFY_API_KEY": "app-slow"})
    wait_until(lambda: server.runs)
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    stdout, _ = process.communicate()
    assert process.returncode == 129
    assert "the server confirmed it" in json.loads(stdout)["message"]


def test_closed_terminal_stops_the_run(dify_job: Command, server: FakeDify, environ: dict[str, str]) -> None:
    master, slave = pty.openpty()
    process = dify_job.start(
        "run",
        env=environ | {"DIFY_API_KEY": "app-slow"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, 0x540E, 0),  # TIOCSCTTY
    )
    os.close(slave)
    wait_until(lambda: server.runs)
    time.sleep(0.3)
    os.close(master)
    assert process.wait() == 129
    [line] = (dify_job.home / "state/history.jsonl").read_text().splitlines()
    assert "the server confirmed it" in json.loads(line)["message"]


def test_ignored_hangup_stays_ignored(dify_job: Command, server: FakeDify, environ: dict[str, str]) -> None:
    process = dify_job.start(
        "run",
        env=environ | {"DIFY_API_KEY": "app-two-seconds"},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    done = dify_job.signal_when(process, lambda: server.runs, signal.SIGHUP)
    assert done.code == 0


def test_signal_before_the_request_has_its_own_code(dify_job: Command, environ: dict[str, str]) -> None:
    process = dify_job.start("run", "--inputs", "-", env=environ, stdin=subprocess.PIPE)
    done = dify_job.signal_when(process, lambda: catches(process, signal.SIGHUP), signal.SIGHUP)
    assert done.code == 129
    assert done.result["message"].endswith("before it started a run")

"""Log formats: console with a progress line, JSON lines, the journal."""

import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dify_job import log
from dify_job.log import journal, redaction, stderr_is_journal
from tests.support.command import KEY, Command
from tests.support.terminal import read_terminal


def test_terminal_shows_the_node_in_a_progress_line(dify_job: Command, environ: dict[str, str]) -> None:
    master, slave = pty.openpty()
    process = dify_job.start(
        "run", env=environ | {"DIFY_API_KEY": "app-two-seconds", "TERM": "xterm"}, stderr=slave
    )
    os.close(slave)
    shown = read_terminal(master)
    stdout, _ = process.communicate()
    assert json.loads(stdout)["success"] is True
    assert "Think · nodes done: 1 · 1s" in shown.decode()
    assert shown.decode().rstrip().rpartition("\x1b[2K")[2].startswith("default: succeeded in")


def test_log_without_terminal_is_json_lines(dify_job: Command, environ: dict[str, str]) -> None:
    lines = [json.loads(line) for line in dify_job("run", "-v", env=environ).stderr.splitlines()]
    last = lines[-1]
    assert (last["event"], last["level"], last["outcome"], last["exit_code"]) == (
        "workflow succeeded",
        "info",
        "succeeded",
        0,
    )
    assert {line["job"] for line in lines} == {"default"}
    assert "node_finished" in {line["event"] for line in lines}


def test_quiet_run_logs_nothing_on_success(dify_job: Command, environ: dict[str, str]) -> None:
    assert dify_job("run", "-q", env=environ).stderr == ""


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_run_with_closed_descriptors_has_its_exit_status(
    dify_job: Command, environ: dict[str, str], closed: tuple[int, ...]
) -> None:
    ran = dify_job("run", env=environ, preexec_fn=lambda: list(map(os.close, closed)))
    assert ran.code == 0
    assert closed != (2,) or ran.result["outcome"] == "succeeded"
    past = json.loads(dify_job("history", "--json", env=environ).stdout)["runs"]
    assert [run["outcome"] for run in past] == ["succeeded"]


def test_no_color_is_honoured(dify_job: Command, environ: dict[str, str]) -> None:
    master, slave = pty.openpty()
    env = environ | {"DIFY_API_KEY": "app-fails", "NO_COLOR": "1", "TERM": "xterm"}
    process = dify_job.start("run", "--log-format", "console", env=env, stderr=slave)
    os.close(slave)
    shown = read_terminal(master)
    process.communicate()
    assert b"error: default: workflow failed" in shown
    assert b"\x1b[3" not in shown


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = tmp_path / "socket"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(path))
    server.settimeout(2)
    monkeypatch.setattr(journal, "_SOCKET", str(path))
    monkeypatch.setattr(journal, "_DRAIN", 0.05)
    with server:
        yield server


@pytest.fixture
def log_to_journal(journald: socket.socket) -> Iterator[journal.Journal]:
    assert journald.fileno() >= 0
    made = journal.Journal()
    yield made
    made.socket.close()


def entry(data: bytes) -> dict[str, str]:
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        if b"=" in line:
            key, _, value = line.partition(b"=")
        else:
            key, size = line, struct.unpack("<Q", data[:8])[0]
            value, data = data[8 : 8 + size], data[9 + size :]
        found[key.decode()] = value.decode()
    return found


def test_journal_entry_has_its_fields(journald: socket.socket, log_to_journal: journal.Journal) -> None:
    log_to_journal.error(event="two\nlines", workflow_run_id="r", message_id="failed", exit_code=80)
    assert entry(journald.recv(65536)) == {
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "dify-job",
        "MESSAGE": "two\nlines",
        "DIFY_WORKFLOW_RUN_ID": "r",
        "MESSAGE_ID": journal.MESSAGE_IDS["failed"],
        "DIFY_EXIT_CODE": "80",
    }


def test_value_too_long_for_a_datagram_is_cut(
    journald: socket.socket, log_to_journal: journal.Journal
) -> None:
    log_to_journal.info(event="x" * 1_000_000)
    assert 40_000 < len(entry(journald.recv(1_000_000))["MESSAGE"]) < 64_000


def test_unread_journal_does_not_delay_a_run(log_to_journal: journal.Journal) -> None:
    began = time.monotonic()
    log_to_journal.info(event="x")
    assert time.monotonic() - began < 60


def test_stderr_is_the_journal_only_if_device_and_inode_match() -> None:
    there = os.fstat(2)
    assert stderr_is_journal({"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"})
    assert not stderr_is_journal({"JOURNAL_STREAM": "8:1"})
    assert not stderr_is_journal({})


def test_input_named_secret_is_not_logged(dify_job: Command, environ: dict[str, str]) -> None:
    ran = dify_job(
        "run",
        "--log-level",
        "debug",
        "-i",
        "db_password=canary-pw",
        env=environ | {"DIFY_API_KEY": "app-form"},
    )
    assert "canary-pw" not in ran.stderr
    assert KEY not in ran.stderr


def test_server_text_cannot_hide_a_journal_entry_or_control_a_terminal(
    journald: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """journalctl shows a message with control characters only as `[123B blob data]`."""
    monkeypatch.setattr(log, "_logger", None)
    monkeypatch.setattr(log, "_level", log.INFO)
    monkeypatch.setattr(redaction, "_secrets", [])
    log.add_secret("app-canary-key")
    log.set_up(log_format="journal", level=log.INFO, job="a")
    log.error("failed: \x1b[2J\x00 app-canary-key", node="\x9b31m")
    assert log._logger is not None
    log._logger.sink.close()
    fields = entry(journald.recv(65536))
    assert fields["MESSAGE"] == "a: failed: \\x1b[2J\\x00 [hidden]"
    assert fields["DIFY_NODE"] == "\\x9b31m"


def test_signals_after_the_outcome_do_not_change_the_exit_status() -> None:
    code = (
        "from dify_job.cli.signals import Signals; from dify_job.dify.event_queue import EventQueue\n"
        "signals = Signals(EventQueue())\nsignals.code = 0\n"
        "print(flush=True)\nwhile True: pass"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    process.communicate()
    assert process.returncode == 0

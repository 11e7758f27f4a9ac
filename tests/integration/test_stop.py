"""`dify-job stop`, and commands of other tools."""

import signal
import socket
import subprocess
import sys

import pytest

from tests.support.fake_dify.server import FakeDify
from tests.support.home import CONFIG, Home
from tests.support.patience import wait_until

pytestmark = pytest.mark.timeout(600)  # on a loaded machine


@pytest.fixture
def hanging(home: Home) -> socket.socket:
    """A server that accepts connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    home.configure(CONFIG.replace("127.0.0.1:9", f"127.0.0.1:{port}") + 'timeout = "10min"\n')
    base = home.path / "state/dify-job"
    home.first = f"from dify_job.state import directories; directories.SYSTEM_BASE = Path({str(base)!r})"
    return listener


def test_run_without_a_unit_is_stopped(home: Home, server: FakeDify) -> None:
    home.configure(CONFIG.replace("http://127.0.0.1:9", server.base_url))
    (home.path / "key").write_text("app-slow")
    run = subprocess.Popen([*home.command, "run", "daily"], env=home.environ, stdout=subprocess.DEVNULL)
    wait_until(lambda: server.runs and server.runs[0].past)
    done = home("stop", "daily")
    assert (done.code, done.stdout, server.runs[0].status) == (0, "daily: stopped\n", "stopped"), done.stderr
    assert run.wait() == 143
    again = home("stop", "daily")
    assert (again.code, again.stdout) == (0, "daily: no run is in progress\n")


def test_stop_that_dify_did_not_confirm_is_a_failure(home: Home, hanging: socket.socket) -> None:
    with hanging:
        run = subprocess.Popen(
            [*home.command, "run", "daily"],
            env=home.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        connection, _ = hanging.accept()
        with connection:
            done = home("stop", "daily")
            assert (done.code, done.stdout) == (74, ""), "the server never named the run"
            assert "the run may still be in progress in Dify" in done.stderr
            assert run.wait() == 143
    again = home("stop", "daily")
    assert (again.code, again.stdout) == (74, ""), again.stderr


def test_stop_ignores_the_lock_file_of_an_ended_process(home: Home, hanging: socket.socket) -> None:
    with hanging, subprocess.Popen(["sleep", "60"]) as other:
        lock = home.path / "state/dify-job/daily/lock"
        lock.parent.mkdir(parents=True)
        lock.write_text(f"process {other.pid}\n")
        assert home("stop", "daily").stdout == "daily: no run is in progress\n"
        assert other.poll() is None
        other.kill()


def test_stop_ends_the_holder_of_the_lock_and_not_the_process_that_the_lock_names(
    home: Home, hanging: socket.socket
) -> None:
    lock = home.path / "state/dify-job/daily/lock"
    lock.parent.mkdir(parents=True)
    hold = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); "
    )
    with hanging, subprocess.Popen(["sleep", "60"]) as other:
        lock.write_text(f"process {other.pid}\n")
        with subprocess.Popen(
            [sys.executable, "-c", f"{hold}time.sleep(60)", lock], stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            assert home("stop", "daily").stdout == "daily: stopped\n"
            assert holder.wait() == -signal.SIGTERM
        assert other.poll() is None
        other.kill()


def test_running_service_is_stopped_by_systemd(home: Home) -> None:
    assert home("install", "--user").code == 0
    state = home.manager._read()
    home.manager._write(state | {"active": [*state["active"], "dify-job-daily.service"]})
    done = home("stop", "daily", "--user")
    assert (done.code, done.stdout) == (0, "daily: stopped\n"), done.stderr
    assert home.manager.active() == {"dify-job-daily.timer"}, "the schedule stays enabled"
    assert "stop dify-job-daily.service" in home.manager.log()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("list",), "dify-job status"),
        (("start", "daily"), "systemctl start dify-job-daily.service"),
        (("enable", "daily"), "dify-job resume daily"),
        (("disable", "daily"), "dify-job pause daily"),
        (("remove", "daily"), "dify-job uninstall daily"),
        (("rm", "daily"), "dify-job uninstall daily"),
        (("cancel", "daily"), "dify-job stop daily"),
        (("show", "daily"), "dify-job config show daily"),
        (("edit", "daily"), "dify-job config show daily"),
    ],
)
def test_command_of_another_tool_is_answered_with_the_right_one(
    words: tuple[str, ...], hint: str, home: Home
) -> None:
    refused = home(*words)
    assert (refused.code, refused.stdout) == (64, "")
    assert hint in refused.stderr
    assert home.manager.runs() == []


def test_units_name_the_manual(home: Home) -> None:
    assert home("install", "--user").code == 0
    for file in home.manager.units.glob("dify-job-*"):
        assert "\nDocumentation=man:dify-job(1)\n" in file.read_text(), file.name

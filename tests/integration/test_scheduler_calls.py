"""The scheduler calls of the Python interface, with fakes of systemd and cron."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.fake_manager import install_programs
from tests.support.home import Home

# The fakes are a user's, so the program chooses the user's scheduler, as root too.
PROGRAM = """
import json
from dify_job.compat import service
from dify_job.messages.errors import JobError
from dify_job.schedulers.model import Scope
service.chosen_scope = lambda _: Scope.USER
try:
    print(json.dumps(eval(sys.argv[1])))
except JobError as error:
    print(json.dumps([error.outcome, str(error)]))
"""


def call(home: Home, text: str) -> Any:
    """Evaluate a call in a program of its own."""
    argv = [sys.executable, "-c", home.prologue + PROGRAM, f"service.{text}"]
    done = subprocess.run(argv, env=home.environ, cwd=home.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("booted", [True, False], ids=["systemd", "cron"])
def test_job_is_scheduled_and_stopped(tmp_path: Any, booted: bool) -> None:
    home = Home(tmp_path, booted=booted, first="cron.is_running = lambda: True")
    before = call(home, "scheduler_status('daily')")
    assert (before["running"], before["message"]) == (False, "the job is not installed")
    started = call(home, "start_scheduler(3, 'daily')")
    assert (started["running"], started["job_name"]) == (True, "daily")
    assert ("dify-job-daily.timer" in home.manager.enabled()) is booted
    assert (b"daily" in home.table.read_bytes() if home.table.exists() else False) is not booted
    if not booted:
        assert started["next_run_time"] is not None
    assert home.manager.runs() == [], "nothing runs at once"
    assert call(home, "start_scheduler(2, 'daily')")["running"] is True
    stopped = call(home, "stop_scheduler('daily')")
    assert (stopped["running"], stopped["message"]) == (
        False,
        "the job is installed, but its schedule is disabled",
    )
    assert call(home, "stop_scheduler('daily')") == stopped
    assert call(home, "start_scheduler(2, 'daily')")["running"] is True


def test_the_only_job_needs_no_name(home: Home) -> None:
    assert call(home, "start_scheduler()")["job_name"] == "daily"
    assert call(home, "scheduler_status()")["running"] is True
    assert call(home, "stop_scheduler()")["running"] is False


def test_unknown_job_is_an_error(home: Home) -> None:
    outcome, message = call(home, "start_scheduler(1, 'weekly')")
    assert (outcome, "weekly" in message) == ("config", True)
    assert home.manager.log() == []


def test_crontab_that_cannot_be_read_is_the_message_of_the_status(cron_home: Home) -> None:
    denied = "You (maria) are not allowed to use this program (crontab)"
    install_programs(cron_home.path, cron_home.path / "bin", crontab_error=denied)
    for name in ("scheduler_status", "stop_scheduler"):
        status = call(cron_home, f"{name}('daily')")
        assert (status["running"], denied in status["message"]) == (False, True)

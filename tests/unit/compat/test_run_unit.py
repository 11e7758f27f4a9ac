"""Starting the service of a job, and what the caller learns of its run."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from dify_job.compat import run_unit
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.schedulers.model import Scope

UNIT = "dify-job-daily.service"
# `show` prints a file; `start` runs the script that stands for the service.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {home}/calls
case "$*" in
*" show "*) cat {home}/shown;;
*" start "*) sh {home}/service;;
esac
"""


@dataclass
class Service:
    """A service manager with one service.

    Attributes:
        home: Directory with its files.
        state: State directory of the job.
        config: Configuration of the job.
    """

    home: Path
    state: Path
    config: Path

    def show(self, **properties: str) -> None:
        """Set the properties that `systemctl show` prints."""
        shown = {"Id": UNIT, "LoadState": "loaded", "ActiveState": "inactive"} | properties
        (self.home / "shown").write_text("".join(f"{name}={value}\n" for name, value in shown.items()))

    def script(self, text: str) -> None:
        """Set what the service does."""
        (self.home / "service").write_text(text)

    def answer(self, **result: object) -> None:
        """Let the service answer the request with a result."""
        (self.home / "answer").write_text(json.dumps({"result": result}))
        self.script(f"cp {self.home}/answer {self.state}/request.json\n")

    def call(self) -> run_unit.CallResult:
        return run_unit.call("daily", self.config)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr(run_unit, "chosen_scope", lambda _: Scope.USER)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text(SYSTEMCTL.format(home=tmp_path))
    (tmp_path / "bin/systemctl").chmod(0o755)
    config = tmp_path / "config.toml"
    config.write_text('[jobs.daily]\nbase_url = "http://127.0.0.1:9"\nevery = "2h"\n')
    made = Service(tmp_path, Scope.USER.base / "daily", config)
    made.show()
    return made


def test_result_of_the_run_is_returned(service: Service) -> None:
    service.answer(success=True, message="workflow succeeded", response_data={"a": 1}, call_time="2026")
    assert service.call() == run_unit.CallResult(True, "workflow succeeded", {"a": 1}, "2026")
    assert not (service.state / "request.json").exists()
    calls = [line.split()[1:] for line in (service.home / "calls").read_text().splitlines()]
    assert [call[0] for call in calls if call[0] != "--no-ask-password"] == ["show"]
    assert calls[1:] == [["--no-ask-password", verb, UNIT] for verb in ("reset-failed", "start")]


def test_service_finds_the_request(service: Service) -> None:
    service.script(f"cp {service.state}/request.json {service.home}/found\n")
    service.call()
    assert json.loads((service.home / "found").read_text()).keys() == {"asked"}


def test_job_that_is_not_installed_is_not_called(service: Service) -> None:
    service.show(LoadState="not-found")
    with pytest.raises(JobError, match="is not installed with systemd") as caught:
        service.call()
    assert caught.value.outcome is Outcome.CONFIG
    assert " start " not in (service.home / "calls").read_text()


@pytest.mark.parametrize("busy", ["active", "activating"])
def test_run_under_way_is_not_called_again(service: Service, busy: str) -> None:
    service.show(ActiveState=busy)
    with pytest.raises(JobError) as caught:
        service.call()
    assert caught.value.outcome is Outcome.BUSY
    assert " start " not in (service.home / "calls").read_text()


def test_second_caller_is_busy(service: Service) -> None:
    service.state.mkdir(parents=True)
    directory = os.open(service.state, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        with pytest.raises(JobError) as caught:
            service.call()
    finally:
        os.close(directory)
    assert caught.value.outcome is Outcome.BUSY
    assert " start " not in (service.home / "calls").read_text()


@pytest.mark.parametrize(
    ("status", "code", "success", "message"),
    [
        ("0", 0, True, "workflow succeeded"),
        ("80", 1, False, "the run ended with failed, but without a response from Dify: "),
        ("0", 1, False, "the run ended without a result: no permission"),
    ],
)
@pytest.mark.parametrize("state", ["", 'state = "none"\n'])
def test_run_without_an_answer_is_judged_by_its_exit_code(
    service: Service, state: str, status: str, code: int, success: bool, message: str
) -> None:
    service.config.write_text(service.config.read_text() + state)
    result = "success" if status == "0" else "exit-code"
    service.show(Result=result, ExecMainStatus=status, ExecMainCode="1", ExecMainExitTimestamp="n/a")
    service.script(f"echo no permission >&2; exit {code}\n")
    answered = service.call()
    assert (answered.success, answered.response_data) == (success, None)
    assert answered.message.startswith(message), answered.message
    assert not (service.state / "request.json").exists()


def test_state_directory_that_cannot_be_written_is_an_error(service: Service) -> None:
    service.state.parent.mkdir(parents=True)
    service.state.write_text("in its place")
    with pytest.raises(JobError) as caught:
        service.call()
    assert caught.value.outcome is Outcome.CANNOT_WRITE

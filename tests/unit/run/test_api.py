"""run_workflow in a Python program: prints nothing, is typed, and is the function of the command."""

import logging
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

import dify_job
from dify_job import Outcome, run_workflow
from dify_job.dify.event_queue import EventQueue
from dify_job.run.run_spec import RunContext
from dify_job.state.store import JobState
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("K", "app-a")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    path = tmp_path / "c.toml"
    path.write_text(
        '[jobs.a]\nbase_url = "http://127.0.0.1:1"\napi_key_env = "K"\nretry = { attempts = 1 }\n'
        'inputs = { since = "{{ last_success.isoformat() if last_success }}" }\n'
    )
    return path


def test_run_workflow_returns_a_result_without_side_effects(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    root = list(logging.getLogger().handlers)
    with FakeDify([App("app-a", "Echo")]) as server:
        first = run_workflow("a", {"text": "x"}, config=config, base_url=server.base_url)
        second = run_workflow("a", config=config, base_url=server.base_url, timeout="1min")
    assert first.outcome is Outcome.SUCCEEDED
    assert first.run is not None
    assert server.runs[0].inputs == {"text": "x", "since": ""}
    began = datetime.fromisoformat(server.runs[1].inputs["since"])
    assert began == datetime.fromisoformat(first.call_time), "when the good run began"
    assert second.success
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert logging.getLogger().handlers == root


def test_run_workflow_in_a_thread_releases_the_lock_when_it_returns(config: Path, tmp_path: Path) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(run_workflow(config=config)))
    thread.start()
    thread.join(20)
    assert results[0].outcome is Outcome.UNREACHABLE
    JobState(tmp_path / "state").lock()


@pytest.mark.parametrize(
    ("job", "settings", "outcome"),
    [
        ("b", {}, Outcome.CONFIG),
        ("a", {"timeout": "soon"}, Outcome.USAGE),
        ("a", {"time_out": "5min"}, Outcome.USAGE),
        ("a", {"output": {"file": "/no/such/directory/file"}}, Outcome.CANNOT_WRITE),
        ("a", {"state": "none"}, Outcome.UNREACHABLE),
    ],
)
def test_error_is_a_result_and_not_an_exception(
    config: Path, job: str, settings: dict[str, object], outcome: Outcome
) -> None:
    result = run_workflow(job, config=config, **settings)  # type: ignore[arg-type] # one of them is wrong
    assert result.outcome is outcome
    assert result.message


def test_error_before_the_run_is_stored_as_the_last_result(config: Path, tmp_path: Path) -> None:
    run_workflow("a", config=config, output={"file": "/no/such/directory/file"})
    assert (JobState(tmp_path / "state").read("last.json") or {})["outcome"] == "cannot-write"


def test_signal_during_the_jitter_starts_nothing_and_is_stored(config: Path, tmp_path: Path) -> None:
    events = EventQueue()
    events.cancel(signal.SIGTERM)
    with FakeDify([App("app-a", "Echo")]) as server:
        context = RunContext(time.monotonic(), events, jitter=600.0)
        result = run_workflow("a", config=config, context=context, base_url=server.base_url)
        assert server.received == []
    assert (result.outcome, result.exit_code) == (Outcome.CANCELLED, 143)
    assert (JobState(tmp_path / "state").read("last.json") or {})["outcome"] == "cancelled"


def test_importing_the_package_imports_no_modules_of_it() -> None:
    code = "import sys, dify_job; print([name for name in sys.modules if name.startswith('dify_job.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert dify_job.__all__ == ["JobError", "Outcome", "Result", "run_workflow"]
    with pytest.raises(AttributeError, match="no attribute 'run_it'"):
        dify_job.run_it  # type: ignore[attr-defined] # noqa: B018 - the attribute access is the test

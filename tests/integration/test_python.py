"""The Python API: the same run as the command's, and the names of the original system."""

import asyncio
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import dify_job
from dify_job import JobError, Outcome, log, run_workflow
from dify_job.compat.service import checked_hours, manual_call_dify, scheduler_status
from dify_job.dify.event_queue import EventQueue
from dify_job.dify.models import Event
from dify_job.log import redaction
from dify_job.run.call_options import RunLimits
from dify_job.run.observers import RunObserver
from dify_job.run.run_spec import RunContext
from dify_job.state.history import read_history
from dify_job.system.templates import render_value
from tests.support.command import KEY
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until


@pytest.fixture
def config(server: FakeDify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("KEY", KEY)
    path = tmp_path / "config.toml"
    path.write_text(f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "KEY"\n')
    return path


def test_run_workflow_prints_nothing_and_configures_no_logging(
    config: Path, server: FakeDify, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    logs = (logging.root.level, list(logging.root.handlers))
    result = run_workflow("daily", {"topic": "sales"}, config=config)
    assert (result.outcome, result.exit_code, result.success) == (Outcome.SUCCEEDED, 0, True)
    assert result.response_data is not None
    assert result.response_data["data"]["outputs"]["topic"] == "sales"
    assert server.runs[0].inputs == {"topic": "sales"}
    assert capfd.readouterr() == ("", "")
    assert handlers == {number: signal.getsignal(number) for number in handlers}
    assert logs == (logging.root.level, list(logging.root.handlers))


def test_log_of_a_program_has_apprise_messages_without_secrets(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    urls = config.with_name("urls")
    urls.write_text("json://user:a-password@127.0.0.1:1/hook\n")
    urls.chmod(0o600)
    notify = f'[jobs.daily.notify]\non_success = ["apprise-url-from-file:{urls}"]\n'
    config.write_text(config.read_text() + notify)
    before = [list(logging.root.handlers), logging.getLogger("apprise").propagate]
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            assert run_workflow(config=config).success
    assert [list(logging.root.handlers), logging.getLogger("apprise").propagate] == before
    assert len(logging.getLogger("apprise").filters) == 1
    records = [record for record in caplog.records if record.name == "apprise"]
    assert records
    assert "a-password" not in caplog.text


def test_errors_are_a_result_and_not_an_exit(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "app-fails")
    assert run_workflow(config=config).outcome is Outcome.FAILED
    assert run_workflow("other", config=config).outcome is Outcome.CONFIG
    assert run_workflow(config=config.with_name("none.toml")).outcome is Outcome.CONFIG
    assert run_workflow(config=config, timeout="no time").outcome is Outcome.USAGE
    monkeypatch.setenv("KEY", "app-wrong")
    assert run_workflow(config=config).outcome is Outcome.DENIED


def test_run_workflow_works_outside_the_main_thread(config: Path) -> None:
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(run_workflow(config=config, state="none").outcome))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes == [Outcome.SUCCEEDED] * 4


def run_in_threads(work: Callable[[int], object], threads: int = 8) -> None:
    """Call `work` with its number in several threads, with frequent switches between them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        made = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in made:
            thread.start()
        for thread in made:
            thread.join(30)
    finally:
        sys.setswitchinterval(before)


def test_runs_in_threads_do_not_change_the_memory_limit() -> None:
    limit, seen = resource.getrlimit(resource.RLIMIT_AS), set()

    def render(number: int) -> None:
        for _ in range(100):
            assert render_value("{{ n }}", {"n": number}, "inputs.n") == str(number)
            seen.add(resource.getrlimit(resource.RLIMIT_AS))

    run_in_threads(render)
    assert seen == {limit}
    assert resource.getrlimit(resource.RLIMIT_AS) == limit


def test_secrets_of_simultaneous_runs_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", [])
    monkeypatch.setattr(redaction, "_keys", [])

    def hide(number: int) -> None:
        for each in range(50):
            log.add_secret(f"secret-{number}-{each}-", is_key=True)

    run_in_threads(hide)
    assert len(redaction._secrets) == len(redaction._keys) == 400


def test_importing_the_package_imports_few_modules() -> None:
    code = "import sys, dify_job; print([m for m in sys.modules if m[:9] == 'dify_job.' or m == 'requests'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not hasattr(dify_job, "no_such_name")
    assert set(dify_job.__all__) <= {name for name in dify_job.__all__ if hasattr(dify_job, name)}


def test_manual_call_dify_is_awaitable_and_has_four_fields(config: Path, server: FakeDify) -> None:
    result = asyncio.run(manual_call_dify(config=config))
    assert result.success is True
    assert result.message == "workflow succeeded"
    assert result.response_data is not None
    assert result.response_data["workflow_run_id"] == server.runs[0].run_id
    assert result.call_time[:4].isdigit()


def test_simultaneous_calls_do_not_block_each_other(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "app-two-seconds")

    async def both() -> list[bool]:
        began = asyncio.get_running_loop().time()
        results = await asyncio.gather(manual_call_dify(config=config), manual_call_dify(config=config))
        assert asyncio.get_running_loop().time() - began < 60
        return sorted(result.success for result in results)

    assert asyncio.run(both()) == [False, True]  # one run of a job at a time


def test_call_needs_no_thread_of_the_default_executor(config: Path) -> None:
    async def call_with_a_full_executor() -> bool:
        loop, free = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        held = loop.run_in_executor(None, free.wait, 20)
        try:
            return (await asyncio.wait_for(manual_call_dify(config=config), 15)).success
        finally:
            free.set()
            await held

    assert asyncio.run(call_with_a_full_executor()) is True


def test_cancelling_the_task_stops_the_run_in_dify(
    config: Path, server: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "app-slow")

    async def cancelled() -> None:
        task = asyncio.create_task(manual_call_dify(config=config))
        while not server.runs or not server.runs[0].past:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    until = time.monotonic() + 5
    while server.runs[0].status != "stopped" and time.monotonic() < until:
        time.sleep(0.05)
    assert server.runs[0].status == "stopped"


@pytest.fixture
def interrupts() -> Iterator[Callable[..., None]]:
    """Function that makes a signal handler raise in this thread, half a second after a condition is true."""

    def arrange(raised: type[BaseException], condition: Callable[[], object], times: int = 1) -> None:
        def raises(_signum: int, _frame: object) -> None:
            raise raised

        def send() -> None:
            wait_until(condition)
            for _ in range(times):
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, raises)
        threading.Thread(target=send).start()

    before = signal.getsignal(signal.SIGUSR1)
    yield arrange
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_exception_of_a_signal_handler_stops_the_run_and_propagates(
    raised: type[BaseException],
    config: Path,
    server: FakeDify,
    interrupts: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY", "app-slow")
    interrupts(raised, lambda: server.runs and server.runs[0].past)
    with pytest.raises(raised):
        run_workflow(config=config)
    assert server.runs[0].status == "stopped"
    [record] = read_history(config.with_name("state"))
    assert (record.outcome, record.message) == (
        "cancelled",
        "the run was cancelled; dify-job asked the server to stop the run, and the server confirmed it",
    )


def test_exception_of_a_signal_handler_during_an_event_stops_the_run(
    config: Path, server: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupt(RunObserver):
        sent = False

        def event(self, _event: Event) -> None:
            if not self.sent:
                self.sent = True
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("KEY", "app-slow")
    context = RunContext(time.monotonic(), EventQueue(), observers=(Interrupt(),))
    # A command that another test ran in this process can have restored the system's default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_workflow(config=config, context=context)
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.runs[0].status == "stopped"


def test_second_interrupt_returns_at_once(config: Path, interrupts: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        interrupts(KeyboardInterrupt, lambda: True, times=2)
        context = RunContext(time.monotonic(), EventQueue(), limits=RunLimits(first_ids=100.0))
        base_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(KeyboardInterrupt):
            run_workflow(config=config, base_url=base_url, context=context)
        assert time.monotonic() - context.began < 50, "it did not wait for the id of the run"


def test_scheduler_status_of_a_job_that_is_not_installed_is_not_running(config: Path) -> None:
    status = scheduler_status(config=config)
    assert (status.running, status.job_name, status.next_run_time) == (False, "daily", None)
    assert "not installed" in status.message
    assert json.loads(json.dumps(status)) == {
        "running": False,
        "job_name": "daily",
        "next_run_time": None,
        "message": status.message,
    }
    assert status["running"] is status.get("running") is False
    with pytest.raises(KeyError):
        status["runing"]
    assert not hasattr(status, "runing")


@pytest.mark.parametrize("hours", [0, -1, 1.5, "2", True, None, 10**6])
def test_interval_hours_must_be_a_positive_integer(hours: int) -> None:
    with pytest.raises(JobError, match="must be a whole number from 1 to"):
        checked_hours(hours)

"""Notifications: each receiver gets every end of a run exactly once, and cannot change the outcome."""

import contextlib
import fcntl
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from dify_job import run_workflow
from dify_job.config.secrets import url_credential
from dify_job.exit_codes import TABLE
from dify_job.run.notifications import exposition, is_notified_by_run
from dify_job.schedulers.job_spec import failure_unit_name
from dify_job.state.history import RunRecord, Summary
from tests.support.command import KEY, SHORT_WAITS, Command, program_with_limits, signal_again
from tests.support.command_result import CommandResult
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until
from tests.support.receivers import Receiver
from tests.support.scripted_server import STARTED, ScriptedServer, answer, finished, stream


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


class Job:
    """A job `daily` that notifies the receiver of every event."""

    def __init__(self, command: Command, receiver: Receiver, base_url: str) -> None:
        self.command = command
        self.receiver = receiver
        self.path = command.home / "c.toml"
        self.secrets = command.home / "urls"
        self.secrets.mkdir(mode=0o700)
        lists = {
            name: receiver.urls(self.secrets / name, name) for name in ("failure", "success", "recovery")
        }
        self.notify = "".join(f'on_{name} = ["{value}"]\n' for name, value in lists.items())
        self.configure(base_url)

    def configure(self, base_url: str, notify: str | None = None, more: str = "") -> None:
        settings = f'healthchecks = "{self.receiver.check}"\n{self.notify}' if notify is None else notify
        self.path.write_text(
            f'[jobs.daily]\nbase_url = "{base_url}"\napi_key_env = "KEY"\nretry = {{ attempts = 1 }}\n'
            f"{more}\n[jobs.daily.notify]\n{settings}"
        )

    def start(self, *args: str, key: str = KEY, **settings: Any) -> Any:
        env = {"DIFY_JOB_CONFIG": str(self.path), "KEY": key} | settings.pop("env", {})
        return self.command.start("run", "daily", *args, env=env, **settings)

    def __call__(self, *args: str, key: str = KEY, **settings: Any) -> CommandResult:
        process = self.start(*args, key=key, **settings)
        stdout, stderr = process.communicate()
        return CommandResult(process.wait(), stdout, stderr)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        (self.command.home / "state").mkdir(exist_ok=True)
        with (self.command.home / "state" / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@pytest.fixture
def job(dify_job: Command, receiver: Receiver, server: FakeDify) -> Job:
    return Job(dify_job, receiver, server.base_url)


def by_signal(job: Job, server: FakeDify, signum: int) -> CommandResult:
    process = job.start(key="app-slow")
    return job.command.signal_when(process, lambda: server.runs and job.receiver.pings, signum)


def by_script(job: Job, *args: str, **answers: Any) -> CommandResult:
    job.command.limits |= SHORT_WAITS
    with ScriptedServer(**answers) as scripted:
        job.configure(scripted.base_url)
        return job(*args)


def by_lock(job: Job, *args: str) -> CommandResult:
    with job.locked():
        return job(*args)


def by_bug(job: Job) -> CommandResult:
    (job.command.home / "sitecustomize.py").write_text(
        "import dify_job.run.engine as r\n"
        "def broken(*a, **k): raise RuntimeError('a bug')\n"
        "r.Engine = broken\n"
    )
    return job(env={"PYTHONPATH": str(job.command.home)})


def by_closed_port(job: Job) -> CommandResult:
    job.configure("http://127.0.0.1:1/v1")
    return job()


def by_expectation(job: Job) -> CommandResult:
    job.path.write_text(
        job.path.read_text().replace("retry =", 'expect = { "outputs.result" = "nonempty" }\nretry =', 1)
    )
    return job()


BROKEN = answer(500, b"oops")
# exit code: function that ends a run with it, and whether a start ping was sent before
ENDS = {
    0: (lambda job, _: job(), True),
    64: (lambda job, _: job("-i", "novalue"), False),
    65: (lambda job, _: job(key="app-form"), True),
    66: (lambda job, _: job("--inputs", "@/nonexistent"), False),
    69: (lambda job, _: by_closed_port(job), True),
    70: (lambda job, _: by_bug(job), False),
    73: (lambda job, _: job("--output", "/nonexistent/x/y"), False),
    74: (
        lambda job, _: by_script(job, "--timeout", "2s", post=BROKEN, logs=BROKEN),
        True,
    ),
    75: (lambda job, _: by_lock(job), False),
    76: (lambda job, _: by_script(job, post=answer(200, b"<html>log in</html>")), True),
    77: (lambda job, _: job(key="app-wrong"), True),
    78: (lambda job, _: job(key="app-off"), True),
    80: (lambda job, _: job(key="app-fails"), True),
    81: (lambda job, _: job(key="app-partial"), True),
    82: (lambda job, _: by_script(job, post=stream(STARTED, finished("stopped"))), True),
    83: (lambda job, _: job(key="app-human"), True),
    84: (lambda job, _: by_expectation(job), True),
    124: (lambda job, _: job("--timeout", "2s", key="app-slow"), True),
    129: (lambda job, server: by_signal(job, server, signal.SIGHUP), True),
    130: (lambda job, server: by_signal(job, server, signal.SIGINT), True),
    131: (lambda job, server: by_signal(job, server, signal.SIGQUIT), True),
    143: (lambda job, server: by_signal(job, server, signal.SIGTERM), True),
}


def test_table_of_ends_has_every_exit_code() -> None:
    assert set(ENDS) == {row.code for row in TABLE}


@pytest.mark.parametrize("code", ENDS)
def test_every_end_is_reported_once_to_each_receiver(
    job: Job, server: FakeDify, receiver: Receiver, code: int
) -> None:
    end_by, had_started = ENDS[code]
    ran = end_by(job, server)  # type: ignore[no-untyped-call] # lambdas in a table
    assert ran.code == code, ran.stderr
    assert [ping.what for ping in receiver.pings] == ["start"] * had_started + [str(code)]
    assert len({ping.rid for ping in receiver.pings}) == 1
    assert ran.result["message"] in receiver.ends[0].body
    occasion = "success" if code == 0 else "failure"
    assert [name for name, _ in receiver.hooks] == [occasion]
    [message] = receiver.messages(occasion)
    assert ran.result["message"] in message["message"]
    assert ran.result["outcome"] in message["title"] or code == 0
    assert message["type"] == occasion
    assert "s3cret" not in ran.stdout + ran.stderr
    assert receiver.CHECK not in ran.stdout + ran.stderr
    assert "warning" not in ran.stderr, "the notifications went well"


def test_skipped_run_is_not_reported(job: Job, receiver: Receiver) -> None:
    ran = by_lock(job, "--overlap", "skip")
    assert (ran.code, ran.result["outcome"]) == (0, "skipped")
    assert not receiver.pings
    assert not receiver.hooks


def test_recovery_is_the_first_success_after_failures_despite_skips(job: Job, receiver: Receiver) -> None:
    job()
    for _ in range(2):
        job(key="app-fails")
    by_lock(job, "--overlap", "skip")
    job()
    job()
    assert [name for name, _ in receiver.hooks] == [
        "success", "failure", "failure", "recovery", "success", "success",
    ] or [name for name, _ in receiver.hooks] == [
        "success", "failure", "failure", "success", "recovery", "success",
    ]  # fmt: skip
    [recovery] = receiver.messages("recovery")
    assert "succeeded after 2 failures" in recovery["title"]


def test_crash_in_notifications_does_not_change_the_result(job: Job) -> None:
    (job.command.home / "sitecustomize.py").write_text(
        "import dify_job.run.notifications as n\n"
        "def broken(*a, **k): raise RuntimeError('a bug')\n"
        "n.Notifier._ping_start = n.Notifier.ended = broken\n"
    )
    ran = job(env={"PYTHONPATH": str(job.command.home)})
    assert (ran.code, ran.result["outcome"]) == (0, "succeeded")
    assert ran.stderr.count("no notification was sent, because of an internal error: RuntimeError") == 2


def test_on_recovery_without_state_is_a_warning(job: Job, server: FakeDify) -> None:
    job.configure(server.base_url, more='state = "none"')
    assert "on_recovery has no effect" in job().stderr


def test_url_on_two_lists_gets_one_message(job: Job, server: FakeDify, receiver: Receiver) -> None:
    both = receiver.urls(job.secrets / "both", "one")
    job.configure(
        server.base_url, f'on_failure = ["{both}"]\non_success = ["{both}"]\non_recovery = ["{both}"]\n'
    )
    job(key="app-fails")
    job()
    titles = [message["title"] for message in receiver.messages("one")]
    assert len(titles) == 2
    assert "succeeded after a failure" in titles[1]


@pytest.mark.parametrize("base", ["{}/", "{}?create=1", "{}/?create=1"])
def test_ping_url_can_have_slash_or_query(job: Job, server: FakeDify, receiver: Receiver, base: str) -> None:
    job.configure(server.base_url, f'healthchecks = "{base.format(receiver.check)}"\n')
    assert job().code == 0
    assert [ping.what for ping in receiver.pings] == ["start", "0"]
    query = {"create": ["1"]} if "?" in base else {}
    assert [ping.query for ping in receiver.pings] == [query, query]


def test_notification_is_in_the_language_of_the_host(job: Job, receiver: Receiver) -> None:
    ran = job(key="app-fails", env={"LC_ALL": "zh_CN.UTF-8"})
    assert ran.result["message"].isascii()
    assert "工作流" in receiver.ends[0].body
    assert "工作流" in receiver.messages("failure")[0]["message"]


def test_body_of_a_ping_has_the_last_log_lines_limited_and_redacted(
    job: Job, server: FakeDify, receiver: Receiver
) -> None:
    long = "x" * 9_000 + f" {KEY} " + "y" * 9_000
    with ScriptedServer(post=stream(STARTED, finished("failed", error=long))) as scripted:
        job.configure(scripted.base_url)
        job()
    [ping] = receiver.ends
    assert len(ping.body.encode()) <= 10_000
    assert KEY not in ping.body
    receiver.pings.clear()
    job.configure(server.base_url)
    job(key="app-fails")
    assert "info: run started" in receiver.ends[0].body
    assert server.runs[-1].run_id in receiver.ends[0].body


@pytest.mark.parametrize(
    ("manner", "key", "code"), [("silent", KEY, 0), ("trickle", "app-fails", 80), ("broken", "app-fails", 80)]
)
def test_failing_receiver_is_a_warning_within_ten_seconds(
    job: Job, receiver: Receiver, manner: str, key: str, code: int
) -> None:
    receiver.manner = manner
    job.command.limits["deliveries"] = 1.0
    began = time.monotonic()
    ran = job(key=key)
    assert time.monotonic() - began < 60, "not as long as the receiver"
    assert (ran.code, ran.result["exit_code"]) == (code, code)
    assert "the ping to healthchecks failed: " in ran.stderr
    assert "the notification to the URL in line 1 of " in ran.stderr
    assert len(receiver.ends) == 1
    assert receiver.CHECK not in ran.stderr
    assert "s3cret" not in ran.stderr


def test_unreachable_receiver_is_a_warning(job: Job, receiver: Receiver, server: FakeDify) -> None:
    job.configure(server.base_url, f'healthchecks = "http://127.0.0.1:1/{receiver.CHECK}"\n{job.notify}')
    receiver.__exit__()
    ran = job()
    assert ran.code == 0
    assert "the ping to healthchecks failed: the receiver cannot be reached" in ran.stderr
    assert "Apprise could not deliver the notification" in ran.stderr


def test_run_exits_in_time_after_sigterm_with_a_silent_receiver(
    job: Job, receiver: Receiver, server: FakeDify
) -> None:
    receiver.manner = "silent"
    job.command.limits["deliveries"] = 1.0
    process = job.start(key="app-slow")
    began = time.monotonic()
    ran = job.command.signal_when(process, lambda: server.runs and receiver.pings)
    assert ran.code == 143
    assert time.monotonic() - began < 30, "within TimeoutStopSec=, including the stop of the run"


def test_second_signal_exits_at_once(job: Job, receiver: Receiver, server: FakeDify) -> None:
    receiver.manner = "silent"
    job.command.limits |= {"deliveries": 1000.0, "receiver": 1000.0}
    process = job.start(key="app-slow")
    wait_until(lambda: server.runs and receiver.pings)
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: receiver.hooks)
    signal_again(process)
    assert process.wait() == 143
    assert json.loads((job.command.home / "state/last.json").read_text())["outcome"] == "cancelled"


def test_lock_is_released_before_notifications(job: Job, receiver: Receiver) -> None:
    receiver.manner = "silent"
    process = job.start()
    wait_until((job.command.home / "state/last.json").exists)
    receiver.manner = "good"
    assert job().code == 0
    assert process.poll() is None
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda path: path.chmod(0o644), "can be read by other users"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("# none\n"), "contains no Apprise URL"),
        (lambda path: path.write_text("nonsense://x/y\n"), "Apprise does not know this kind of URL"),
    ],
)
def test_invalid_url_file_is_a_warning(job: Job, receiver: Receiver, fault: Any, words: str) -> None:
    fault(job.secrets / "success")
    ran = job()
    assert ran.code == 0
    assert words in ran.stderr
    assert [ping.what for ping in receiver.pings] == ["start", "0"]


def test_missing_apprise_is_a_warning_with_the_extra_to_install(job: Job) -> None:
    (job.command.home / "apprise.py").write_text("raise ImportError('not here')\n")
    ran = job(env={"PYTHONPATH": str(job.command.home)})
    assert ran.code == 0
    assert "pip install apprise" in ran.stderr


def test_credential_of_the_unit_replaces_the_url_file(job: Job, receiver: Receiver, tmp_path: Path) -> None:
    file = job.secrets / "success"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    file.rename(credentials / url_credential(file))
    (credentials / url_credential(file)).chmod(0o444)  # the mode of credentials for the unit's user
    ran = job(env={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert ran.code == 0, ran.stderr
    assert len(receiver.messages("success")) == 1


def test_url_in_the_config_is_rejected_and_not_shown(job: Job, server: FakeDify) -> None:
    job.configure(server.base_url, 'on_failure = ["mailto://me:s3cret@example.com"]\n')
    ran = job()
    assert ran.code == 78
    assert "must name a file (mode 0600, one Apprise URL per line)" in ran.stderr
    assert "s3cret" not in ran.stdout + ran.stderr


def test_python_api_sends_notifications(
    job: Job, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "app-fails")
    monkeypatch.setenv("STATE_DIRECTORY", str(job.command.home / "state"))
    assert run_workflow("daily", config=job.path).exit_code == 80
    assert [ping.what for ping in receiver.pings] == ["start", "80"]
    assert len(receiver.messages("failure")) == 1


def test_hanging_name_resolution_is_limited(job: Job, server: FakeDify) -> None:
    (job.command.home / "sitecustomize.py").write_text(
        "import socket, time\nreal = socket.getaddrinfo\n"
        "def slow(host, *a, **k):\n"
        "    if host == 'hangs.invalid': time.sleep(60)\n"
        "    return real(host, *a, **k)\n"
        "socket.getaddrinfo = slow\n"
    )
    job.configure(server.base_url, 'healthchecks = "http://hangs.invalid/x"\n')
    job.command.program = program_with_limits(deliveries=1.0)
    began = time.monotonic()
    ran = job(env={"PYTHONPATH": str(job.command.home)})
    assert ran.code == 0
    assert time.monotonic() - began < 50
    assert "the server did not answer in time" in ran.stderr


INVOCATION = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("handler", [True, False])
@pytest.mark.parametrize(("key", "code"), [("app-off", 78), ("app-fails", 80)])
def test_unit_with_a_failure_handler_leaves_some_ends_to_it(
    job: Job, receiver: Receiver, key: str, code: int, handler: bool
) -> None:
    units = job.command.home / ".config/systemd/user"
    units.mkdir(parents=True)
    if handler:
        (units / failure_unit_name("daily")).touch()
    ran = job("--scheduled", "--log-format", "json", key=key, env={"INVOCATION_ID": INVOCATION})
    assert ran.code == code
    left_to_handler = handler and code == 78
    assert [ping.what for ping in receiver.pings] == ["start"] + [str(code)] * (not left_to_handler)
    assert len(receiver.messages("failure")) == (not left_to_handler)
    if handler:  # which identifies the run by its invocation ID
        assert {ping.rid for ping in receiver.pings} == {str(UUID(INVOCATION))}


def test_manual_run_in_a_session_started_by_a_unit_reports_every_end(job: Job, receiver: Receiver) -> None:
    job(key="app-off", env={"INVOCATION_ID": INVOCATION})
    job(key="app-off", env={"INVOCATION_ID": INVOCATION})
    assert [ping.what for ping in receiver.pings] == ["start", "78", "start", "78"]
    assert len({ping.rid for ping in receiver.pings}) == 2


# The failure handler of a unit, started by `OnFailure=`


def monitored(result: str, code: str, status: str) -> dict[str, str]:
    """Return the MONITOR_ variables of systemd 251 and newer."""
    return {
        "MONITOR_SERVICE_RESULT": result,
        "MONITOR_EXIT_CODE": code,
        "MONITOR_EXIT_STATUS": status,
        "MONITOR_INVOCATION_ID": INVOCATION,
        "MONITOR_UNIT": "dify-job-daily.service",
    }


def handle(job: Job, env: dict[str, str], key: str = KEY) -> CommandResult:
    env = {"DIFY_JOB_CONFIG": str(job.path), "KEY": key} | env
    return job.command("notify", "--unit", "dify-job-daily.service", "daily", env=env)


@pytest.mark.parametrize(
    ("result", "code", "status", "ping", "words"),
    [
        ("oom-kill", "killed", "KILL", "fail", "no memory was left"),
        ("signal", "killed", "KILL", "fail", "the process of the run was killed by SIGKILL"),
        ("timeout", "killed", "KILL", "fail", "did not end in time"),
        ("core-dump", "dumped", "SEGV", "fail", "crashed"),
        ("exit-code", "exited", "203", "203", "the interpreter in ExecStart= is missing"),
        ("exit-code", "exited", "243", "243", "LoadCredential="),
        ("exit-code", "exited", "1", "1", "status 1, which dify-job does not use"),
        ("resources", "", "", "fail", "systemd reports resources"),
        ("start-limit-hit", "", "", "fail", "systemd reports start-limit-hit"),
        ("exit-code", "exited", "64", "64", "wrong flags"),
        ("exit-code", "exited", "70", "70", "an internal error of dify-job"),
        ("exit-code", "exited", "78", "78", "invalid configuration, key file"),
    ],
)
def test_handler_reports_records_and_counts_ends_that_the_run_could_not_report(
    job: Job, receiver: Receiver, result: str, code: str, status: str, ping: str, words: str
) -> None:
    ran = handle(job, monitored(result, code, status))
    assert ran.code == 0, ran.stderr
    [sent] = receiver.pings
    assert (sent.what, sent.rid) == (ping, str(UUID(INVOCATION)))
    assert words in sent.body
    [message] = receiver.messages("failure")
    assert words in message["message"]
    history = job.command("history", "daily", "--json", env={"DIFY_JOB_CONFIG": str(job.path)}).result
    assert [words in run["message"] for run in history["runs"]] == [True]
    assert job().code == 0
    assert "succeeded after a failure" in receiver.messages("recovery")[0]["title"]


def test_run_reports_all_exit_codes_but_three() -> None:
    assert {code for code in range(256) if is_notified_by_run(code)} == {row.code for row in TABLE} - {
        64,
        70,
        78,
    }


@pytest.mark.parametrize(("result", "code"), [("exit-code", 80), ("timeout", 143), ("oom-kill", 0)])
def test_handler_reports_nothing_that_the_run_reported(
    job: Job, receiver: Receiver, code: int, result: str
) -> None:
    assert handle(job, monitored(result, "exited", str(code))).code == 0
    assert not receiver.pings
    assert not receiver.hooks
    assert not (job.command.home / "state").exists()


def test_handler_reports_the_recorded_result_of_the_run(job: Job, receiver: Receiver) -> None:
    units = job.command.home / ".config/systemd/user"
    units.mkdir(parents=True)
    (units / failure_unit_name("daily")).touch()
    job("--scheduled", "--log-format", "json", key="app-off", env={"INVOCATION_ID": INVOCATION})
    handle(job, monitored("exit-code", "exited", "78"))
    assert [ping.what for ping in receiver.pings] == ["start", "78"]
    assert "is disabled" in receiver.ends[0].body
    assert len(receiver.messages("failure")) == 1
    history = job.command("history", "daily", "--json", env={"DIFY_JOB_CONFIG": str(job.path)}).result
    assert len(history["runs"]) == 1


@pytest.mark.parametrize(
    ("key", "pings"), [("app-fails", ["start", "80"]), (KEY, ["start", "0", "fail"]), (None, ["fail"])]
)
def test_record_of_the_run_decides_if_no_manager_can_be_queried(
    job: Job, receiver: Receiver, key: str | None, pings: list[str]
) -> None:
    if key is not None:
        job(key=key)
    ran = handle(job, {"PATH": "/nonexistent"})
    assert ran.code == 0, ran.stderr
    assert [ping.what for ping in receiver.pings] == pings
    assert len(receiver.messages("failure")) == 1


def test_killed_run_is_reported_with_its_id(job: Job, receiver: Receiver, server: FakeDify) -> None:
    process = job.start(key="app-slow")
    in_flight = job.command.home / "state" / "in-flight.json"
    wait_until(lambda: server.runs and in_flight.exists() and server.runs[0].run_id in in_flight.read_text())
    process.kill()
    process.communicate()
    handle(job, monitored("oom-kill", "killed", "KILL"))
    [end] = receiver.ends
    assert server.runs[0].run_id in end.body
    assert "the run may still be in progress in Dify" in end.body


@pytest.mark.parametrize("broken", ["[jobs.daily\n", "[jobs.daily]\nnonsense = 1\n", None])
def test_broken_configuration_is_reported_to_the_installed_receivers(
    job: Job, receiver: Receiver, broken: str | None
) -> None:
    if broken is None:
        job.path.unlink()
    else:
        job.path.write_text(broken)
    receivers = {
        "healthchecks": receiver.check,
        "on_failure": [f"apprise-url-from-file:{job.secrets / 'failure'}"],
    }
    ran = handle(job, monitored("exit-code", "exited", "78") | {"DIFY_JOB_NOTIFY": json.dumps(receivers)})
    assert ran.code == 0, ran.stderr
    assert [ping.what for ping in receiver.pings] == ["78"]
    assert str(job.path) in receiver.messages("failure")[0]["message"]


# Test messages


def test_notify_command_sends_one_test_message_per_receiver(job: Job, receiver: Receiver) -> None:
    ran = job.command("notify", "daily", env={"DIFY_JOB_CONFIG": str(job.path)})
    assert ran.code == 0, ran.stdout + ran.stderr
    assert [ping.what for ping in receiver.pings] == ["log"]
    assert sorted(name for name, _ in receiver.hooks) == ["failure", "recovery", "success"]
    assert "a test message" in receiver.messages("failure")[0]["message"]
    assert ran.stdout.count(": sent\n") == 4
    assert not (job.command.home / "state").exists()


def test_notify_command_reports_failing_receivers(job: Job, receiver: Receiver, server: FakeDify) -> None:
    job.configure(server.base_url, f'healthchecks = "http://{receiver.address}/ping/unknown"\n{job.notify}')
    (job.secrets / "success").write_text(f"json://{receiver.address}/hook/success\njson://127.0.0.1:1/x\n")
    ran = job.command("notify", "daily", env={"DIFY_JOB_CONFIG": str(job.path)})
    assert ran.code == 1
    assert "the ping to healthchecks could not be sent: the receiver answered 'OK (not found)'" in ran.stdout
    assert (
        f"line 2 of {job.secrets / 'success'} could not be sent: Apprise could not deliver the notification"
        in ran.stdout
    )
    assert ran.stdout.count(": sent\n") == 3
    job.configure(server.base_url, "")
    assert job.command("notify", "daily", env={"DIFY_JOB_CONFIG": str(job.path)}).code == 78


# Metrics


@pytest.fixture
def textfile(job: Job, server: FakeDify) -> Path:
    path = job.command.home / "daily.prom"
    job.configure(server.base_url, "", f'metrics = {{ textfile = "{path}" }}')
    return path


def metrics_of(path: Path) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text())
    return {sample.name.removeprefix("dify_job_"): sample.value for one in families for sample in one.samples}


def test_run_writes_prometheus_metrics(job: Job, textfile: Path) -> None:
    before = time.time()
    job()
    good = metrics_of(textfile)
    assert textfile.stat().st_mode & 0o777 == 0o644
    assert before - 1 < good["last_run_timestamp_seconds"] < time.time()
    assert good["last_success_timestamp_seconds"] == good["last_run_timestamp_seconds"]
    assert (good["last_run_success"], good["last_run_exit_code"], good["failures_in_a_row"]) == (1, 0, 0)
    assert good["last_run_duration_seconds"] > 0
    page = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    assert set(re.findall(r"`dify_job_(\w+)", page)) == {*good}
    job(key="app-fails")
    job(key="app-wrong")
    bad = metrics_of(textfile)
    assert (bad["last_run_success"], bad["last_run_exit_code"], bad["failures_in_a_row"]) == (0, 77, 2)
    assert bad["last_success_timestamp_seconds"] == good["last_success_timestamp_seconds"]
    assert 'outcome="denied"' in textfile.read_text()
    assert [path.name for path in textfile.parent.glob("*.prom*")] == ["daily.prom"]


def test_failed_write_of_metrics_is_a_warning(job: Job, server: FakeDify) -> None:
    job.configure(server.base_url, "", 'metrics = { textfile = "/dev/null/daily.prom" }')
    ran = job()
    assert ran.code == 0
    assert "the metrics file could not be written: Not a directory" in ran.stderr


@given(st.text(), st.text())
def test_any_label_value_survives_the_text_format(outcome: str, run_id: str) -> None:
    run = RunRecord(call_time="", outcome=outcome, exit_code=None, message="", run_id=run_id)
    text = "".join(exposition("daily", run, Summary()))
    samples = [sample for one in text_string_to_metric_families(text) for sample in one.samples]
    [info] = [sample for sample in samples if sample.name == "dify_job_last_run_info"]
    assert info.labels == {"job": "daily", "outcome": outcome, "workflow_run_id": run_id}

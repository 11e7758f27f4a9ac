"""Checks of doctor: each fault changes one finding, and the suggested fix restores it."""

import fcntl
import json
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from dify_job.checks.context import HostContext
from dify_job.checks.finding import Severity
from dify_job.checks.registry import check_jobs
from dify_job.checks.scheduler import check_backend
from dify_job.cli.options import Globals
from dify_job.cli.output import reader
from dify_job.config.loader import load_config, pick
from dify_job.schedulers.model import Scope
from dify_job.schedulers.systemctl import Manager
from tests.support.command import APPS, KEY, Command, tls
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify
from tests.support.fixes import command_in
from tests.support.patience import wait_until
from tests.support.scripted_server import RawResponse, ScriptedServer, answer

FORM = (
    {"text-input": {"variable": "topic", "label": "Topic", "required": True, "max_length": 8}},
    {"select": {"variable": "tone", "label": "Tone", "required": False, "options": ["dry", "warm"]}},
    {"number": {"variable": "count", "label": "Count", "required": False}},
    {"file": {"variable": "doc", "label": "Doc", "required": False}},
    {"file-list": {"variable": "docs", "label": "Docs", "required": False, "max_length": 2}},
)
FORM_KEY = "app-with-a-form-0123456789"

Lines = dict[str, tuple[str, str, str | None]]


@dataclass
class DoctorCase:
    """A job and its server."""

    command: Command
    server: FakeDify

    @property
    def config(self) -> Path:
        return self.command.home / "config.toml"

    @property
    def key(self) -> Path:
        return self.command.home / "key"

    def write(self, text: str = "", inputs: str = 'topic = "sales"') -> None:
        defaults = f'[defaults]\nbase_url = "{self.server.base_url}"\n'
        job = f'[jobs.daily]\napi_key_file = "{self.key}"\n{text}\ninputs = {{ {inputs} }}\n'
        self.config.write_text(defaults + job)

    def set_key(self, key: str) -> None:
        self.key.write_text(key)
        self.key.chmod(0o600)

    def run(self, *args: str, **settings: Any) -> Any:
        return self.command("--config", str(self.config), *args, **settings)

    def doctor(self) -> Lines:
        """Return the findings; runs in this process, which is ten times as fast."""
        options = Globals()
        options.config_path = self.config
        [(_, found)] = check_jobs("daily", config_path=self.config, env_file=None)
        with click.Context(click.Command("doctor"), obj=options):
            checks = [check.for_reader(reader()) for check in found]
        lines = {check.name: (check.severity.name.lower(), check.message, check.fix) for check in checks}
        assert len(lines) == len(checks)
        assert all((level == "ok") == (fix is None) for level, _, fix in lines.values()), lines
        return lines


@pytest.fixture
def case(dify_job: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[DoctorCase]:
    monkeypatch.setenv("HOME", str(dify_job.home))
    monkeypatch.setenv("STATE_DIRECTORY", str(dify_job.home / "state"))
    monkeypatch.chdir(dify_job.home)
    with FakeDify((*APPS, App(FORM_KEY, "Daily report", form=FORM))) as server:
        made = DoctorCase(dify_job, server)
        made.set_key(FORM_KEY)
        made.write()
        yield made
        assert not [one for one in server.received if one.method != "GET" and not one.path.endswith("/run")]


def assert_found_and_fixed(
    case: DoctorCase,
    name: str,
    level: str,
    message: str,
    break_it: Callable[[], object],
    apply_fix: Callable[[], object],
) -> str | None:
    """Cause a fault, assert that one finding changes, apply its fix, assert that all is well again.

    Args:
        case: The job.
        name: The check that reports the fault.
        level: Expected level.
        message: Expected part of the message.
        break_it: Causes the fault.
        apply_fix: Applies the suggested fix.

    Returns:
        The suggested fix.
    """
    posts = len([one for one in case.server.received if one.method == "POST"])
    before = case.doctor()
    assert before[name][0] == "ok" if name in before else True, before[name]
    break_it()
    broken = case.doctor()
    assert broken[name][0] == level, broken
    assert message in broken[name][1], broken[name]
    others = {key: line[0] for key, line in broken.items() if key != name}
    assert others.items() <= {key: line[0] for key, line in before.items()}.items()
    apply_fix()
    after = case.doctor()
    assert {key: line[0] for key, line in after.items()} == {key: line[0] for key, line in before.items()}
    assert len([one for one in case.server.received if one.method == "POST"]) == posts
    return broken[name][2]


def shell(case: DoctorCase, name: str, typed: str = "") -> Callable[[], None]:
    """Return a function that pastes the suggested fix of a check into a shell; `typed` is its input."""

    def paste() -> None:
        command = command_in(case.doctor()[name][2])
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = os.environ | {"PATH": path}
        subprocess.run(["sh", "-ec", command], input=typed, text=True, env=env, check=True)

    return paste


def test_healthy_job_has_a_finding_per_check_and_starts_no_run(case: DoctorCase) -> None:
    ran = case.run("doctor", "--json")
    data = json.loads(ran.stdout)
    assert (data["schema"], data["jobs"][0]["job"]) == (1, "daily")
    assert data["worst"] == data["jobs"][0]["worst"] == ["ok", "warn", "fail"][ran.code]
    assert set(data["jobs"][0]["checks"][0]) == {"check", "level", "message", "fix"}
    lines = {line["check"]: line["level"] for line in data["jobs"][0]["checks"]}
    assert list(lines) == [
        "config", "key", "tls", "server", "access", "app", "inputs", "schedule", "zone", "backend", "units",
        "clock", "journal", "state", "disk", "last-run",
    ]  # fmt: skip
    bad = {name for name, level in lines.items() if level != "ok"}
    assert bad <= {
        "units",
        "journal",
        "backend",
    }  # checks that need an installed job or depend on the machine
    assert {one.method for one in case.server.received} == {"GET"}
    assert not (case.command.home / "state").exists()


def test_text_output_has_findings_and_fixes_and_no_key(case: DoctorCase) -> None:
    case.key.chmod(0o644)
    ran = case.run("doctor")
    assert ran.code == 2
    [at] = [n for n, line in enumerate(ran.stdout.splitlines()) if line.startswith("  fail  key ")]
    assert f"chmod 600 {case.key}" in ran.stdout.splitlines()[at + 1]
    assert "\x1b" not in ran.stdout
    case.key.chmod(0o600)
    assert FORM_KEY not in case.run("doctor").stdout


def test_unreadable_config_is_a_failure_of_doctor(case: DoctorCase) -> None:
    case.config.write_text('[jobs.daily]\ntimeot = "5min"\n')
    ran = case.run("doctor", "--json")
    assert ran.code == 2
    [line] = json.loads(ran.stdout)["jobs"][0]["checks"]
    assert (line["check"], line["level"]) == ("config", "fail")
    assert "did you mean timeout" in line["message"]
    assert case.run("doctor", "nobody").code == 2
    assert case.run("doctor", "--bad-flag").code == 64


# Key


def test_key_file_readable_by_others(case: DoctorCase) -> None:
    assert_found_and_fixed(
        case,
        "key",
        "fail",
        "can be read by other users",
        lambda: case.key.chmod(0o644),
        shell(case, "key"),
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "is empty"),
        (f"Bearer {FORM_KEY}", "must not begin with 'Bearer '"),
        (f"{FORM_KEY}\nx", "a line break"),
    ],
)
def test_malformed_key(case: DoctorCase, key: str, message: str) -> None:
    assert_found_and_fixed(
        case, "key", "fail", message, lambda: case.set_key(key), shell(case, "key", FORM_KEY)
    )


def test_missing_key_file(case: DoctorCase) -> None:
    assert_found_and_fixed(case, "key", "fail", "No such file", case.key.unlink, shell(case, "key", FORM_KEY))


def test_key_rejected_by_dify(case: DoctorCase) -> None:
    fix = assert_found_and_fixed(
        case,
        "access",
        "fail",
        "does not accept the API key",
        lambda: case.set_key("app-wrong-012345678"),
        shell(case, "access", FORM_KEY),
    )
    assert fix == f"dify-job --config {case.config} secret set daily"


# Server


def test_unreachable_server(case: DoctorCase) -> None:
    broken = case.server.base_url
    fix = assert_found_and_fixed(
        case,
        "server",
        "fail",
        "the server refused the connection",
        lambda: case.config.write_text(case.config.read_text().replace(broken, "http://127.0.0.1:9/v1")),
        case.write,
    )
    assert fix is not None
    assert f"edit base_url in {case.config}:2" in fix


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>login</html>", "not come from Dify"),
        (404, b"<html>nothing here</html>", "not come from Dify"),
        (502, b"<html>bad gateway</html>", "HTTP 502"),
        (500, {"code": "internal_server_error", "message": "no db", "status": 500}, "no db"),
        (401, b"<html>who are you</html>", "requires a login"),
    ],
)
def test_response_of_another_server(case: DoctorCase, status: int, body: object, message: str) -> None:
    with ScriptedServer(other=answer(status, body)) as other:
        assert_found_and_fixed(
            case,
            "server",
            "fail",
            message,
            lambda: case.config.write_text(
                case.config.read_text().replace(case.server.base_url, other.base_url)
            ),
            case.write,
        )
        assert other.count("post") == 0


def test_untrusted_or_expiring_certificate(
    case: DoctorCase,
    certificate: tuple[Path, Path],
) -> None:
    with tls(FakeDify([App(FORM_KEY, form=FORM)]), certificate) as server:
        url = server.base_url.replace("http://127.0.0.1", "https://localhost")
        plain = case.config.read_text().replace(case.server.base_url, url)
        case.config.write_text(plain)
        level, message, fix = case.doctor()["server"]
        assert (level, "the TLS certificate is not trusted" in message) == ("fail", True)
        assert fix is not None
        assert fix.startswith(f"set ca_file in the table [jobs.daily] of {case.config} to the PEM file")
        case.config.write_text(plain + f'ca_file = "{certificate[1]}"\n')
        lines = case.doctor()
    assert lines["server"][0] == lines["app"][0] == "ok"
    assert lines["tls"][0] == "warn"
    assert "the certificate of localhost is valid until" in lines["tls"][1]


def test_missing_ca_file(case: DoctorCase) -> None:
    assert_found_and_fixed(
        case,
        "tls",
        "fail",
        "No such file",
        lambda: case.write('ca_file = "/nowhere.pem"'),
        case.write,
    )


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (App(FORM_KEY, published=False), "choose Publish"),
        (App(FORM_KEY, api_enabled=False), "Backend Service API"),
        (App(FORM_KEY, mode="advanced-chat"), "key of a workflow app"),
    ],
)
def test_app_that_is_no_published_workflow(case: DoctorCase, app: App, message: str) -> None:
    good = case.server.apps[FORM_KEY]
    fix = assert_found_and_fixed(
        case,
        "app",
        "fail",
        "",
        lambda: case.server.apps.update({FORM_KEY: app}),
        lambda: case.server.apps.update({FORM_KEY: good}),
    )
    assert fix is not None
    assert message in fix


def test_clock_different_from_the_server(case: DoctorCase) -> None:
    past = {"Date": "Tue, 24 Nov 2020 10:00:00 GMT"}
    info = answer(200, {"name": "x", "mode": "workflow"}, past, version="1.14.2")
    form = answer(200, {"user_input_form": []}, past, version="1.14.2")
    with ScriptedServer(other=[info, form]) as other:
        case.config.write_text(case.config.read_text().replace(case.server.base_url, other.base_url))
        level, message, _ = case.doctor()["clock"]
    assert level == "warn"
    assert "ahead of the server's" in message
    case.write()  # a server whose clock is right
    assert case.doctor()["clock"][0] == "ok"


@pytest.mark.parametrize(
    "date", ["soon", f"21 Oct {'9' * 30} 07:28:00 GMT", "Wed, 21 Oct 2015 07:28 +99999999"]
)
def test_invalid_date_of_the_server_is_ignored(case: DoctorCase, date: str) -> None:
    odd = {"Date": date}
    info = answer(200, {"name": "x", "mode": "workflow"}, odd, version="1.14.2")
    form = answer(200, {"user_input_form": []}, odd, version="1.14.2")
    with ScriptedServer(other=[info, form]) as other:
        case.config.write_text(case.config.read_text().replace(case.server.base_url, other.base_url))
        assert case.doctor()["server"][0] == "ok"


# Inputs and outputs


@pytest.mark.parametrize(
    ("inputs", "level", "message"),
    [
        ("", "fail", "the input topic is required by the app, but has no value"),
        ("topic = 3", "fail", "the input topic must be a string"),
        ('topic = "123456789"', "fail", "the input topic has 9 characters, but the app allows at most 8"),
        ('topic = "a", tone = "loud"', "fail", "the input tone must be one of 'dry', 'warm'"),
        ('topic = "a", count = "many"', "fail", "the input count must be a number"),
        ('topic = "a", topik = "b"', "warn", "no input topik, so Dify ignores the value"),
        ('topic = "{{ nothing }}"', "fail", "cannot be rendered"),
        ('topic = "a", doc = "/etc/hosts"', "fail", "the input doc takes a file"),
    ],
)
def test_inputs_that_the_app_rejects_or_ignores(
    case: DoctorCase, inputs: str, level: str, message: str
) -> None:
    assert_found_and_fixed(case, "inputs", level, message, lambda: case.write(inputs=inputs), case.write)


VERSION = "00000000-0000-4000-8000-000000000000"
NOT_ITS_FORM = f"version {VERSION} (workflow_id) can have a different form"


@pytest.mark.parametrize(
    ("inputs", "level", "message"),
    [
        ('topic = "a"', "ok", "match the app's input form"),
        ("", "warn", "the input topic is required by the app, but has no value"),
        ('topic = "a", topik = "b"', "warn", "so Dify ignores the value"),
        (
            'count = ["a"]',
            "fail",
            "the input topic is required by the app, but has no value",
        ),  # the run also requests the form
    ],
)
def test_form_of_a_pinned_version_is_unknown(case: DoctorCase, inputs: str, level: str, message: str) -> None:
    case.write(f'workflow_id = "{VERSION}"', inputs)
    finding = case.doctor()["inputs"]
    assert finding[0] == level
    assert message in finding[1]
    assert finding[1].endswith(NOT_ITS_FORM)
    case.run("run", "--timeout", "20s")
    posts = [one.path for one in case.server.received if one.method == "POST"]
    assert posts == ([] if level == "fail" else [f"/v1/workflows/{VERSION}/run"])


@pytest.mark.parametrize(
    ("text", "inputs", "check", "expected"),
    [
        (
            "",
            "",
            "inputs",
            'edit the setting "inputs" in {config}:6; the app has these inputs: topic, tone, count, ',
        ),
        (
            "",
            'topic = "{{ x }}"',
            "inputs",
            'edit the setting "inputs" in {config}:6; a template can use these names: ',
        ),
        ('files = { topic = "/etc/hosts" }', "", "files", 'edit the setting "files" in {config}:5; compare '),
        ('files = { doc = "/no" }', "", "files", "create the missing file so that "),
        (
            'calendar = "x"',
            "",
            "schedule",
            'edit the setting "calendar" in {config}:5; write calendar as described in systemd.time',
        ),
        ('every = "5min"\njitter = "5min"', "", "schedule", "set a shorter jitter in {config}:6"),
        ('ca_file = "/no"', "", "tls", "edit ca_file in {config}:5: name a PEM file, or "),
    ],
)
def test_edit_names_the_setting_and_its_line(
    case: DoctorCase, text: str, inputs: str, check: str, expected: str
) -> None:
    case.write(text, inputs)
    fix = case.doctor()[check][2]
    assert fix is not None
    assert fix.startswith(expected.format(config=case.config))


def test_edit_of_a_new_setting_names_the_table_of_the_job(case: DoctorCase) -> None:
    lines = case.config.read_text().splitlines()
    case.config.write_text("\n".join(line for line in lines if not line.startswith("inputs")))
    fix = case.doctor()["inputs"][2]
    assert str(fix).startswith(f'edit the setting "inputs" in the table [jobs.daily] of {case.config}; ')


def test_missing_or_too_large_file(case: DoctorCase) -> None:
    report = case.command.home / "report.pdf"
    text = f'files = {{ doc = "{report}" }}'
    report.write_bytes(b"x")
    case.write(text)
    assert_found_and_fixed(
        case, "files", "fail", "No such file", report.unlink, lambda: report.write_bytes(b"x")
    )
    assert_found_and_fixed(
        case,
        "files",
        "fail",
        "but the server takes at most",
        lambda: os.truncate(report, 15 * 1024 * 1024 + 1),
        lambda: os.truncate(report, 15 * 1024 * 1024),
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ('dok = "/etc/hosts"', "a file for the input dok"),
        ('topic = "/etc/hosts"', "the input topic takes no file"),
        ('doc = ["/etc/hosts", "/etc/passwd"]', "the input doc takes one file, but the job gives 2 files"),
        (
            'docs = ["/etc/hosts", "/etc/hosts", "/etc/hosts"]',
            "the input docs takes at most 2 files, but the job gives 3 files",
        ),
        ('doc = "/etc"', "it is not a regular file"),
    ],
)
def test_files_that_the_app_rejects(case: DoctorCase, files: str, message: str) -> None:
    good = 'files = { doc = "/etc/hosts" }'
    case.write(good)
    bad = f"files = {{ {files} }}"
    assert_found_and_fixed(case, "files", "fail", message, lambda: case.write(bad), lambda: case.write(good))


def test_missing_output_directory(case: DoctorCase) -> None:
    out = case.command.home / "out"
    out.mkdir()
    case.write(f'output = {{ file = "{out}/{{{{ today }}}}.json" }}')
    assert_found_and_fixed(case, "output", "fail", "does not exist", out.rmdir, shell(case, "output"))


def test_missing_file_of_notification_urls(case: DoctorCase) -> None:
    urls = case.command.home / "urls"
    urls.write_text("json://127.0.0.1:9\n")
    urls.chmod(0o600)
    case.write(f'notify = {{ on_failure = "apprise-url-from-file:{urls}" }}')
    content = urls.read_bytes()

    def restore() -> None:
        urls.write_bytes(content)
        urls.chmod(0o600)

    before = case.doctor()["notify"]
    urls.unlink()
    level, message, _ = case.doctor()["notify"]
    assert (level, "nobody will be notified" in message) == ("warn", True)
    restore()
    assert case.doctor()["notify"] == before


def test_missing_directory_for_metrics(case: DoctorCase) -> None:
    out = case.command.home / "textfiles"
    out.mkdir()
    case.write(f'metrics = {{ textfile = "{out}/dify.prom" }}')
    assert_found_and_fixed(case, "output", "fail", "does not exist", out.rmdir, shell(case, "output"))


# Schedule


@pytest.mark.parametrize(
    ("text", "level", "message"),
    [
        ('calendar = "2020-01-01 07:00:00"', "fail", "no time in the future"),
        ('calendar = "nonsense"', "fail", "nonsense"),
        ('every = "5min"\njitter = "5min"', "warn", "jitter is 5min, but two runs can be only 5min apart"),
        ('calendar = "02:30:00"\ntimezone = "Europe/Berlin"', "warn", "clocks go forward in Europe/Berlin"),
    ],
)
def test_schedule_with_unexpected_times(case: DoctorCase, text: str, level: str, message: str) -> None:
    assert_found_and_fixed(case, "schedule", level, message, lambda: case.write(text), case.write)


# State


def test_state_directory_that_is_a_file(case: DoctorCase) -> None:
    state = case.command.home / "state"
    assert_found_and_fixed(
        case, "state", "fail", "is not a directory", lambda: state.write_text(""), shell(case, "state")
    )


def test_lock_held_longer_than_a_run_can_take(case: DoctorCase) -> None:
    state = case.command.home / "state"
    state.mkdir()
    lock = state / "lock"
    lock.write_text("process 12345\n")  # a claim; the kernel knows the holder
    with lock.open() as held:
        assert_found_and_fixed(
            case,
            "state",
            "warn",
            f"(process {os.getpid()}) has been in progress",
            lambda: fcntl.flock(held, fcntl.LOCK_EX) or os.utime(lock, (0, 0)),  # type: ignore[func-returns-value]
            lambda: fcntl.flock(held, fcntl.LOCK_UN),
        )
        fcntl.flock(held, fcntl.LOCK_EX)
        os.utime(lock)
        level, message, _ = case.doctor()["state"]
        assert (level, f"a run is in progress (process {os.getpid()})" in message) == ("ok", True)


def test_fix_for_a_hanging_lock_holder_ends_its_process(case: DoctorCase) -> None:
    state = case.command.home / "state"
    state.mkdir()
    lock = state / "lock"
    script = f"import fcntl, os, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
    script += "f.write(f'process {os.getpid()}'); f.flush(); os.utime(f.name, (0, 0)); print(flush=True); "
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}time.sleep(60)"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        level, _, fix = case.doctor()["state"]
        assert (level, fix) == ("warn", f"kill {holder.pid}")
        shell(case, "state")()
        holder.wait()
    assert case.doctor()["state"][0] == "ok"


def test_last_run_and_run_with_unknown_end(case: DoctorCase) -> None:
    case.set_key(KEY)
    case.write(inputs="")
    assert case.run("run").code == 0
    assert case.doctor()["last-run"][0] == "ok"
    case.set_key("app-fails")
    assert case.run("run").code == 80
    level, message, fix = case.doctor()["last-run"]
    assert level == "warn"
    assert message.startswith("the last run ended with failed (exit 80): workflow failed")
    assert "[Errno 111]" in message
    assert fix == "the app's Logs in Dify show each node of the run"
    case.set_key("app-slow")
    killed = case.command.start("--config", str(case.config), "run")
    wait_until((case.command.home / "state/in-flight.json").exists)
    assert case.doctor().get("in-flight") is None  # the run is in progress
    killed.kill()
    killed.wait()
    killed.communicate()
    level, message, _ = case.doctor()["in-flight"]
    assert level == "warn"
    assert "the outcome of an earlier run is unknown" in message


# Several jobs, time limits


def test_several_jobs_are_summarised_by_their_faults(case: DoctorCase) -> None:
    text = case.config.read_text()
    case.config.write_text(f'{text}[jobs.weekly]\napi_key_file = "{case.key}"\n')
    ran = case.run("doctor")
    assert ran.code == 2
    assert "fail  inputs" in ran.stdout.partition("weekly: ")[2]
    assert "fail" not in ran.stdout.partition("weekly: ")[0]
    assert len([one for one in case.server.received if one.path == "/v1/info"]) == 1


def test_missing_input_of_the_environment_is_fixed_with_a_variable(case: DoctorCase) -> None:
    env_file = case.command.home / "job.env"
    env_file.write_text(f"DIFY_API_KEY={FORM_KEY}\nDIFY_BASE_URL={case.server.base_url}\n")
    env_file.chmod(0o600)
    ran = case.command("--env-file", str(env_file), "doctor")
    (fix,) = [line for line in ran.stdout.splitlines() if "DIFY_INPUTS" in line]
    example = fix.partition("set ")[2].partition(" in the environment")[0]
    env_file.write_text(f"{env_file.read_text()}{example}\n")
    again = case.command("--env-file", str(env_file), "doctor")
    assert "ok    inputs" in again.stdout


def test_silent_server_delays_doctor_for_one_limit(case: DoctorCase, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(other=RawResponse((), "hold")) as silent:
        case.config.write_text(case.config.read_text().replace(case.server.base_url, silent.base_url))
        monkeypatch.setattr("dify_job.checks.probes.CALL_LIMIT", 1.0)
        level, message, _ = case.doctor()["server"]
    assert level == "fail"
    assert "the server did not answer within 1 s" in message


def test_doctor_writes_only_the_cached_form(case: DoctorCase) -> None:
    case.set_key(KEY)
    case.write(inputs="")
    case.run("run")
    state = case.command.home / "state"

    def look() -> dict[str, tuple[int, int, bytes]]:
        return {
            path.name: (path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode), path.read_bytes())
            for path in state.iterdir()
        }

    before = look()
    case.doctor()
    after = look()
    assert b"names" in after.pop("form.json")[2]
    assert after == before


def test_hostile_state_directory_neither_blocks_doctor_nor_shows_other_files(
    case: DoctorCase,
) -> None:
    secret = case.command.home / "secret"
    secret.write_text("canary of root")
    state = case.command.home / "state"
    state.mkdir()
    os.mkfifo(state / "last.json")
    os.mkfifo(state / "tick.json")
    (state / "lock").symlink_to(secret)
    with secret.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        lines = case.doctor()
    assert "canary" not in str(lines)
    assert lines["last-run"][:2] == ("ok", "no run is on record yet")
    (state / "lock").unlink()
    os.mkfifo(state / "lock")
    assert case.doctor()["state"][0] == "ok"


def test_fixes_are_valid_shell_commands(case: DoctorCase) -> None:
    case.key.chmod(0o644)
    for _, _, fix in case.doctor().values():
        if fix is not None and not fix.startswith("the "):
            shlex.split(fix.replace("'", ""))


def test_hanging_manager_is_awaited_once_and_reported(
    case: DoctorCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = case.command.home / "bin/systemctl"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo "systemd 252 (252)"\nexec sleep 60\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("dify_job.schedulers.systemctl._BOOTED", case.command.home)
    monkeypatch.setattr("dify_job.schedulers.systemctl._ANSWER_TIMEOUT", 0.5)
    began = time.monotonic()
    manager = Manager(Scope.SYSTEM)
    assert manager.unavailable_reason() is None
    assert manager.show(["a.service"]) == {}
    assert manager.no_answer
    assert manager.show(["b.service"]) == {}
    assert manager.variables("c.service") is None
    assert time.monotonic() - began < 50
    context = HostContext.of(
        pick(load_config(case.config), "daily"),
        load_config(case.config),
        [],
        datetime.now(UTC),
        backend="systemd",
        scope=Scope.SYSTEM,
    )
    assert context.scheduler.manager.show(["a.service"]) == {}
    check = check_backend(context)
    assert (check.severity, "does not respond" in check.message) == (Severity.WARN, True)

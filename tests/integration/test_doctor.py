"""Each line of doctor: break that thing alone, see that line alone, mend it as it says, see it ok again."""

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

import pytest

from dify_job.checks.context import HostContext
from dify_job.checks.service import check_backend
from dify_job.cli.doctor import examined
from dify_job.cli.options import Globals
from dify_job.config.loader import load_config, pick
from dify_job.messages.problem import Severity
from dify_job.schedulers.backend import Scope
from dify_job.schedulers.systemctl import Manager
from tests.support.command import APPS, KEY, Command, tls
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import StandIn
from tests.support.fixes import command_in
from tests.support.patience import wait_until
from tests.support.scripted import Say, Scripted, answer

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
class Patient:
    """One job with its server; its config can be changed and asked about."""

    command: Command
    server: StandIn

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
        """In this process, which is ten times as fast."""
        options = Globals()
        options.config_path = self.config
        [(_, checks)] = examined(options, "daily")
        lines = {check.name: (check.severity.name.lower(), check.message, check.fix) for check in checks}
        assert len(lines) == len(checks)
        assert all((level == "ok") == (mend is None) for level, _, mend in lines.values()), lines
        return lines


@pytest.fixture
def patient(dify_job: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    monkeypatch.setenv("HOME", str(dify_job.home))
    monkeypatch.setenv("STATE_DIRECTORY", str(dify_job.home / "state"))
    monkeypatch.chdir(dify_job.home)
    with StandIn((*APPS, App(FORM_KEY, "Daily report", form=FORM))) as server:
        made = Patient(dify_job, server)
        made.set_key(FORM_KEY)
        made.write()
        yield made
        assert not [one for one in server.received if one.method != "GET" and not one.path.endswith("/run")]


def sees(
    patient: Patient,
    name: str,
    level: str,
    said: str,
    break_it: Callable[[], object],
    mend: Callable[[], object],
) -> str | None:
    """Only that line changes, and after the remedy nothing is as it was not; gives the remedy's words."""
    posts = len([one for one in patient.server.received if one.method == "POST"])
    before = patient.doctor()
    assert before[name][0] == "ok" if name in before else True, before[name]
    break_it()
    broken = patient.doctor()
    assert broken[name][0] == level, broken
    assert said in broken[name][1], broken[name]
    others = {key: line[0] for key, line in broken.items() if key != name}
    assert others.items() <= {key: line[0] for key, line in before.items()}.items()
    mend()
    after = patient.doctor()
    assert {key: line[0] for key, line in after.items()} == {key: line[0] for key, line in before.items()}
    assert len([one for one in patient.server.received if one.method == "POST"]) == posts
    return broken[name][2]


def shell(patient: Patient, name: str, typed: str = "") -> Callable[[], None]:
    """The remedy as it stands in the line, pasted into a shell. typed: what its command is told then."""

    def paste() -> None:
        command = command_in(patient.doctor()[name][2])
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = os.environ | {"PATH": path}
        subprocess.run(["sh", "-ec", command], input=typed, text=True, env=env, check=True)

    return paste


def test_a_healthy_job_has_lines_for_everything_and_starts_nothing(patient: Patient) -> None:
    ran = patient.run("doctor", "--json")
    told = json.loads(ran.stdout)
    assert (told["schema"], told["jobs"][0]["job"]) == (1, "daily")
    assert told["worst"] == told["jobs"][0]["worst"] == ["ok", "warn", "fail"][ran.code]
    assert set(told["jobs"][0]["checks"][0]) == {"check", "level", "message", "fix"}
    lines = {line["check"]: line["level"] for line in told["jobs"][0]["checks"]}
    assert list(lines) == [
        "config", "key", "tls", "server", "access", "app", "inputs", "schedule", "zone", "backend", "units",
        "clock", "journal", "state", "disk", "last-run",
    ]  # fmt: skip
    bad = {name for name, level in lines.items() if level != "ok"}
    assert bad <= {
        "units",
        "journal",
        "backend",
    }  # what this machine has not, and a job that is not installed
    assert {one.method for one in patient.server.received} == {"GET"}
    assert not (patient.command.home / "state").exists()


def test_a_person_reads_lines_and_remedies_and_no_key(patient: Patient) -> None:
    patient.key.chmod(0o644)
    ran = patient.run("doctor")
    assert ran.code == 2
    [at] = [n for n, line in enumerate(ran.stdout.splitlines()) if line.startswith("  fail  key ")]
    assert f"chmod 600 {patient.key}" in ran.stdout.splitlines()[at + 1]
    assert "\x1b" not in ran.stdout
    patient.key.chmod(0o600)
    assert FORM_KEY not in patient.run("doctor").stdout


def test_a_config_that_cannot_be_read_is_a_failure_of_doctor(patient: Patient) -> None:
    patient.config.write_text('[jobs.daily]\ntimeot = "5min"\n')
    ran = patient.run("doctor", "--json")
    assert ran.code == 2
    [line] = json.loads(ran.stdout)["jobs"][0]["checks"]
    assert (line["check"], line["level"]) == ("config", "fail")
    assert "did you mean timeout" in line["message"]
    assert patient.run("doctor", "nobody").code == 2
    assert patient.run("doctor", "--bad-flag").code == 64


# Key


def test_a_key_file_that_others_can_read(patient: Patient) -> None:
    sees(
        patient,
        "key",
        "fail",
        "can be read by others",
        lambda: patient.key.chmod(0o644),
        shell(patient, "key"),
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "is empty"),
        (f"Bearer {FORM_KEY}", "begins with 'Bearer '"),
        (f"{FORM_KEY}\nx", "more than one line"),
    ],
)
def test_a_key_of_the_wrong_shape(patient: Patient, key: str, said: str) -> None:
    sees(patient, "key", "fail", said, lambda: patient.set_key(key), shell(patient, "key", FORM_KEY))


def test_a_key_file_that_is_gone(patient: Patient) -> None:
    sees(patient, "key", "fail", "No such file", patient.key.unlink, shell(patient, "key", FORM_KEY))


def test_a_key_that_dify_refuses_is_mended_by_the_command_in_its_line(patient: Patient) -> None:
    told = sees(
        patient,
        "access",
        "fail",
        "the key was refused",
        lambda: patient.set_key("app-wrong-012345678"),
        shell(patient, "access", FORM_KEY),
    )
    assert told == f"dify-job --config {patient.config} secret set daily"


# Server


def test_a_server_that_is_not_there(patient: Patient) -> None:
    broken = patient.server.base_url
    mend = sees(
        patient,
        "server",
        "fail",
        "connection refused",
        lambda: patient.config.write_text(
            patient.config.read_text().replace(broken, "http://127.0.0.1:9/v1")
        ),
        patient.write,
    )
    assert mend is not None
    assert f"edit base_url in {patient.config}:2" in mend


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>login</html>", "not Dify's"),
        (404, b"<html>nothing here</html>", "not Dify's"),
        (502, b"<html>bad gateway</html>", "HTTP 502"),
        (500, {"code": "internal_server_error", "message": "no db", "status": 500}, "no db"),
        (401, b"<html>who are you</html>", "asks for a login"),
    ],
)
def test_an_address_where_another_server_answers(
    patient: Patient, status: int, body: object, said: str
) -> None:
    with Scripted(other=answer(status, body)) as other:
        sees(
            patient,
            "server",
            "fail",
            said,
            lambda: patient.config.write_text(
                patient.config.read_text().replace(patient.server.base_url, other.base_url)
            ),
            patient.write,
        )
        assert other.count("post") == 0


def test_a_certificate_that_is_not_trusted_or_ends_soon(
    patient: Patient,
    certificate: tuple[Path, Path],
) -> None:
    with tls(StandIn([App(FORM_KEY, form=FORM)]), certificate) as server:
        url = server.base_url.replace("http://127.0.0.1", "https://localhost")
        plain = patient.config.read_text().replace(patient.server.base_url, url)
        patient.config.write_text(plain)
        level, said, mend = patient.doctor()["server"]
        assert (level, "the TLS certificate is not trusted" in said) == ("fail", True)
        assert mend is not None
        assert mend.startswith(f"set ca_file in [jobs.daily] of {patient.config} to the PEM file")
        patient.config.write_text(plain + f'ca_file = "{certificate[1]}"\n')
        lines = patient.doctor()
    assert lines["server"][0] == lines["app"][0] == "ok"
    assert lines["tls"][0] == "warn"
    assert "the certificate of localhost is good until" in lines["tls"][1]


def test_a_ca_file_that_is_not_there(patient: Patient) -> None:
    sees(
        patient,
        "tls",
        "fail",
        "No such file",
        lambda: patient.write('ca_file = "/nowhere.pem"'),
        patient.write,
    )


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (App(FORM_KEY, published=False), "press Publish"),
        (App(FORM_KEY, api_enabled=False), "Backend Service API"),
        (App(FORM_KEY, mode="advanced-chat"), "key of a workflow app"),
    ],
)
def test_an_app_that_cannot_be_called(patient: Patient, app: App, said: str) -> None:
    good = patient.server.apps[FORM_KEY]
    mend = sees(
        patient,
        "app",
        "fail",
        "",
        lambda: patient.server.apps.update({FORM_KEY: app}),
        lambda: patient.server.apps.update({FORM_KEY: good}),
    )
    assert mend is not None
    assert said in mend


def test_a_clock_that_is_not_the_servers(patient: Patient) -> None:
    past = {"Date": "Tue, 24 Nov 2020 10:00:00 GMT"}
    info = answer(200, {"name": "x", "mode": "workflow"}, past, version="1.14.2")
    form = answer(200, {"user_input_form": []}, past, version="1.14.2")
    with Scripted(other=[info, form]) as other:
        patient.config.write_text(patient.config.read_text().replace(patient.server.base_url, other.base_url))
        level, said, _ = patient.doctor()["clock"]
    assert level == "warn"
    assert "ahead of the server's" in said
    patient.write()  # a server whose clock is right
    assert patient.doctor()["clock"][0] == "ok"


# What goes in and out


@pytest.mark.parametrize(
    ("inputs", "level", "said"),
    [
        ("", "fail", "the input topic is required by the app"),
        ("topic = 3", "fail", "the input topic must be a string"),
        ('topic = "123456789"', "fail", "the input topic has 9 characters, and the app takes 8"),
        ('topic = "a", tone = "loud"', "fail", "the input tone must be one of 'dry', 'warm'"),
        ('topic = "a", count = "many"', "fail", "the input count must be a number"),
        ('topic = "a", topik = "b"', "warn", "no input topik: Dify drops it without a word"),
        ('topic = "{{ nothing }}"', "fail", "cannot be rendered"),
        ('topic = "a", doc = "/etc/hosts"', "fail", "the input doc takes a file"),
    ],
)
def test_inputs_that_the_app_refuses_or_drops(patient: Patient, inputs: str, level: str, said: str) -> None:
    sees(patient, "inputs", level, said, lambda: patient.write(inputs=inputs), patient.write)


VERSION = "00000000-0000-4000-8000-000000000000"
NOT_ITS_FORM = f"that is the newest version's form, and workflow_id {VERSION} can have another"


@pytest.mark.parametrize(
    ("inputs", "level", "said"),
    [
        ('topic = "a"', "ok", "fit the app's form"),
        ("", "warn", "the input topic is required by the app"),
        ('topic = "a", topik = "b"', "warn", "Dify drops it without a word"),
        ('count = ["a"]', "fail", "the input topic is required by the app"),  # the run asks for the form, too
    ],
)
def test_of_a_pinned_version_dify_does_not_show_the_form(
    patient: Patient, inputs: str, level: str, said: str
) -> None:
    patient.write(f'workflow_id = "{VERSION}"', inputs)
    told = patient.doctor()["inputs"]
    assert told[0] == level
    assert said in told[1]
    assert told[1].endswith(NOT_ITS_FORM)
    patient.run("run", "--timeout", "20s")
    posts = [one.path for one in patient.server.received if one.method == "POST"]
    assert posts == ([] if level == "fail" else [f"/v1/workflows/{VERSION}/run"])


@pytest.mark.parametrize(
    ("text", "inputs", "check", "mend"),
    [
        ("", "", "inputs", "edit inputs in {config}:6; the app's inputs: topic, tone, count, doc, docs"),
        ("", 'topic = "{{ x }}"', "inputs", "edit inputs in {config}:6; names that a template can use: "),
        ('files = { topic = "/etc/hosts" }', "", "files", "edit files in {config}:5; compare "),
        ('files = { doc = "/no" }', "", "files", "put a file there that "),
        ('calendar = "x"', "", "schedule", "edit calendar in {config}:5; man systemd.time "),
        ('every = "5min"\njitter = "5min"', "", "schedule", "make jitter less in {config}:6"),
        ('ca_file = "/no"', "", "tls", "edit ca_file in {config}:5: a PEM file, or none "),
    ],
)
def test_an_edit_names_the_key_and_its_line(
    patient: Patient, text: str, inputs: str, check: str, mend: str
) -> None:
    patient.write(text, inputs)
    told = patient.doctor()[check][2]
    assert told is not None
    assert told.startswith(mend.format(config=patient.config))


def test_a_key_that_is_not_there_yet_belongs_into_the_table_of_its_job(patient: Patient) -> None:
    lines = patient.config.read_text().splitlines()
    patient.config.write_text("\n".join(line for line in lines if not line.startswith("inputs")))
    told = patient.doctor()["inputs"][2]
    assert str(told).startswith(f"edit inputs in [jobs.daily] of {patient.config}; ")


def test_a_file_that_is_not_there_or_too_large(patient: Patient) -> None:
    report = patient.command.home / "report.pdf"
    text = f'files = {{ doc = "{report}" }}'
    report.write_bytes(b"x")
    patient.write(text)
    sees(patient, "files", "fail", "No such file", report.unlink, lambda: report.write_bytes(b"x"))
    sees(
        patient,
        "files",
        "fail",
        "and the server takes",
        lambda: os.truncate(report, 15 * 1024 * 1024 + 1),
        lambda: os.truncate(report, 15 * 1024 * 1024),
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ('dok = "/etc/hosts"', "no input dok for a file"),
        ('topic = "/etc/hosts"', "the input topic takes no file"),
        ('doc = ["/etc/hosts", "/etc/passwd"]', "the input doc takes one file, and the job gives 2"),
        (
            'docs = ["/etc/hosts", "/etc/hosts", "/etc/hosts"]',
            "the input docs takes 2 files, and the job gives 3",
        ),
        ('doc = "/etc"', "it is not a regular file"),
    ],
)
def test_files_that_the_app_does_not_take(patient: Patient, files: str, said: str) -> None:
    good = 'files = { doc = "/etc/hosts" }'
    patient.write(good)
    bad = f"files = {{ {files} }}"
    sees(patient, "files", "fail", said, lambda: patient.write(bad), lambda: patient.write(good))


def test_an_output_directory_that_is_not_there(patient: Patient) -> None:
    out = patient.command.home / "out"
    out.mkdir()
    patient.write(f'output = {{ file = "{out}/{{{{ today }}}}.json" }}')
    sees(patient, "output", "fail", "does not exist", out.rmdir, shell(patient, "output"))


def test_a_file_of_notification_urls_that_is_not_there(patient: Patient) -> None:
    urls = patient.command.home / "urls"
    urls.write_text("json://127.0.0.1:9\n")
    urls.chmod(0o600)
    patient.write(f'notify = {{ on_failure = "apprise-url-from-file:{urls}" }}')
    kept = urls.read_bytes()

    def put_it_back() -> None:
        urls.write_bytes(kept)
        urls.chmod(0o600)

    before = patient.doctor()["notify"]
    urls.unlink()
    level, said, _ = patient.doctor()["notify"]
    assert (level, "nobody will be notified" in said) == ("warn", True)
    put_it_back()
    assert patient.doctor()["notify"] == before


def test_a_directory_for_metrics_that_is_not_there(patient: Patient) -> None:
    out = patient.command.home / "textfiles"
    out.mkdir()
    patient.write(f'metrics = {{ textfile = "{out}/dify.prom" }}')
    sees(patient, "output", "fail", "does not exist", out.rmdir, shell(patient, "output"))


# When


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ('calendar = "2020-01-01 07:00:00"', "fail", "never elapses"),
        ('calendar = "nonsense"', "fail", "nonsense"),
        ('every = "5min"\njitter = "5min"', "warn", "jitter 5min is not less than the 5min between two runs"),
        ('calendar = "02:30:00"\ntimezone = "Europe/Berlin"', "warn", "clocks go forward in Europe/Berlin"),
    ],
)
def test_a_schedule_that_does_not_do_what_it_says(patient: Patient, text: str, level: str, said: str) -> None:
    sees(patient, "schedule", level, said, lambda: patient.write(text), patient.write)


# State


def test_a_state_directory_that_is_none(patient: Patient) -> None:
    state = patient.command.home / "state"
    sees(
        patient, "state", "fail", "is not a directory", lambda: state.write_text(""), shell(patient, "state")
    )


def test_a_lock_that_is_held_longer_than_any_run_can_take(patient: Patient) -> None:
    state = patient.command.home / "state"
    state.mkdir()
    lock = state / "lock"
    lock.write_text("process 12345\n")
    with lock.open() as held:
        sees(
            patient,
            "state",
            "warn",
            "the lock is held by process 12345",
            lambda: fcntl.flock(held, fcntl.LOCK_EX) or os.utime(lock, (0, 0)),  # type: ignore[func-returns-value]
            lambda: fcntl.flock(held, fcntl.LOCK_UN),
        )
        fcntl.flock(held, fcntl.LOCK_EX)
        os.utime(lock)
        level, said, _ = patient.doctor()["state"]
        assert (level, "a run is under way (process 12345)" in said) == ("ok", True)


def test_a_process_that_holds_the_lock_for_ever_is_ended_by_the_command_in_the_line(patient: Patient) -> None:
    state = patient.command.home / "state"
    state.mkdir()
    lock = state / "lock"
    script = f"import fcntl, os, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
    script += "f.write(f'process {os.getpid()}'); f.flush(); os.utime(f.name, (0, 0)); print(flush=True); "
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}time.sleep(60)"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        level, _, mend = patient.doctor()["state"]
        assert (level, mend) == ("warn", f"kill {holder.pid}")
        shell(patient, "state")()
        holder.wait(10)
    assert patient.doctor()["state"][0] == "ok"


def test_the_last_run_and_one_whose_end_is_not_known(patient: Patient) -> None:
    patient.set_key(KEY)
    patient.write(inputs="")
    assert patient.run("run").code == 0
    assert patient.doctor()["last-run"][0] == "ok"
    patient.set_key("app-fails")
    assert patient.run("run").code == 80
    level, said, mend = patient.doctor()["last-run"]
    assert level == "warn"
    assert said.startswith("failed (80): workflow failed")
    assert "[Errno 111]" in said
    assert mend == "the app's Logs in Dify show each node of the run"
    patient.set_key("app-slow")
    killed = patient.command.start("--config", str(patient.config), "run")
    wait_until((patient.command.home / "state/in-flight.json").exists)
    assert patient.doctor().get("in-flight") is None  # it is under way
    killed.kill()
    killed.wait()
    killed.communicate()
    level, said, _ = patient.doctor()["in-flight"]
    assert level == "warn"
    assert "how an earlier run ended is not known" in said


# Several jobs, and time


def test_several_jobs_are_told_by_what_they_lack(patient: Patient) -> None:
    text = patient.config.read_text()
    patient.config.write_text(f'{text}[jobs.weekly]\napi_key_file = "{patient.key}"\n')
    ran = patient.run("doctor")
    assert ran.code == 2
    assert "fail  inputs" in ran.stdout.partition("weekly: ")[2]
    assert "fail" not in ran.stdout.partition("weekly: ")[0]
    assert len([one for one in patient.server.received if one.path == "/v1/info"]) == 1


def test_a_server_that_says_nothing_costs_ten_seconds_and_no_more(patient: Patient) -> None:
    with Scripted(other=Say((), "hold")) as silent:
        patient.config.write_text(
            patient.config.read_text().replace(patient.server.base_url, silent.base_url)
        )
        began = time.monotonic()
        level, said, _ = patient.doctor()["server"]
    assert time.monotonic() - began < 15
    assert level == "fail"
    assert "no answer within 10 s" in said


def test_doctor_writes_the_names_of_the_form_into_the_state_and_nothing_else(patient: Patient) -> None:
    patient.set_key(KEY)
    patient.write(inputs="")
    patient.run("run")
    state = patient.command.home / "state"

    def look() -> dict[str, tuple[int, int, bytes]]:
        return {
            path.name: (path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode), path.read_bytes())
            for path in state.iterdir()
        }

    before = look()
    patient.doctor()
    after = look()
    assert b"names" in after.pop("form.json")[2]
    assert after == before


def test_what_a_services_user_puts_into_its_state_neither_hangs_doctor_nor_shows_other_files(
    patient: Patient,
) -> None:
    secret = patient.command.home / "secret"
    secret.write_text("canary of root")
    state = patient.command.home / "state"
    state.mkdir()
    os.mkfifo(state / "last.json")
    os.mkfifo(state / "tick.json")
    (state / "lock").symlink_to(secret)
    with secret.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        lines = patient.doctor()
    assert "canary" not in str(lines)
    assert lines["last-run"][:2] == ("ok", "none is recorded")
    (state / "lock").unlink()
    os.mkfifo(state / "lock")
    assert patient.doctor()["state"][0] == "ok"


def test_remedies_are_commands_that_a_shell_can_read(patient: Patient) -> None:
    patient.key.chmod(0o644)
    for _, _, mend in patient.doctor().values():
        if mend is not None and not mend.startswith("the "):
            shlex.split(mend.replace("'", ""))


def test_a_manager_that_hangs_is_waited_for_once_and_told(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = patient.command.home / "bin/systemctl"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo "systemd 252 (252)"\nexec sleep 60\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("dify_job.schedulers.systemctl._BOOTED", patient.command.home)
    monkeypatch.setattr("dify_job.schedulers.systemctl._PATIENCE", 0.5)
    began = time.monotonic()
    manager = Manager(Scope.SYSTEM)
    assert manager.why_not() is None
    assert manager.show(["a.service"]) == {}
    assert manager.silent
    assert manager.show(["b.service"]) == {}
    assert manager.variables("c.service") is None
    assert time.monotonic() - began < 5
    case = HostContext.of(
        pick(load_config(patient.config), "daily"),
        load_config(patient.config),
        [],
        datetime.now(UTC),
        backend="systemd",
        scope=Scope.SYSTEM,
    )
    assert case.manager.show(["a.service"]) == {}
    check = check_backend(case)
    assert (check.severity, "does not answer" in check.message) == (Severity.WARN, True)

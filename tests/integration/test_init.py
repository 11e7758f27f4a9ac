"""init creates config and key, called by a script or a person."""

import os
import pty
import select
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dify_job.config.discovery import is_found
from tests.support.command import KEY, Command, tls
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify
from tests.support.recordings import load

FORM = (
    {"text-input": {"variable": "topic", "label": "The topic", "required": True, "max_length": 48}},
    {"number": {"variable": "count", "label": "count", "required": True}},
    {"select": {"variable": "tone", "label": "tone", "required": False, "options": ["dry", "warm"]}},
    {"checkbox": {"variable": "flag", "label": "flag", "required": False}},
    {"paragraph": {"variable": "style", "required": True, "default": "plain", "max_length": 2000}},
    {"file": {"variable": "doc", "label": "doc", "required": True, "allowed_file_types": ["document"]}},
)
EVIL = 'x"\n[jobs.evil]\nbase_url = "http://evil"\n# \x1b]0;owned\x07\u202e\u2028 {{ now }} \ud800 '
EVIL_FORM = (
    {"text-input": {"variable": 'na"me\n[x]', "label": EVIL, "required": True, "default": EVIL}},
    {
        "select": {
            "variable": "a.b",
            "label": "l",
            "required": True,
            "default": "o'\"\\\n",
            "options": ["o'\"\\\n"],
        }
    },
)
APPS = (
    App(KEY, "Daily report"),
    App("app-with-a-form-0123456789", "Daily report", form=FORM),
    App("app-of-somebody-evil-0123456789", EVIL, form=EVIL_FORM),
    App("app-chat-0123456789abcdef", mode="advanced-chat"),
    App("app-unpublished-0123456789", published=False),
    App("app-off-0123456789abcdef", api_enabled=False),
)


@pytest.fixture
def server() -> Iterator[FakeDify]:
    with FakeDify(APPS, ping=0.5) as made:
        yield made


def config_of(dify_job: Command) -> Path:
    return dify_job.home / ".config/dify-job/config.toml"


def test_job_runs_after_one_init_with_the_key_on_stdin(dify_job: Command, server: FakeDify) -> None:
    made = dify_job("init", "daily", "--user", "--base-url", server.base_url, "--every", "2h", input=KEY)
    assert (made.code, made.stderr) == (0, "")
    assert "dify-job install daily" in made.stdout
    path = config_of(dify_job)
    key = path.parent / "credentials/daily.key"
    assert key.read_text() == f"{KEY}\n"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert KEY not in path.read_text() + made.stdout
    read = tomllib.loads(path.read_text())
    assert read["defaults"]["base_url"] == server.base_url
    assert read["jobs"]["daily"]["every"] == "2h"
    assert "Daily report" in path.read_text()
    assert dify_job("config", "validate").code == 0
    assert server.runs == []
    ran = dify_job("run", "daily")
    assert ran.result["outcome"] == "succeeded"


def test_any_umask_gives_a_private_key_and_a_readable_config(dify_job: Command, server: FakeDify) -> None:
    for mask in (0o000, 0o077):
        home = dify_job.home / f"umask-{mask}"
        home.mkdir()
        made = Command(home)("init", "--user", "--base-url", server.base_url, input=KEY, umask=mask)
        assert made.code == 0
        modes = {
            str(path.relative_to(home / ".config/dify-job")): stat.S_IMODE(path.stat().st_mode)
            for path in (home / ".config/dify-job").rglob("*")
        }
        assert modes == {"config.toml": 0o644, "credentials": 0o700, "credentials/default.key": 0o600}
        if os.geteuid() == 0:
            assert stat.S_IMODE((home / ".config/dify-job").stat().st_mode) == 0o755


def test_required_inputs_are_filled_or_marked(dify_job: Command, server: FakeDify) -> None:
    given = ("-i", "topic=sales {{ today }}", "-i", "flag=true")
    key = "app-with-a-form-0123456789\n"
    made = dify_job("init", "daily", "--user", "--base-url", server.base_url, *given, input=key)
    assert made.code == 0
    assert "'count', 'doc'" in made.stdout
    text = config_of(dify_job).read_text()
    assert tomllib.loads(text)["jobs"]["daily"]["inputs"] == {
        "topic": "sales {{ today }}",
        "flag": True,
        "style": "plain",
    }
    assert '# count = ""    # FILL IN: the app requires it' in text
    assert '# doc = ""    # FILL IN: the app requires it' in text
    assert "# The topic: text-input, required, at most 48 characters" in text
    assert "one of dry, warm" in text
    filled = text.replace('# count = ""    # FILL IN', "count = 3  # filled in")
    config_of(dify_job).write_text(filled.replace("[jobs.daily.files]", ""))
    assert dify_job("config", "validate").code == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["-i", "count=many"], 'the input count must be a number, not "many"'),
        (["-i", "tone=loud"], "the input tone must be one of 'dry', 'warm'"),
        (["-i", "topic=" + "x" * 49], "the input topic has 49 characters, but the app allows at most 48"),
        (["-i", "topik=x"], "has no such input"),
        (["-i", "topic"], "-i topic must be KEY=VALUE"),
        (["--every", "2h", "--cron", "0 7 * * *"], "cannot be used together"),
        (["--base-url", "ftp://x"], "--base-url"),
    ],
)
def test_input_that_the_app_rejects_is_rejected_and_nothing_is_written(
    dify_job: Command, server: FakeDify, given: list[str], message: str
) -> None:
    made = dify_job(
        "init", "daily", "--user", "--base-url", server.base_url, *given, input="app-with-a-form-0123456789"
    )
    assert made.code == 64
    assert message in made.stderr
    assert not config_of(dify_job).parent.exists()


def test_unreachable_server_is_reported_with_commands_to_paste(dify_job: Command) -> None:
    nowhere = ("--user", "--base-url", "http://127.0.0.1:1")
    refused = dify_job("init", "daily", *nowhere, input="app-x-0123456789\n")
    assert refused.code == 69
    assert (
        "  use --offline to write the configuration without contacting Dify; check the address, "
        in refused.stderr
    )
    assert dify_job("init", "daily", *nowhere, "--offline", input="app-x-0123456789\n").code == 0
    stored = dify_job("secret", "set", "daily", input="app-x-0123456789\n")
    assert "dify-job config show daily" in stored.stderr


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("app-wrong-0123456789abcdef", 77, "does not accept the API key"),
        ("app-chat-0123456789abcdef", 78, "not a workflow: its mode is advanced-chat"),
        ("app-unpublished-0123456789", 78, "choose Publish"),
        ("app-off-0123456789abcdef", 78, "API is disabled"),
        (f"Bearer {KEY}", 78, "must not begin with 'Bearer '"),
        (f"{KEY}\n{KEY}\n", 78, "contains a space, a line break or another character"),
        ("", 78, "standard input contains no API key"),
    ],
)
def test_unusable_key_is_reported_and_nothing_is_written(
    dify_job: Command, server: FakeDify, key: str, code: int, message: str
) -> None:
    made = dify_job("init", "daily", "--user", "--base-url", server.base_url, input=key)
    assert made.code == code
    assert message in made.stderr
    assert not key.strip() or key.strip() not in made.stderr
    assert not config_of(dify_job).parent.exists()


def test_missing_base_url_is_reported_and_offline_still_writes(dify_job: Command) -> None:
    url = "http://127.0.0.1:9/v1"
    made = dify_job("init", "daily", "--user", "--base-url", url, input=KEY)
    assert made.code == 69
    assert "use --offline to write the configuration without contacting Dify; " in made.stderr
    assert not config_of(dify_job).parent.exists()
    made = dify_job("init", "daily", "--user", "--base-url", url, "--offline", "-i", "a.b=1", input=KEY)
    assert made.code == 0
    assert tomllib.loads(config_of(dify_job).read_text())["jobs"]["daily"]["inputs"] == {"a.b": "1"}
    assert dify_job("config", "validate").code == 0


def test_server_with_a_private_certificate_authority_needs_a_ca_file(
    dify_job: Command, certificate: tuple[Path, Path]
) -> None:
    with tls(FakeDify(APPS), certificate) as server:
        url = server.base_url.replace("http://127.0.0.1", "https://localhost")
        refused = dify_job("init", "daily", "--user", "--base-url", url, input=KEY)
        assert refused.code == 69
        assert "certificate is not trusted" in refused.stderr
        trusted = "--ca-file", str(certificate[1])
        assert dify_job("init", "daily", "--user", "--base-url", url, *trusted, input=KEY).code == 0
        assert dify_job("run", "daily").code == 0


def test_job_is_added_in_config_d_and_the_config_stays_unchanged(dify_job: Command, server: FakeDify) -> None:
    path = config_of(dify_job)
    path.parent.mkdir(parents=True)
    mine = f'# mine\n[defaults]\nbase_url = "{server.base_url}"\n[jobs.a]\napi_key_env = "X"\n'
    path.write_text(mine)
    made = dify_job(
        "init", "daily", "--user", "--cron", "0 7 * * 1-5", "--timezone", "Asia/Shanghai", input=KEY
    )
    assert made.code == 0, made.stderr
    assert path.read_text() == mine
    added = path.parent / "config.d/daily.toml"
    assert tomllib.loads(added.read_text())["jobs"]["daily"]["cron"] == "0 7 * * 1-5"
    assert dify_job("run", "daily").code == 0
    for job in ("daily", "a"):
        again = dify_job("init", job, "--user", "--base-url", server.base_url, input=KEY)
        assert again.code == 78
        assert f"the job {job} exists already in " in again.stderr
    assert "dify-job secret set" in again.stderr


def test_existing_file_or_key_is_not_overwritten(dify_job: Command, server: FakeDify) -> None:
    path = config_of(dify_job)
    (path.parent / "credentials").mkdir(parents=True)
    (path.parent / "credentials/daily.key").write_text("old")
    made = dify_job("init", "daily", "--user", "--base-url", server.base_url, input=KEY)
    assert made.code == 78
    assert "exists already, and init does not overwrite it" in made.stderr
    assert (path.parent / "credentials/daily.key").read_text() == "old"
    assert not path.exists()


def test_failed_write_leaves_no_file(dify_job: Command, server: FakeDify) -> None:
    path = config_of(dify_job)
    path.parent.mkdir(parents=True)
    (path.parent / "config.d").write_text("in the way")
    path.write_text("[jobs.a]\n")
    made = dify_job("init", "daily", "--user", "--base-url", server.base_url, input=KEY)
    assert made.code == 73
    assert "nothing was changed" in made.stderr
    assert sorted(path.parent.iterdir()) == [path.parent / "config.d", path]


def test_job_of_config_d_is_not_overridden(dify_job: Command, server: FakeDify) -> None:
    config = config_of(dify_job)
    (config.parent / "config.d").mkdir(parents=True)
    (config.parent / "config.d/mine.toml").write_text('[jobs.daily]\nbase_url = "http://other/v1"\n')
    made = dify_job("init", "daily", "--user", "--base-url", server.base_url, input=KEY)
    assert made.code == 78
    assert "already has the job daily" in made.stderr
    assert sorted(path.name for path in config.parent.rglob("*")) == ["config.d", "mine.toml"]


def test_of_ten_simultaneous_calls_one_writes_the_job(dify_job: Command, server: FakeDify) -> None:
    args = ("init", "daily", "--user", "--base-url", server.base_url, "--offline")
    started = [dify_job.start(*args, "-i", f"number={n}", stdin=subprocess.PIPE) for n in range(10)]
    ended = [process.communicate(f"app-key-of-number-{n}") for n, process in enumerate(started)]
    won = [n for n, process in enumerate(started) if process.returncode == 0]
    assert len(won) == 1, ended
    assert {process.returncode for process in started} == {0, 78}
    read = tomllib.loads(config_of(dify_job).read_text())["jobs"]["daily"]
    assert read["inputs"] == {"number": str(won[0])}
    assert Path(read["api_key_file"]).read_text() == f"app-key-of-number-{won[0]}\n"


def test_key_that_the_server_repeats_is_neither_printed_nor_written(dify_job: Command) -> None:
    form: tuple[dict[str, Any], ...] = (
        {"text-input": {"variable": KEY, "label": f"Label {KEY}", "required": False, "default": KEY}},
        {"text-input": {"variable": "a", "label": "x" * 145 + KEY, "required": False}},
    )
    with FakeDify([App(KEY, f"App {KEY}", form=form)]) as server:
        made = dify_job("init", "daily", "--user", "--base-url", server.base_url, input=KEY)
        stored = dify_job("secret", "set", "daily", input=KEY)
        checked = dify_job("run", "daily", "--dry-run")
    assert (made.code, stored.code, checked.code) == (0, 0, 0)
    text = config_of(dify_job).read_text()
    for ran in (made, stored, checked):
        text += ran.stdout + ran.stderr
    assert KEY[:8] not in text.replace(f"{KEY[:4]}…", "")
    files = [path for path in dify_job.home.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert [path.name for path in files] == ["daily.key"]


def test_names_and_labels_of_the_server_stay_data(dify_job: Command, server: FakeDify) -> None:
    made = dify_job(
        "init", "daily", "--user", "--base-url", server.base_url, input="app-of-somebody-evil-0123456789"
    )
    assert made.code == 0, made.stderr
    assert "\x1b" not in made.stdout
    text = config_of(dify_job).read_text()
    read = tomllib.loads(text)
    assert list(read["jobs"]) == ["daily"]
    assert read["jobs"]["daily"]["inputs"] == {"a.b": "o'\"\\\n"}
    assert all(line.isprintable() for line in text.split("\n"))
    assert dify_job("config", "validate").code == 0


@pytest.mark.parametrize("name", ["parameters-echo", "parameters-file", "parameters-noinput"])
def test_recorded_form_gives_a_valid_config(dify_job: Command, name: str) -> None:
    form = tuple(load("1.14.2", name).json["user_input_form"])
    with FakeDify([App(KEY, "Recorded", form=form)]) as server:
        made = dify_job("init", "--user", "--base-url", server.base_url, "--key-file", "-", input=KEY)
        assert made.code == 0, made.stderr
        assert dify_job("config", "validate").code == 0
        text = config_of(dify_job).read_text()
        assert all(control["variable"] in text for entry in form for control in entry.values())


def test_key_as_an_argument_is_rejected(dify_job: Command) -> None:
    made = dify_job("init", "daily", "--user", "--key-file", KEY)
    assert made.code == 64
    assert "every user of this machine can see" in made.stderr


def test_given_key_file_is_copied_if_it_is_private(dify_job: Command, server: FakeDify) -> None:
    mine = dify_job.home / "key"
    mine.write_text(KEY)
    mine.chmod(0o644)
    args = ("init", "daily", "--user", "--base-url", server.base_url, "--key-file", str(mine))
    refused = dify_job(*args)
    assert refused.code == 78
    assert f"chmod 600 {mine}" in refused.stderr
    mine.chmod(0o600)
    assert dify_job(*args).code == 0


def test_prompts_do_not_echo_the_key(dify_job: Command, server: FakeDify) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(dify_job.home)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "dify_job", "init", "--user"],
            {"HOME": str(dify_job.home), "PATH": os.environ["PATH"], "TERM": "dumb"},
        )
    shown = ""

    def answer(question: str, reply: str) -> None:
        nonlocal shown
        until = time.monotonic() + 20
        before = len(shown)
        while question not in shown[before:] and time.monotonic() < until:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    shown += os.read(terminal, 65536).decode(errors="replace")
                except OSError:
                    break
        assert question in shown[before:], shown
        os.write(terminal, f"{reply}\n".encode())

    answer("Dify's address [http://localhost/v1]: ", server.base_url)
    answer("API key: ", "app-with-a-form-0123456789")
    answer("Name of the job [daily-report]: ", "")
    answer("Schedule [1h]: ", "often")
    answer("Schedule [1h]: ", "90min")
    answer("topic: ", "sales")
    answer("count: ", "many")
    answer("count: ", "4")
    answer("style [plain]: ", "")
    answer("enable", "")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert "app-with-a-form" not in shown
    assert "the input count must be a number" in shown
    assert "'often' is neither a time span" in shown
    read = tomllib.loads(config_of(dify_job).read_text())["jobs"]
    assert read["daily-report"]["every"] == "90min"
    assert read["daily-report"]["inputs"] == {"topic": "sales", "count": 4, "style": "plain"}


def test_init_of_a_system_job_needs_no_valid_config_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dify-job").mkdir()
    (tmp_path / "dify-job/config.toml").write_text("nope = 1\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("DIFY_JOB_CONFIG", raising=False)
    assert is_found(tmp_path / "dify-job/config.toml")
    assert not is_found(Path("/etc/dify-job/config.toml"))

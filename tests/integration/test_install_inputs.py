"""install rejects a job that would always fail."""

from pathlib import Path

import pytest

from tests.support.command import KEY, Command
from tests.support.config_files import write_user_config
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify
from tests.support.fake_manager import install_programs
from tests.support.home import CONFIG, Home

FORM = (
    {"text-input": {"variable": "topic", "label": "topic", "required": True, "max_length": 48}},
    {"text-input": {"variable": "note", "label": "note", "required": False}},
)


def configure(dify_job: Command, base_url: str, more: str) -> Path:
    text = f'[jobs.a]\nbase_url = "{base_url}"\napi_key_file = "{{key}}"\n{more}\n'
    return write_user_config(dify_job.home, text)


def fake_cron(dify_job: Command) -> dict[str, str]:
    programs = dify_job.home / "bin"
    install_programs(dify_job.home, programs)
    return {"PATH": f"{programs}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("", 78),
        ('inputs = { topic = "" }', 78),
        ('inputs = { note = "x" }', 78),
        ('inputs = { topic = "sales" }', 0),
        ('inputs = { topic = "{{ today }}" }', 0),
        ('workflow_id = "one"', 0),
    ],
)
def test_job_with_empty_required_inputs_is_rejected(dify_job: Command, more: str, code: int) -> None:
    with FakeDify((App(KEY, "Report", form=FORM),)) as server:
        configure(dify_job, server.base_url, more)
        done = dify_job("install", "a", "--dry-run", "--backend", "cron", env=fake_cron(dify_job))
        assert (done.code, "the input topic is required by the app, but has no value" in done.stderr) == (
            code,
            code == 78,
        )
        assert server.runs == []


def test_unreachable_server_does_not_prevent_an_install(dify_job: Command) -> None:
    configure(dify_job, "http://127.0.0.1:1", "")
    env = fake_cron(dify_job)
    assert dify_job("install", "a", "--dry-run", "--backend", "cron", env=env).code == 0


def test_install_stores_the_names_of_the_form_and_looking_does_not(home: Home) -> None:
    with FakeDify((App("app-canary-0123456789", "Report", form=FORM),)) as server:
        text = CONFIG.replace("http://127.0.0.1:9", server.base_url)
        home.configure(text + 'inputs = { topic = "x" }\n')
        state = home.path / "state/dify-job/daily"
        state.mkdir(parents=True)
        home.env["STATE_DIRECTORY"] = str(state)
        for look in ("--check", "--diff", "--dry-run"):
            home("install", "--user", look)
            assert not (state / "form.json").exists()
        assert home("install", "--user").code == 0
        assert "topic" in (state / "form.json").read_text()

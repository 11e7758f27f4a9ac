"""`run --dry-run`: one GET, no run; shows the inputs as they would be sent, and errors in them."""

import json
from typing import Any

import pytest

from tests.support.command import KEY, Command
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify

FORM: tuple[dict[str, Any], ...] = (
    {"text-input": {"variable": "topic", "required": True, "max_length": 48}},
    {"number": {"variable": "count", "required": False}},
)


def configure(dify_job: Command, server: FakeDify, lines: str = "") -> tuple[str, ...]:
    server.apps[KEY] = App(KEY, form=FORM)
    config = dify_job.home / "c.toml"
    config.write_text(f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n{lines}\n')
    return ("run", "daily", "--config", str(config), "--dry-run")


def test_inputs_are_shown_as_they_would_be_sent(dify_job: Command, server: FakeDify) -> None:
    words = configure(
        dify_job, server, 'inputs = { topic = "{{ job }}" }\noutput = { file = "/x/{{ job }}.json" }'
    )
    done = dify_job(*words, "-i", "count=3", env={"K": KEY})
    assert done.code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["inputs"] == {"topic": "daily", "count": 3}
    assert data["output_file"] == "/x/daily.json"
    assert [field["variable"] for field in data["form"]] == ["topic", "count"]
    assert [(one.method, one.path) for one in server.received] == [("GET", "/v1/parameters")]
    assert not server.runs
    state = [path.name for path in dify_job.home.rglob("*") if path.parent.name in ("state", "daily")]
    assert state == ["form.json"], "no run wrote state"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-i", "topic=x", "-i", "TPOIC=x"), "no input TPOIC; did you mean topic?"),
        (("-i", "topci=x"), "did you mean topic?"),
        ((), "topic is required"),
        (("-i", "topic=x", "-i", "count=many"), "must be a number"),
    ],
)
def test_invalid_inputs_are_rejected(
    dify_job: Command, server: FakeDify, args: tuple[str, ...], words: str
) -> None:
    done = dify_job(*configure(dify_job, server), *args, env={"K": KEY})
    assert done.code == 65
    assert words in done.stderr
    assert not server.runs


def test_wrong_key_has_its_own_code_and_the_key_is_not_shown(dify_job: Command, server: FakeDify) -> None:
    done = dify_job(*configure(dify_job, server), env={"K": "app-wrong-key"})
    assert done.code == 77
    assert done.stderr.endswith(" config show daily\n"), "the job, and not JOB"
    assert "app-wrong-key" not in done.stdout + done.stderr


def without_dry_run(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in arguments if word != "--dry-run")


def test_misspelt_input_of_a_run_is_rejected_once_the_form_is_cached(
    dify_job: Command, server: FakeDify
) -> None:
    words = configure(dify_job, server)
    run = (*without_dry_run(words), "-i", "topic=x", "-i", "TPOIC=x")
    assert dify_job(*run, env={"K": KEY}).code == 0, "no form is cached yet"
    dify_job(*words, "-i", "topic=x", env={"K": KEY})
    started = len(server.runs)
    done = dify_job(*run, env={"K": KEY})
    assert done.code == 65
    assert "did you mean topic?" in done.stderr
    assert len(server.runs) == started


def test_valid_inputs_with_an_old_form_need_no_request(dify_job: Command, server: FakeDify) -> None:
    words = configure(dify_job, server)
    dify_job(*words, "-i", "topic=x", env={"K": KEY})
    [cache] = dify_job.home.rglob("form.json")
    server.received.clear()
    assert dify_job(*without_dry_run(words), "-i", "topic=x", env={"K": KEY}).code == 0
    for text in (json.dumps(json.loads(cache.read_text()) | {"at": 1.0}), "{", "[]", '{"at": "x"}'):
        cache.write_text(text)
        dify_job(*without_dry_run(words), "-i", "TPOIC=x", env={"K": KEY})
    assert {one.method for one in server.received} == {"POST"}


def test_newly_published_form_replaces_the_cached_one(dify_job: Command, server: FakeDify) -> None:
    words = configure(dify_job, server)
    dify_job(*words, "-i", "topic=x", env={"K": KEY})
    server.apps[KEY] = App(KEY, form=({"text-input": {"variable": "subject", "required": False}},))
    assert dify_job(*without_dry_run(words), "-i", "subject=x", env={"K": KEY}).code == 0

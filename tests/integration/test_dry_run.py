"""`run --dry-run`: one GET, no run, the inputs as they would be sent, and the mistakes in them."""

import json
from typing import Any

import pytest

from dify_job.demo.apps import App
from dify_job.demo.server import StandIn
from tests.support.command import KEY, Command

FORM: tuple[dict[str, Any], ...] = (
    {"text-input": {"variable": "topic", "required": True, "max_length": 48}},
    {"number": {"variable": "count", "required": False}},
)


def configure(dify_job: Command, server: StandIn, lines: str = "") -> tuple[str, ...]:
    server.apps[KEY] = App(KEY, form=FORM)
    config = dify_job.home / "c.toml"
    config.write_text(f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n{lines}\n')
    return ("run", "daily", "--config", str(config), "--dry-run")


def test_inputs_are_shown_as_they_would_be_sent(dify_job: Command, server: StandIn) -> None:
    words = configure(
        dify_job, server, 'inputs = { topic = "{{ job }}" }\noutput = { file = "/x/{{ job }}.json" }'
    )
    done = dify_job(*words, "-i", "count=3", env={"K": KEY})
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["inputs"] == {"topic": "daily", "count": 3}
    assert told["output_file"] == "/x/daily.json"
    assert [field["variable"] for field in told["form"]] == ["topic", "count"]
    assert [(one.method, one.path) for one in server.received] == [("GET", "/v1/parameters")]
    assert not server.runs
    assert not (dify_job.home / "state").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-i", "topic=x", "-i", "TPOIC=x"), "no input TPOIC"),
        (("-i", "topci=x"), "did you mean topic?"),
        ((), "topic is required"),
        (("-i", "topic=x", "-i", "count=many"), "must be a number"),
    ],
)
def test_mistakes_are_refused(dify_job: Command, server: StandIn, args: tuple[str, ...], words: str) -> None:
    done = dify_job(*configure(dify_job, server), *args, env={"K": KEY})
    assert done.code == 65
    assert words in done.stderr
    assert not server.runs


def test_wrong_key_has_its_own_code_and_the_key_is_not_shown(dify_job: Command, server: StandIn) -> None:
    done = dify_job(*configure(dify_job, server), env={"K": "app-wrong-key"})
    assert done.code == 77
    assert "app-wrong-key" not in done.stdout + done.stderr

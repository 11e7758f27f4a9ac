"""Inputs as the server gets them, and which inputs make dify-job request the app's form first."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import recordings
from tests.support.command import KEY, Command
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify

FORM = tuple(json.loads(recordings.load("1.11.2", "parameters-echo").bytes)["user_input_form"])


@pytest.fixture(params=["1.11.2", "1.12.1", "1.14.2"])
def dify(request: pytest.FixtureRequest) -> Iterator[FakeDify]:
    with FakeDify([App(KEY, form=FORM)], version=request.param) as made:
        yield made


def configure(dify_job: Command, server: FakeDify, lines: str = "") -> None:
    text = f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n{lines}\n'
    (dify_job.home / "c.toml").write_text(text)
    dify_job.env |= {"K": KEY, "DIFY_JOB_CONFIG": str(dify_job.home / "c.toml")}


@pytest.mark.parametrize(
    ("lines", "args"),
    [
        ('inputs = { text = "hi", num = 3.5, flag = true }', []),
        ('inputs = { text = "{{ today }}", para = "see [1] and {2}" }', []),
        ("", ["-i", "text=a=b", "-i", "num=3", "-i", "choice=red"]),
        ("", ["--inputs", '{"text": "x", "num": -1, "flag": false, "opt": null}']),
    ],
)
def test_run_with_plain_inputs_sends_only_its_post(
    dify_job: Command, dify: FakeDify, lines: str, args: list[str]
) -> None:
    configure(dify_job, dify, lines)
    ran = dify_job("run", *args)
    assert ran.code == 0, ran.stderr
    assert dify.paths == ["/workflows/run"]


@pytest.mark.parametrize(
    ("lines", "args"),
    [
        ("", ["-i", "text=true", "-i", "flag=false", "-i", "num=3", "-i", 'obj={"a": [1, "é"]}']),
        ('inputs = { text = "true", flag = false, num = 3, obj = { a = [1, "é"] } }', []),
        ("", ["--inputs", '{"text": "true", "flag": "No", "num": "3", "obj": {"a": [1, "é"]}}']),
    ],
)
def test_form_decides_the_type_of_a_value(
    dify_job: Command, dify: FakeDify, lines: str, args: list[str]
) -> None:
    configure(dify_job, dify, lines)
    ran = dify_job("run", *args)
    assert ran.code == 0, ran.stderr
    assert dify.paths == ["/parameters", "/workflows/run"]
    got = dify.runs[0].inputs
    assert (got["text"], got["flag"], got["num"], got["obj"]) == ("true", False, 3, {"a": [1, "é"]})


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"text": "x", "num": [1]}, "the input num must be a number"),  # HTTP 500 on every server, so 74
        ({"text": "x", "flag": "maybe", "obj": {}}, 'the input flag must be true or false, not "maybe"'),
        ({"text": "x", "obj": [1]}, "the input obj must be a JSON object"),
        ({"obj": {}}, "the input text is required by the app, but has no value"),
        ({"text": "x" * 49, "obj": {}}, "the input text has 49 characters, but the app allows at most 48"),
        (
            {"text": "x", "choice": "pink", "obj": {}},
            "the input choice must be one of 'red', 'green'",
        ),
    ],
)
def test_input_that_violates_the_form_is_65_before_the_post(
    dify_job: Command, dify: FakeDify, inputs: dict[str, Any], words: str
) -> None:
    configure(dify_job, dify)
    ran = dify_job("run", "--inputs", json.dumps(inputs))
    assert ran.code == 65, ran.stderr
    assert words in ran.result["message"]
    assert dify.paths == ["/parameters"]


@pytest.mark.parametrize("way", ["stdin", "file"])
def test_inputs_in_windows_encodings_are_read_and_other_bytes_are_65(
    dify_job: Command, dify: FakeDify, way: str
) -> None:
    configure(dify_job, dify)
    file = dify_job.home / "in.json"
    for content, code in (
        (b'\xef\xbb\xbf{"text": "x", "num": 3}\r\n', 0),
        (b'{"text": "caf\xe9", "num": 3}', 65),
    ):
        file.write_bytes(content)
        with file.open() as stdin:
            ran = dify_job("run", "--inputs", "-" if way == "stdin" else f"@{file}", stdin=stdin)
        assert ran.code == code, ran.stderr
    assert dify.paths == ["/workflows/run"]


@pytest.mark.parametrize("way", ["-", "@/dev/zero"])
def test_endless_inputs_are_66_before_memory_is_exhausted(
    dify_job: Command, dify: FakeDify, way: str
) -> None:
    configure(dify_job, dify)
    with Path("/dev/zero").open("rb") as stdin:
        ran = dify_job("run", "--inputs", way, stdin=stdin)
    assert ran.code == 66, ran.stderr
    assert "is larger than 67108864 bytes" in ran.stderr
    assert dify.received == []


def test_input_without_a_name_is_64(dify_job: Command, dify: FakeDify) -> None:
    configure(dify_job, dify)
    assert dify_job("run", "-i", "=x").code == 64
    assert dify.paths == []


def test_unknown_input_name_is_a_warning(dify_job: Command, dify: FakeDify) -> None:
    configure(dify_job, dify, 'inputs = { text = "x", topic = ["a"] }')
    ran = dify_job("run")
    assert ran.code == 0
    assert "the app has no input topic" in ran.stderr


def test_invalid_secret_input_is_not_shown(dify_job: Command, dify: FakeDify) -> None:
    form = ({"number": {"variable": "api_token", "required": True}},)
    dify.apps[KEY] = App(KEY, form=form)
    configure(dify_job, dify)
    ran = dify_job("run", "-i", "api_token=canary-4711", "-i", "x=true")
    assert ran.code == 65
    assert "must be a number" in ran.result["message"]
    assert "canary" not in ran.stdout + ran.stderr
    assert "canary" not in (dify_job.home / "state" / "last.json").read_text()

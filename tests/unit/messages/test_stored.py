"""Messages in stored records: translated for the reader, and limited to their English text."""

import json
from pathlib import Path

import pytest

from dify_job import log
from dify_job.dify.models import ApiError
from dify_job.messages.command import Command, command
from dify_job.messages.i18n import translate
from dify_job.messages.message import Message, join, msg
from dify_job.messages.stored import as_data, from_data
from dify_job.run.outcome import decide
from dify_job.run.result import result_of
from dify_job.state.history import RunRecord


def stored(text: str) -> str:
    return from_data(str(text), json.loads(json.dumps(as_data(text))))


@pytest.mark.parametrize(
    "text",
    [
        msg("workflow succeeded"),
        msg("the file {path} of {n:.1f} s is {x!r}", path=Path("/a"), n=1.25, x="b"),
        msg("{a}; {b}", a=msg("the server refused the connection"), b=command("dify-job", "doctor", "a b")),
        join("; ", [msg("the server refused the connection"), "x"]),
        msg("succeeded in {seconds} s, {tokens:,} tokens", seconds=1.5, tokens=12345),
    ],
)
def test_message_survives_storing(text: Message) -> None:
    found = stored(text)
    assert isinstance(found, Message)
    assert (found, found.template) == (text, text.template)


def test_command_survives_storing() -> None:
    found = stored(command("dify-job", "doctor", "a", needs_root=True))
    assert isinstance(found, Command)
    assert (found.argv, found.needs_root) == (("dify-job", "doctor", "a"), True)


def doubled(levels: int) -> object:
    data: object = "x"
    for _ in range(levels):
        data = {"template": "{a}{a}", "values": {"a": data}}
    return data


@pytest.mark.parametrize(
    "data",
    [
        None,
        5,
        {},
        {"template": "{a.__class__}", "values": {"a": "x"}},
        {"template": "{a:>999999999999}", "values": {"a": "x"}},
        {"template": "{a:{b}}", "values": {"a": "x", "b": 9}},
        {"template": "{", "values": {}},
        {"template": "{a}", "values": {}},
        {"template": "another text", "values": {}},
        {"template": "{a}", "values": {"a": {"template": 5}}},
        {"argv": ["rm", "-rf"]},
        {"argv": []},
        doubled(100),
    ],
)
def test_record_without_usable_data_shows_its_english_text(data: object) -> None:
    found = from_data("what happened", data)
    assert found == "what happened"
    assert not isinstance(found, Message)


def test_stored_message_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = decide(ApiError(401, "unauthorized", "Access token is invalid"))
    record = result_of(outcome, "a", call_time="", attempts=1, duration=1.0).record.as_json()
    run = RunRecord.of(json.loads(json.dumps(record)))
    again = RunRecord.of(json.loads(json.dumps(run.as_json())))
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    for one in (run, again):
        assert "Access token is invalid" in one.message
        assert translate(one.message_text) == translate(outcome.message)
    assert translate(again.hint_text or "") != again.hint
    english = {key: value for key, value in record.items() if not key.endswith("_data")}
    old = RunRecord.of(json.loads(json.dumps(english)))
    assert translate(old.message_text) == run.message


def test_stored_values_have_no_secret() -> None:
    log.add_secret("s3cret-key-1234")
    outcome = decide(ApiError(401, "unauthorized", "no s3cret-key-1234 here"))
    record = result_of(outcome, "a", call_time="", attempts=1, duration=1.0).record.as_json()
    assert "s3cret" not in json.dumps(record)

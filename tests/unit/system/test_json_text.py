import json
import time

import pytest

from dify_job import log
from dify_job.system.json_text import MAX_DEPTH, RawJson, check, dumps, loads, loads_answer


def nested(levels: int, inner: str = "1") -> str:
    return "[" * levels + inner + "]" * levels


@pytest.mark.parametrize("text", [nested(5000), '{"a":' * 5000 + "1" + "}" * 5000, nested(MAX_DEPTH + 1)])
def test_user_json_beyond_the_depth_limit_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="nested more than 200 levels"):
        loads(text)


def test_user_json_with_an_overlong_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than 4300 digits"):
        loads(f'{{"a": {"9" * 5000}}}')
    with pytest.raises(ValueError, match="more than 4300 digits"):
        check({"a": [int("f" * 5000, 16)]})
    with pytest.raises(ValueError, match="Expecting"):
        loads("{")


def test_json_within_the_limits_is_unchanged() -> None:
    text = nested(MAX_DEPTH)
    assert loads(text) == loads_answer(text) == json.loads(text)
    assert loads('{"a": [1, "x", null, 1.5]}') == {"a": [1, "x", None, 1.5]}


@pytest.mark.parametrize(
    "inner",
    [
        nested(5000),
        nested(100_000, '"text with ] and \\" in it"'),
        '{"a":' * 3000 + '{"b": []}' + "}" * 3000,
        "9" * 5000,
        "-" + "9" * 5000,
        "[1, " + "9" * 5000 + ", 2]",
        nested(300, "9" * 5000),
        nested(MAX_DEPTH),
    ],
)
def test_server_json_of_any_depth_is_complete(inner: str) -> None:
    text = f'{{"status": "succeeded", "outputs": {{"x": {inner}, "y": ["[", "a"]}}}}'
    value = loads_answer(text)
    assert value["status"] == "succeeded"
    assert value["outputs"]["y"] == ["[", "a"]
    for written in (dumps(value), log.as_json(value)):
        assert written.replace(" ", "") == text.replace(" ", "")
    indented = log.as_json(value, indent=2)
    assert "".join(indented.split()) == "".join(text.split())


@pytest.mark.parametrize(
    "text",
    [nested(5000)[:-1], nested(5000) + "]", nested(5000, "nul"), "]" * 500, nested(300, "9" * 5000 + "x")],
)
def test_server_json_with_a_syntax_error_at_depth_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads_answer(text)


def test_deep_json_takes_linear_time() -> None:
    began = time.process_time()
    loads_answer(nested(1_000_000))
    assert time.process_time() - began < 10


def test_secrets_in_deep_json_are_redacted() -> None:
    log.add_secret("swordfish-1")
    value = loads_answer(nested(1000, '"the swordfish-1"'))
    assert "swordfish" not in log.as_json({"a": value, "b": [value]})
    assert json.loads(log.as_json({"b": "swordfish-1"})) == {"b": "[hidden]"}


def test_deep_value_can_be_expanded() -> None:
    value = loads_answer(nested(1000))
    for _ in range(MAX_DEPTH):
        value = value[0]
    assert isinstance(value, RawJson)
    assert isinstance(value.opened(), list)
    assert RawJson("9" * 5000).opened() == RawJson("9" * 5000)

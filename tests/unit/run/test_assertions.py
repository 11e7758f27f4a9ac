"""Expectations on outputs: parsing with line numbers of errors, and evaluation."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.config.loader import load_config
from dify_job.config.model import Expectation
from dify_job.config.readers import expect as expectations
from dify_job.dify.models import WorkflowRun
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.run.assertions import apply_assertions, assertion_error, shown, type_of
from dify_job.run.outcome import RunOutcome

OUTPUTS = {
    "text": "OK: 3 rows",
    "blank": " \n",
    "n": 3,
    "zero": 0,
    "flag": True,
    "none": None,
    "list": [1, {"a": "x"}],
    "object": {"a": 1.0},
    "empty": [],
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def fault(path: str, wanted: Any) -> str | None:
    [(at, expectation)] = expectations({path: wanted}).items()
    return assertion_error({"outputs": OUTPUTS, "status": "succeeded"}, at, expectation)


@pytest.mark.parametrize(
    ("path", "wanted", "words"),
    [
        ("outputs.text", "nonempty", None),
        ("outputs.zero", "nonempty", None),
        ("outputs.flag", "nonempty", None),
        ("outputs.none", "present", None),
        ("outputs.blank", "nonempty", 'is empty: " \\\\n"'),
        ("outputs.none", "nonempty", "is empty: null"),
        ("outputs.empty", "nonempty", "is empty: []"),
        ("outputs.nope", "present", "is missing"),
        ("outputs.list.7", "present", "is missing"),
        ("outputs.list.²", "present", "is missing"),
        ("outputs.list.1.a", {"equals": "x"}, None),
        ("status", {"equals": "succeeded"}, None),
        ("outputs.n", {"equals": 3.0}, None),
        ("outputs.n", {"equals": 4}, "is 3, not 4"),
        ("outputs.flag", {"equals": 1}, "is true, not 1"),
        ("outputs.zero", {"equals": False}, "is 0, not false"),
        ("outputs.object", {"equals": {"a": 1}}, None),
        ("outputs.list", {"equals": [True, {"a": "x"}]}, 'is [1, {"a": "x"}], not [true, {"a": "x"}]'),
        ("outputs.text", {"regex": "^OK"}, None),
        ("outputs.text", {"regex": "rows$"}, None),
        ("outputs.text", {"regex": "^rows"}, "does not match '^rows': \"OK: 3 rows\""),
        ("outputs.n", {"regex": "^3$"}, None),
        ("outputs.text", {"type": "string"}, None),
        ("outputs.object", {"type": "array|object"}, None),
        ("outputs.none", {"type": ["string", "null"]}, None),
        (
            "outputs.text",
            {"type": "number|null"},
            'has the type string instead of number | null: "OK: 3 rows"',
        ),
        ("outputs.text", {"nonempty": True, "type": "string", "regex": "FAIL"}, "does not match 'FAIL'"),
    ],
)
def test_violated_expectation_is_reported_with_the_actual_value(
    path: str, wanted: Any, words: str | None
) -> None:
    found = fault(path, wanted)
    assert (
        (found is None)
        if words is None
        else (found or "").startswith(f"{path} " + words.replace("\\\\", "\\"))
    )


def test_catastrophic_regular_expression_times_out() -> None:
    began = time.monotonic()
    wanted = Expectation(regex="(a+)+$")
    found = assertion_error({"outputs": {"a": "a" * 64 + "b"}}, "outputs.a", wanted)
    assert found == "the search for '(a+)+$' in outputs.a took longer than 5 s"
    assert time.monotonic() - began < 60


@given(value=json_values)
def test_every_value_equals_itself_and_has_one_type(value: Any) -> None:
    copy = json.loads(json.dumps(value))
    assert assertion_error({"outputs": {"a": copy}}, "outputs.a", Expectation(equals=(value,))) is None
    assert assertion_error({"outputs": {"a": copy}}, "outputs.a", Expectation(type=(type_of(value),))) is None
    assert len(shown(value)) <= 60


def test_dates_of_toml_are_texts_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    wanted = "[2026-01-01, { at = 07:30:00 }]"
    path.write_text(
        f'[jobs.a]\ninputs = {{ x = {wanted} }}\nexpect = {{ "outputs.a" = {{ equals = {wanted} }} }}\n'
    )
    job = load_config(path).jobs["a"]
    texts = ["2026-01-01", {"at": "07:30:00"}]
    assert job.inputs == {"x": texts}
    assert assertion_error({"outputs": {"a": texts}}, "outputs.a", job.expect["outputs.a"]) is None
    assert "is [1], not" in str(
        assertion_error({"outputs": {"a": [1]}}, "outputs.a", job.expect["outputs.a"])
    )


def test_expectations_apply_to_successes_and_all_violations_are_reported() -> None:
    run = WorkflowRun("r", "t", status="succeeded", outputs=OUTPUTS)
    expect = expectations(
        {"outputs.n": {"equals": 4}, "outputs.text": "nonempty", "outputs.empty": "nonempty"}
    )
    good = RunOutcome(Outcome.SUCCEEDED, "workflow succeeded", run=run)
    decided = apply_assertions(good, expect)
    assert decided.outcome is Outcome.UNEXPECTED
    assert (
        decided.message == "workflow succeeded, but its result is not as expected: "
        "outputs.n is 3, not 4; outputs.empty is empty: []"
    )
    assert decided.run is run
    failed = RunOutcome(Outcome.FAILED, "workflow failed", run=run)
    assert apply_assertions(failed, expect) is failed
    assert apply_assertions(good, {}) is good


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('expect = { "outputs.a" = "full" }', "'full', but must be 'nonempty' | 'present' or a table"),
        ('expect = { "outputs.a" = { regex = "(" } }', "is not a regular expression: missing )"),
        ('expect = { "outputs.a" = { rexeg = "x" } }', "no setting 'rexeg'"),
        ('expect = { "outputs.a" = { type = "text" } }', "one of object, array, string"),
        ('expect = { "outputs.a" = {} }', 'must be "nonempty" or a table'),
        (
            'expect = { "result" = "nonempty" }',
            "'result', but must begin with one of outputs",
        ),
        ('expect = { "outputs..a" = "nonempty" }', "a name must follow each dot"),
        ('expect = "nonempty"', "must be a table"),
        (
            'expect = { "outputs.a" = { equals = [nan] } }',
            ".equals contains nan, which JSON does not allow",
        ),
        ("inputs = { a = [{ b = -inf }] }", "inputs contains -inf, which JSON does not allow"),
        ('output = { file = "/x", select = "result" }', "output.select is 'result'"),
        (
            'output = { file = "/x", mode = 640 }',
            'output.mode must be a file mode in octal, as a string: "0640"',
        ),
        ('output = { file = "/x", mode = "4755" }', "output.mode must be a file mode"),
        ('output = { file = "/x", format = "yaml" }', "output.format must be one of text, json"),
        ('output = { file = "/x", downloads = { max_files = 0 } }', "output.downloads.max_files must be"),
        ('output = { file = "/x", downloads = { size = "1MB" } }', "output.downloads has no setting 'size'"),
        ('env = ["A-B"]', "not the name of an environment variable"),
        ('env = ["DIFY_API_KEY"]', "env must not contain DIFY_API_KEY"),
    ],
)
def test_invalid_expectation_is_reported_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"[jobs.a]\n{line}\n")
    with pytest.raises(JobError) as caught:
        load_config(path)
    assert caught.value.outcome is Outcome.CONFIG
    assert f"{path}:2: " in caught.value.message
    assert words in caught.value.message


def test_input_files_are_relative_to_the_config(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[jobs.a]\nfiles = { a = "in/a.txt", b = ["/b", "https://h/c?d", "{{ x }}", ""], c = "~/c" }\n'
    )
    files = load_config(path).jobs["a"].files
    assert files["a"] == (str(tmp_path / "in/a.txt"),)
    assert files["b"] == ("/b", "https://h/c?d", "{{ x }}", "")
    assert files["c"] == (str(Path("~/c").expanduser()),)

"""Conversion of inputs to the types of the form, with forms of recorded servers."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify.form import FormField, Parameters, read_parameters
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.run.app_form import coerce, fit_inputs
from dify_job.run.inputs import needs_form
from tests.support import recordings
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.files import ErrorResponse, Uploads
from tests.support.fake_dify.form import InvalidParam, convert_inputs

VERSIONS = {"1.11.2": (1, 11), "1.12.1": (1, 12), "1.14.2": (1, 14), "1.16.1": (1, 16)}
FORMS = {
    version: recordings.load(version, "parameters-echo").bytes
    for version in recordings.VERSIONS
    if "parameters-echo" in recordings.names(version)
}

WRITTEN = ["true", "no", "3", "-0.10", "1e5", "red", '{"a": 1}', "{bad", "[1]", "٣", "1_0"]
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=60)
values = st.recursive(
    scalars
    | st.sampled_from(["true", "no", "3", "-0.10", "1e5", "red", '{"a": 1}', "{bad", "[1]", "٣", "1_0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["text", "para", "num", "choice", "flag", "obj", "opt"])


def form_of(version: str) -> Parameters:
    parameters = read_parameters(FORMS[version])
    assert parameters is not None
    return parameters


def test_forms_of_all_versions_are_recorded() -> None:
    assert {VERSIONS[version] < (1, 12) for version in FORMS} == {True, False}


@pytest.mark.parametrize("version", FORMS)
@given(inputs=st.dictionaries(names, values, max_size=7), text=st.text(min_size=1, max_size=48))
def test_inputs_fit_the_form_or_are_rejected_before_the_post(
    version: str, inputs: dict[str, Any], text: str
) -> None:
    """Accepted inputs must pass the fake server, which validates like the recorded ones, unchanged."""
    parameters = form_of(version)
    app = App("k", form=tuple(json.loads(FORMS[version])["user_input_form"]))
    inputs.setdefault("text", text)
    refused: JobError | None = None
    try:
        sent = fit_inputs(inputs, parameters, VERSIONS[version], {})
    except JobError as error:
        refused = error
    if refused is not None:
        assert refused.outcome is Outcome.REJECTED
        assert refused.hint
        parts = refused.message.split("; ")
        named = {part.split()[2] for part in parts if part.startswith("the input ")}
        assert named <= inputs.keys(), "each mistake names its input"
        return
    try:
        got = convert_inputs(app, sent, Uploads(), VERSIONS[version])
    except (InvalidParam, ErrorResponse) as error:
        pytest.fail(f"Dify would refuse {sent}: {error!r}")
    for name, value in inputs.items():
        assert means_the_same(value, got[name], parameters.field(name)), (name, value, got[name])


def means_the_same(given: Any, got: Any, field: FormField | None) -> bool:
    """True if the workflow gets the value that the user wrote."""
    assert field is not None
    if given is None:
        return bool(got == field.default)
    match field.kind:
        case "number":
            if isinstance(given, str):
                return got is None if not given.strip() else math.isclose(float(given), got, rel_tol=1e-15)
            return got == given and not isinstance(got, bool)
        case "checkbox":
            words = {True: ("true", "yes", "on", "1"), False: ("false", "no", "off", "0")}
            return got is given or str(given).strip().lower() in words[got]
        case "json_object":
            return bool(got == (json.loads(given) if isinstance(given, str) else given))
    return bool(got == given)


@given(inputs=st.dictionaries(st.text(max_size=8), st.text(max_size=30) | st.integers() | st.booleans()))
def test_plain_inputs_need_no_form(inputs: dict[str, Any]) -> None:
    looks_typed = [
        value
        for value in inputs.values()
        if isinstance(value, str)
        and (value.strip().lower() in ("true", "false") or value.strip()[:1] in ("{", "["))
    ]
    assert not needs_form(inputs) or looks_typed


@pytest.mark.parametrize(
    ("inputs", "needed"),
    [
        ({"a": "text", "n": "3", "m": 3, "b": True, "none": None, "empty": ""}, False),
        ({"a": "see [1] and {2}"}, False),
        ({"a": {"b": 1}}, True),
        ({"a": []}, True),
        ({"a": '{"b": 1}'}, True),
        ({"a": " [1, 2]\n"}, True),
        ({"a": "false"}, True),
    ],
)
def test_form_is_needed_for_some_types(inputs: dict[str, Any], needed: bool) -> None:
    assert needs_form(inputs) is needed


@pytest.mark.parametrize("version", FORMS)
def test_json_object_is_sent_in_the_form_of_the_server_version(version: str) -> None:
    field = form_of(version).field("obj")
    assert field is not None
    as_text = VERSIONS[version] < (1, 12)
    for value in ({"a": "é"}, '{"a": "é"}'):
        sent = coerce(field, value, VERSIONS[version])
        assert (json.loads(sent) if as_text else sent) == {"a": "é"}
        assert isinstance(sent, str) is as_text


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        ("number", "3", 3),
        ("number", " 3.50 ", 3.5),
        ("number", "007", 7),
        ("number", "-1e3", -1000.0),
        ("number", "0.12345678901234567890123", "0.12345678901234567890123"),
        ("number", "", ""),
        ("checkbox", "No", False),
        ("checkbox", "1", True),
        ("text-input", "true", "true"),
        ("file", "", ""),
        ("some-new-kind", ["x"], ["x"]),
    ],
)
def test_value_is_converted(kind: str, value: Any, sent: Any) -> None:
    got = coerce(FormField(variable="a", kind=kind), value, None)
    assert (got, type(got)) == (sent, type(sent))


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("number", True, "must be a number"),
        ("number", [1], "must be a number"),
        ("number", "abc", 'must be a number, not "abc"'),
        ("number", "nan", "must be a number"),
        ("number", "1e400", "too large"),
        ("checkbox", "maybe", 'must be true or false, not "maybe"'),
        ("checkbox", 1, "must be true or false"),
        ("json_object", "[1]", "must be a JSON object"),
        ("json_object", "{bad", "is not JSON"),
        ("text-input", 5, "must be a string"),
        ("file", "report.pdf", "give the file in files"),
        ("file-list", [{"type": "image"}], "give the file in files"),
    ],
)
def test_invalid_value_is_rejected_with_the_reason(kind: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        coerce(FormField(variable="a", kind=kind), value, None)


def test_all_errors_are_reported_together_with_missing_inputs() -> None:
    with pytest.raises(JobError) as caught:
        fit_inputs({"num": "x", "flag": "maybe"}, form_of("1.11.2"), (1, 11), {})
    assert [part.split()[2] for part in caught.value.message.split("; ")] == ["num", "flag", "text"]


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("text", None, "the input text is required by the app, but has no value"),
        ("text", "", None),
        ("text", 3, "must be a string, because its type in the app is text-input"),
        ("text", "x" * 48, None),
        ("text", "x" * 49, "has 49 characters, but the app allows at most 48"),
        ("opt", None, None),
        ("choice", "red", None),
        ("choice", "", "must be one of 'red', 'green', 'blue'"),
        ("choice", "pink", "must be one of 'red', 'green', 'blue'"),
        ("num", "3.5", None),
        ("num", "", None),
        ("num", True, "must be a number"),
        ("num", "abc", 'must be a number, not "abc"'),
        ("num", [1], "must be a number"),
        ("flag", "other", 'must be true or false, not "other"'),
        ("obj", {"a": 1}, None),
        ("obj", '{"a": 1}', None),
        ("obj", "text", "must be a JSON object, but is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("obj", [1], 'must be a JSON object: {"key": "value"}'),
    ],
)
def test_value_is_rejected_like_on_the_recorded_servers(
    variable: str, value: object, fault: str | None
) -> None:
    field = form_of("1.12.1").field(variable)
    assert field is not None
    found = None
    try:
        coerce(field, value, VERSIONS["1.12.1"])
    except ValueError as error:
        found = str(error)
    assert found is None if fault is None else (found or "").endswith(fault)

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify.form import FormField, read_parameters
from tests.support.recordings import VERSIONS, load, names

RECORDED = [
    (version, name) for version in VERSIONS for name in names(version) if name.startswith("parameters-")
]


@pytest.mark.parametrize(("version", "name"), RECORDED)
def test_recorded_form_is_parsed_completely(version: str, name: str) -> None:
    recording = load(version, name)
    read = read_parameters(recording.bytes)
    if recording.status != 200:
        assert read is None
        return
    assert read is not None
    controls = json.loads(recording.bytes)["user_input_form"]
    assert [(f.kind, f.variable) for f in read.form] == [
        (k, c["variable"]) for e in controls for k, c in e.items()
    ]
    assert read.limits["image"] == 10 * 1024 * 1024


def test_fields_of_the_recorded_echo_app_are_parsed() -> None:
    read = read_parameters(load("1.14.2", "parameters-echo").bytes)
    assert read is not None
    assert read.field("text") == FormField(
        variable="text", kind="text-input", label="text", required=True, max_length=48
    )
    choice = read.field("choice")
    assert choice is not None
    assert choice.options == ("red", "green", "blue")
    optional = read.field("opt")
    assert optional is not None
    assert (optional.default, optional.required) == ("fallback", False)
    assert read.field("nobody") is None


def test_file_fields_have_types_and_limits_in_bytes() -> None:
    read = read_parameters(load("1.11.2", "parameters-file-small-limit").bytes)
    assert read is not None
    docs = read.field("docs")
    assert docs is not None
    assert docs.takes_files
    assert (docs.max_length, docs.allowed_types) == (5, ("image", "document", "custom"))
    assert (docs.allowed_extensions, docs.allowed_methods) == ((".bin",), ("local_file", "remote_url"))
    assert read.limits["document"] == 1024 * 1024


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["variable", "options", "label", "max_length", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(form=_JSON, system=_JSON)
def test_any_json_is_parsed_or_none(form: object, system: object) -> None:
    read = read_parameters(json.dumps({"user_input_form": form, "system_parameters": system}).encode())
    assert (read is not None) == isinstance(form, list)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"user_input_form": {}}', b"[" * 100_000])
def test_response_of_another_server_is_none(body: bytes) -> None:
    assert read_parameters(body) is None

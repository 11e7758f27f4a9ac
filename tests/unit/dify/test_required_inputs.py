"""Required inputs of an app that a job leaves empty."""

import pytest

from dify_job.dify.form import FormField, empty_required

FORM = (
    FormField(kind="text-input", variable="topic", required=True),
    FormField(kind="file", variable="doc", required=True),
    FormField(kind="number", variable="count", required=True),
    FormField(kind="checkbox", variable="flag", required=True),
    FormField(kind="text-input", variable="note"),
)


@pytest.mark.parametrize(
    ("given", "empty"),
    [
        ({}, ("topic", "doc", "count", "flag")),
        ({"topic": "", "doc": "", "count": 0, "flag": False}, ("topic", "doc")),
        ({"topic": "{{ today }}", "doc": ("/a", "/b"), "count": 1, "flag": True, "other": ""}, ()),
        ({"topic": "x", "doc": (), "count": 1, "flag": True}, ("doc",)),
    ],
)
def test_empty_required_inputs_are_listed(given: dict[str, object], empty: tuple[str, ...]) -> None:
    assert empty_required(FORM, given) == empty

"""Parsing responses: any JSON or bytes are parsed or ignored, and never raise."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify import models
from dify_job.dify.models import ApiError, RunNotFound, WorkflowRun
from dify_job.dify.sse import ServerSentEvent
from dify_job.exit_codes import Outcome
from dify_job.run.outcome import decide
from dify_job.run.result import result_of

NAMES = [
    "event", "data", "id", "status", "task_id", "workflow_run_id", "workflow_run", "outputs", "error", "code",
    "message", "params", "elapsed_time", "total_tokens", "total_steps", "created_at", "finished_at", "title",
    "execution_metadata", "created_by_end_user", "session_id",
]  # fmt: skip
WORDS = [
    "workflow_finished",
    "workflow_paused",
    "error",
    "node_finished",
    "succeeded",
    "running",
    "not_found",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        [10**400, -(10**400), 1e308, *WORDS, "Fri, 28 Mar 0000 99:00:00 -9999", "\ud800", "\x1b[2J"]
    )
    | st.text()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=30,
)


@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=10), st.sampled_from([200, 400, 401, 404, 500])
)
def test_any_json_is_parsed_or_ignored(value: object, status: int) -> None:
    body = json.dumps(value).encode()
    event = models.read_event(ServerSentEvent("message", body))
    answer = models.read_answer(body)
    found = models.read_detail(status, body)
    page = models.read_logs(body, "u")
    error = models.read_error(status, {"X-Version": "1.²"}, body)
    runs = [event and event.run, answer, found, *(page.runs if page is not None else ())]
    ends: list[ApiError | WorkflowRun] = [error, *(run for run in runs if isinstance(run, WorkflowRun))]
    for end in ends:
        result = result_of(decide(end), "j", call_time="", attempts=1, duration=0)
        json.dumps(result.as_json(), allow_nan=True)
        assert len(result.message) <= 1000
        assert "\n" not in result.message
        assert result.message.isprintable() or all(c.isprintable() or ord(c) > 127 for c in result.message)
        assert isinstance(result.outcome, Outcome)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_ignored(body: bytes) -> None:
    models.read_event(ServerSentEvent("message", body))
    models.read_answer(body)
    models.read_detail(200, body)
    models.read_logs(body, "u")
    models.read_error(400, {}, body)


@pytest.mark.parametrize(
    "version", ["", "1", "1.", "x.y", "²", "1.²", "-1.0", "9" * 5000 + ".1", "1.14.2", "v1.2"]
)
def test_invalid_version_is_none(version: str) -> None:
    parsed = models.version_of({"X-Version": version})
    assert parsed == ((1, 14) if version == "1.14.2" else None)


@pytest.mark.parametrize("run_id", ["", " ", "a b", "x\n", "é", "a" * 256, 5, None, {"a": 1}])
def test_invalid_run_id_is_none(run_id: object) -> None:
    body = json.dumps({"event": "node_started", "workflow_run_id": run_id, "task_id": run_id}).encode()
    event = models.read_event(ServerSentEvent("message", body))
    assert event is not None
    assert (event.run_id, event.task_id) == (None, None)


def test_nan_and_infinity_are_null() -> None:
    run = models.read_detail(
        200,
        b'{"id": "r", "status": "succeeded", "outputs": {"a": NaN, "b": -Infinity}, "total_tokens": 1e999}',
    )
    assert isinstance(run, WorkflowRun)
    assert (run.outputs, run.total_tokens) == ({"a": None, "b": None}, None)


@pytest.mark.parametrize(
    ("error", "text"),
    [({"code": "x"}, '{"code": "x"}'), (["a"], '["a"]'), (5, "5"), ({}, None), (None, None)],
)
def test_error_that_is_no_text_is_reported_as_json(error: object, text: str | None) -> None:
    body = json.dumps({"data": {"id": "r", "status": "failed", "error": error}}).encode()
    run = models.read_answer(body)
    assert isinstance(run, WorkflowRun)
    assert run.error == text


def test_only_a_404_of_dify_means_that_the_run_does_not_exist() -> None:
    nulls = b'{"id": null, "status": null}'
    own = b'{"code": "not_found", "message": "Workflow run not found.", "status": 404}'
    assert isinstance(models.read_detail(200, nulls), RunNotFound)
    assert isinstance(models.read_detail(404, own), RunNotFound)
    for status, body in (
        (404, b"<html>"),
        (200, b"<html>"),
        (200, b"{}"),
        (502, nulls),
        (404, b'{"error": 1}'),
    ):
        assert models.read_detail(status, body) is None


def test_json_of_another_service_is_no_api_error() -> None:
    assert models.read_answer(b'{"code": 0, "message": "ok", "data": {}}') is None
    assert isinstance(models.read_answer(b'{"code": "x", "message": "no", "status": 400}'), ApiError)

"""The outcome of each possible end of a call."""

import json

import pytest

from dify_job.dify.models import ApiError, WorkflowRun, read_error
from dify_job.run.call_options import CallOptions
from dify_job.run.outcome import Next, NotSent, decide

STREAMING = CallOptions(streaming=True)
FULL = (
    "Too many requests. Please try again later. The current maximum concurrent requests allowed for x is {}."
)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "agent_not_published", "config"),
        (400, "app_unavailable", "config"),
        (403, "trigger_workflow_service_mode_unavailable", "config"),
        (403, "workflow_version_execution_not_allowed", "denied"),
        (429, "too_many_requests", "busy"),
        (502, "plugin_runtime_error", "unknown"),
    ],
)
def test_http_error_has_an_outcome(status: int, code: str, outcome: str) -> None:
    body = {"code": code, "message": "said", "status": status}
    found = decide(read_error(status, {"X-Version": "1.16.1"}, json.dumps(body).encode()), STREAMING)
    assert found.outcome == outcome


@pytest.mark.parametrize(
    ("code", "outcome"), [("too_many_requests", "busy"), ("plugin_runtime_error", "failed"), ("", "failed")]
)
def test_error_event_has_an_outcome(code: str, outcome: str) -> None:
    found = decide(ApiError(500, code, "said", in_stream=True, version=(1, 16)), STREAMING)
    assert found.outcome == outcome


def test_message_contains_the_request_id_of_a_plugin() -> None:
    body = {"code": "plugin_runtime_error", "message": "broken", "details": {"request_id": "r-1"}}
    assert "r-1" in decide(read_error(502, {}, json.dumps(body).encode())).message


def test_unpublished_app_has_one_wording() -> None:
    by_run = decide(ApiError(400, "invalid_param", "Workflow not published"))
    by_form = decide(
        ApiError(400, "app_unavailable", "App unavailable, please check your app configurations.")
    )
    assert (by_run.outcome, by_run.message, by_run.hint) == (by_form.outcome, by_form.message, by_form.hint)


@pytest.mark.parametrize(
    ("limit", "version", "streaming", "blocks", "following"),
    [
        (1, (1, 16), True, True, Next.FINAL),
        (1, (1, 14), True, True, Next.FINAL),
        (1, (1, 12), True, True, Next.RETRY),
        (1, None, True, True, Next.RETRY),
        (1, (1, 16), False, False, Next.RETRY),
        (2, (1, 16), True, False, Next.RETRY),
        (10, (1, 16), True, False, Next.RETRY),
    ],
)
def test_app_limit_of_one_needs_blocking_mode(
    limit: int, version: tuple[int, int] | None, streaming: bool, blocks: bool, following: Next
) -> None:
    error = ApiError(400, "invalid_param", FULL.format(limit), version=version)
    found = decide(error, CallOptions(streaming=streaming))
    assert found.outcome == "busy"
    assert ("blocking" in (found.hint or "")) is blocks
    assert found.next is following


@pytest.mark.parametrize(
    ("message", "version", "outcome"),
    [
        ("3 validation errors for CodeNodeData variables Field required", (1, 16), "config"),
        ("Unable to determine default root node ID from workflow graph", (1, 16), "config"),
        ("Unable to determine default root node ID from workflow graph", (1, 14), "rejected"),
        ("Failed to request plugin daemon, url: plugin/x", (1, 16), "failed"),
        ("text is required in input form", (1, 16), "rejected"),
    ],
)
def test_invalid_param_of_an_event_is_about_the_app_from_1_15(
    message: str, version: tuple[int, int], outcome: str
) -> None:
    error = ApiError(400, "invalid_param", message, in_stream=True, version=version)
    assert decide(error, STREAMING).outcome == outcome


def test_shutdown_of_the_worker_is_not_reported_as_a_manual_stop() -> None:
    run = WorkflowRun(
        status="stopped", error="Aborted: Workflow stopped because the worker is shutting down."
    )
    found = decide(run)
    assert found.outcome == "stopped"
    assert "somebody" not in (found.hint or "")
    assert "worker" in (found.hint or "")


def test_call_that_was_not_sent_may_be_repeated() -> None:
    found = decide(NotSent("the server refused the connection"))
    assert (found.outcome, found.next, found.unsent) == ("unreachable", Next.RETRY, True)


@pytest.mark.parametrize(
    ("status", "body", "version", "outcome"),
    [
        (404, b"<html>404 Not Found", "1.7.1", "config"),  # the path exists since 1.7.2
        (404, b'{"code": "not_found", "message": "no", "status": 404}', "1.16.1", "config"),
        (400, b'{"code": "bad_request", "message": "no", "status": 400}', "1.16.1", "config"),
        (404, b"<html>404 Not Found", None, "protocol"),
    ],
)
def test_version_that_the_server_cannot_run_is_a_configuration_error(
    status: int, body: bytes, version: str | None, outcome: str
) -> None:
    error = read_error(status, {"X-Version": version} if version else {}, body)
    found = decide(error, CallOptions(workflow_id="some-version"))
    assert found.outcome.value == outcome
    assert ("some-version" in found.message) is (outcome == "config")

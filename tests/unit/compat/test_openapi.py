"""The OpenAPI description of the HTTP interface."""

import json

from dify_job.compat.openapi import openapi


def test_document_has_each_call_with_its_method() -> None:
    document = openapi(["daily", "weekly"])
    assert json.loads(json.dumps(document)) == document
    assert {path: list(calls) for path, calls in document["paths"].items()} == {
        "/api/dify/call": ["post"],
        "/api/dify/scheduler/start": ["post"],
        "/api/dify/scheduler/stop": ["post"],
        "/api/dify/scheduler/status": ["get"],
    }

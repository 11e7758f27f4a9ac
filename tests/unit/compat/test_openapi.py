"""The OpenAPI description of the HTTP interface."""

import json

from dify_job.compat.openapi import openapi


def test_description_has_each_call_with_its_method() -> None:
    told = openapi(["daily", "weekly"])
    assert json.loads(json.dumps(told)) == told
    assert {path: list(calls) for path, calls in told["paths"].items()} == {
        "/api/dify/call": ["post"],
        "/api/dify/scheduler/start": ["post"],
        "/api/dify/scheduler/stop": ["post"],
        "/api/dify/scheduler/status": ["get"],
    }

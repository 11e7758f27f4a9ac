"""The description of the calls, for programs (OpenAPI 3.1) and for people. Pure."""

from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..messages.message import msg

_TEXT, _FLAG, _MAYBE = {"type": "string"}, {"type": "boolean"}, {"type": ["string", "null"]}
_CALL = {
    "success": _FLAG,
    "message": _TEXT,
    "response_data": {"type": ["object", "null"]},
    "call_time": {"type": "string", "format": "date-time"},
}
_STATUS = {"running": _FLAG, "job_name": _TEXT, "next_run_time": _MAYBE, "message": _TEXT}

DOCS = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>dify-job</title>
<h1>dify-job</h1>
<p>One request, one short process; the schedule is systemd's. <a href="/openapi.json">openapi.json</a></p>
<table>
<tr><th>call<th>does
<tr><td><code>POST /api/dify/call</code><td>runs the workflow once, now, and answers with its result
<tr><td><code>POST /api/dify/scheduler/start?interval_hours=1</code>
<td>lets the job run every so many hours from now on
<tr><td><code>POST /api/dify/scheduler/stop</code><td>disables its schedule
<tr><td><code>GET /api/dify/scheduler/status</code><td>returns whether it will run, and when next
</table>
<p>Where there are several jobs, <code>?job=NAME</code> says which.
The log: <code>journalctl -u dify-job.http</code>.</p>
</html>
"""


def openapi(jobs: Sequence[str]) -> dict[str, Any]:
    """Return the OpenAPI description of the four calls.

    Args:
        jobs: The jobs that can be called.
    """
    job = _parameter("job", {"type": "string", "enum": list(jobs)}, required=len(jobs) > 1)
    hours = _parameter("interval_hours", {"type": "integer", "minimum": 1, "default": 1}, required=False)
    done = {"success": _FLAG, **_STATUS}
    return {
        "openapi": "3.1.0",
        "info": {"title": "dify-job", "version": __version__},
        "paths": {
            "/api/dify/call": {"post": _operation(msg("Run the workflow once"), _CALL, job)},
            "/api/dify/scheduler/start": {"post": _operation(msg("Start the schedule"), done, job, hours)},
            "/api/dify/scheduler/stop": {"post": _operation(msg("Stop the schedule"), done, job)},
            "/api/dify/scheduler/status": {
                "get": _operation(msg("Show whether the schedule is enabled and what ran last"), _STATUS, job)
            },
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(summary: str, answer: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    refused = {"success": _FLAG, "message": _TEXT}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {"200": _response("Done", answer), "4XX": _response("Refused", refused)},
    }


def _response(words: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}

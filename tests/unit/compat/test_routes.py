"""Routes of the HTTP interface and rejected calls."""

import json
from pathlib import Path

import pytest

from dify_job.compat.http_request import HttpError, read_head
from dify_job.compat.routes import Routes
from dify_job.compat.server import error_answer
from tests.support.http_calls import CALL, with_fields


@pytest.mark.parametrize(
    ("line", "body", "status"),
    [
        ("GET /index.html HTTP/1.1", b"", 404),
        ("GET /api/dify/call HTTP/1.1", b"", 405),
        ("POST /api/dify/scheduler/status HTTP/1.1", b"", 405),
        ("POST /api/dify/call/ HTTP/1.1", b"", 404),
        ("POST //api/dify/call HTTP/1.1", b"", 404),
        ("POST /api/dify/%63all HTTP/1.1", b"", 404),
        ("POST /api/../api/dify/call HTTP/1.1", b"", 404),
        ("POST /api/dify/call?job=other HTTP/1.1", b"", 404),
        ("POST /api/dify/call?job=../daily HTTP/1.1", b"", 404),
        ("POST /api/dify/call?joob=daily HTTP/1.1", b"", 422),
        ("POST /api/dify/call HTTP/1.1", b'{"inputs": {"a": 1}}', 422),
        ("POST /api/dify/call HTTP/1.1", b"not json", 422),
        ("POST /api/dify/scheduler/start?interval_hours=0 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=-1 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=1.5 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=%D9%A1 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours= HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=1e3 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=999999 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=01 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=%201 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=9223372036854775808 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hour=2 HTTP/1.1", b"", 422),
    ],
)
def test_unknown_path_method_or_parameter_is_rejected(
    line: str, body: bytes, status: int, tmp_path: Path
) -> None:
    routes = Routes(["daily"], tmp_path / "config.toml")
    with pytest.raises(HttpError) as caught:
        routes.answer(read_head(with_fields("Host: localhost", first=line)), body)
    assert caught.value.status == status
    assert caught.value.allow == (
        {"GET": "POST", "POST": "GET"}[line.split(maxsplit=1)[0]] if status == 405 else ""
    )


def test_call_with_several_jobs_needs_a_job_name(tmp_path: Path) -> None:
    routes = Routes(["daily", "weekly"], tmp_path / "config.toml")
    with pytest.raises(HttpError, match="daily, weekly"):
        routes.answer(read_head(CALL), b"")


@pytest.mark.parametrize(
    "line",
    [
        "GET /index.html HTTP/1.1",
        "GET /openapi.json HTTP/1.1",
        "POST /api/dify/call?job=other HTTP/1.1",
        "POST /api/dify/call?joob=daily HTTP/1.1",
        "POST /api/dify/scheduler/start?interval_hours=0 HTTP/1.1",
        "POST /api/dify/scheduler/start HTTP/1.1",
        "POST /api/dify/scheduler/stop HTTP/1.1",
        "GET /api/dify/scheduler/status HTTP/1.1",
    ],
)
def test_json_over_http_is_english_in_every_locale(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    config = tmp_path / "config.toml"
    config.write_text("nope = 1\n")
    try:
        answer = Routes(["daily"], config).answer(read_head(with_fields("Host: localhost", first=line)), b"")
    except HttpError as error:
        answer = error_answer(error)
    assert json.loads(answer.body)
    assert answer.body.isascii()

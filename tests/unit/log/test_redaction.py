import json

import pytest

from dify_job import log
from dify_job.log import redaction


def test_secret_is_redacted_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", [])
    monkeypatch.setattr(redaction, "_keys", [])
    log.add_secret('a"b\\c d/é', is_key=True)
    for shown in (
        'a"b\\c d/é',
        json.dumps({"x": 'a"b\\c d/é'}),
        "?k=a%22b%5Cc%20d/%C3%A9",
        "a%22b%5Cc%20d%2F%C3%A9",
    ):
        assert "[hidden]" in log.redact(shown)
        assert "b%5C" not in log.redact(shown)


def test_redacted_result_is_valid_json_for_any_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", [])
    monkeypatch.setattr(redaction, "_keys", [])
    for secret in ("true", "null", "1234", "success", "message"):
        log.add_secret(secret)
    log.add_secret("app-key-1", is_key=True)
    value = {
        "success": True,
        "message": "null 1234",
        "n": 1234,
        "deep": [{"app-key-1": "app-key-1"}],
        "x": float("inf"),
    }
    shown = json.loads(log.as_json(value))
    assert shown["success"] is True
    assert shown["message"] == "[hidden] [hidden]"
    assert (shown["n"], shown["x"], shown["deep"]) == (1234, None, [{"[hidden]": "[hidden]"}])
    assert json.loads(log.as_json(value, to_file=True))["message"] == "null 1234"

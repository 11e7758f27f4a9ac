"""API keys and control sequences in server responses reach neither state files nor a terminal."""

import json
import os
import pty
from typing import Any

import pytest

from tests.support.command import Command
from tests.support.scripted_server import ScriptedServer, answer, blocking, finished, stream
from tests.support.terminal import read_terminal

KEY = "app-secret-0123456789"


def terminal(dify_job: Command, *args: str, env: dict[str, str]) -> str:
    master, slave = pty.openpty()
    process = dify_job.start(*args, env=env, stdout=slave)
    os.close(slave)
    shown = read_terminal(master)
    process.communicate()
    return shown.decode()


def test_key_returned_as_an_id_is_not_stored(dify_job: Command) -> None:
    event = finished("failed", error=f"the key {KEY} is wrong")
    event["task_id"] = event["workflow_run_id"] = event["data"]["id"] = KEY
    config = dify_job.home / "c.toml"
    metrics = dify_job.home / "m.prom"
    with ScriptedServer(post=stream(event)) as server:
        config.write_text(
            f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "K"\nlog_outputs = "1kB"\n'
            f'[jobs.daily.metrics]\ntextfile = "{metrics}"\n'
        )
        settings = ("daily", "--config", str(config))
        for _ in range(2):
            done = dify_job("run", *settings, "-v", env={"K": KEY})
            assert KEY not in done.stdout + done.stderr
        shown = dify_job("history", *settings, env={"K": KEY})
        assert KEY not in shown.stdout + shown.stderr
    stored = {path: path.read_bytes() for path in dify_job.home.rglob("*") if path.is_file()}
    assert metrics in stored
    assert [path for path, content in stored.items() if KEY.encode() in content] == []


def test_no_part_of_a_key_is_left_where_a_title_is_cut(dify_job: Command) -> None:
    for length in range(70, 105, 3):
        node = {"node_id": "n", "node_type": "llm", "title": "x" * length + KEY, "status": "failed"}
        events = [{"event": "node_finished", "data": node}, finished("failed", error="broken")]
        with ScriptedServer(post=stream(*events)) as server:
            ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
        assert (ran.code, KEY[:8] in ran.stdout + ran.stderr) == (80, False), ran.stdout


def test_key_in_escapes_of_a_deeply_nested_output_is_redacted(dify_job: Command) -> None:
    escaped = "".join(f"\\u{ord(one):04x}" for one in KEY)
    event = json.dumps(finished("succeeded", outputs={"deep": "DEEP"}))
    raw = event.replace('"DEEP"', "[" * 300 + f'"{escaped}", "a\\/b\\ud83c"' + "]" * 300)
    out = dify_job.home / "out.json"
    with ScriptedServer(post=stream(f"data: {raw}\n\n".encode())) as server:
        (dify_job.home / "c.toml").write_text(
            f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "K"\nlog_outputs = "8kB"\n'
            f'output = {{ file = "{out}" }}\n'
        )
        ran = dify_job("run", "--config", str(dify_job.home / "c.toml"), env={"K": KEY})
    assert ran.code == 0, ran.stderr
    for text in (ran.stdout, ran.stderr, out.read_text()):
        assert escaped not in text.replace("\\\\", "\\")
        assert "[hidden]" in text


def test_printed_value_has_no_control_sequences_on_a_terminal(dify_job: Command) -> None:
    evil = "\x1b]0;owned\x07\x1b[2Jtext\u009b31m"
    with ScriptedServer(post=answer(200, blocking("succeeded", outputs={"x": evil}))) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        words = ("run", "-q", "--mode", "blocking", "--print", "outputs.x")
        shown = terminal(dify_job, *words, env=env)
        assert "\x1b" not in shown
        assert "\u009b" not in shown
        assert "text" in shown
        assert dify_job(*words, env=env).stdout == evil + "\n"


def test_history_has_no_control_sequences_of_a_record(dify_job: Command) -> None:
    state = dify_job.home / "state"
    state.mkdir()
    record = {
        "success": False,
        "message": "\x1b[2J\x1b]0;owned\x07",
        "call_time": "2026-01-31T07:00:00+00:00",
        "outcome": "\x1b[31mfailed",
        "exit_code": 80,
        "hint": "\x1b[1A",
        "workflow_run_id": "\x1b[5m",
        "failed_node": {"title": "\x1b[2J", "type": "\x1b[2J", "error": "\x1b[2J"},
    }
    (state / "history.jsonl").write_text(json.dumps(record) + "\n")
    (state / "last.json").write_text(json.dumps(record) + "\n")
    env = {"DIFY_API_KEY": KEY, "NO_COLOR": "1"}
    for words in (("history",), ("status",), ("history", "--json")):
        assert "\x1b[2J" not in terminal(dify_job, *words, env=env), words
        assert "\x1b]0" not in terminal(dify_job, *words, env=env), words


def doubled(levels: int) -> Any:
    """A message of a few bytes whose text doubles with each level."""
    text: Any = "x" * 100
    for _ in range(levels):
        text = {"template": "{a}{a}", "values": {"a": text}}
    return text


@pytest.mark.parametrize(
    "changed",
    [
        {"call_time": "0001-01-01T00:00:00+14:00"},
        {"call_time": "9999-12-31T23:59:59-14:00"},
        {"total_tokens": int("9" * 4300)},
        {"exit_code": 0, "outcome": "succeeded", "duration_s": 1e308},
        {"message_data": doubled(24)},
    ],
)
def test_record_of_any_values_does_not_break_the_overviews(
    dify_job: Command, changed: dict[str, Any]
) -> None:
    (dify_job.home / "state").mkdir()
    record = {"call_time": "2026-01-31T07:00:00+00:00", "outcome": "failed", "exit_code": 80, "message": "m"}
    for name in ("history.jsonl", "last.json"):
        (dify_job.home / "state" / name).write_text(f"{json.dumps(record | changed)}\n" * 2)
    (dify_job.home / "state/last-success.json").write_text('{"at": "0001-01-01T00:00:00+14:00"}')
    for words in (("status",), ("history",), ("report", "--days", "366"), ("doctor",)):
        shown = dify_job(*words, env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "http://127.0.0.1:9/v1"})
        assert shown.code != 70, shown.stderr

"""`dify-job run` as a process, with real sockets and signals."""

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.command import APPS, KEY, PAUSES, SHORT_WAITS, Command, signal_again
from tests.support.fake_dify.server import FakeDify
from tests.support.fake_dify.wire import Replay
from tests.support.patience import wait_until
from tests.support.socket_server import FixedResponseServer

KEYS = [
    "success", "message", "response_data", "call_time", "schema", "job", "outcome", "exit_code", "attempts",
    "duration_s", "hint", "failed_node",
]  # fmt: skip


@pytest.mark.parametrize("mode", ["streaming", "blocking"])
@pytest.mark.parametrize("version", ["0.15.3", "1.11.2", "1.12.1", "1.14.2"])
def test_successful_run_is_0_with_its_outputs(dify_job: Command, mode: str, version: str) -> None:
    with FakeDify(APPS, version=version) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        ran = dify_job("run", "--mode", mode, "-i", "text=a=b", "-i", "empty=", env=env)
    assert ran.code == 0, ran.stderr
    assert list(ran.result) == KEYS
    data = ran.result["response_data"]
    assert data["data"]["outputs"] == {"result": None, "text": "a=b", "empty": ""}
    assert data["workflow_run_id"] == server.runs[0].run_id
    assert data["task_id"] == server.runs[0].task_id
    assert ran.result["success"] is True
    assert ran.result["attempts"] == 1
    assert server.received[0].path == "/v1/workflows/run", "no request precedes the POST"
    assert server.received[0].body["user"].startswith("dify-job-default-")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("app-fails", 80, "Connection refused"),
        ("app-partial", 81, "in part"),
        ("app-human", 83, "until a person fills in its form"),
        ("app-unpublished", 78, "not published"),
        ("app-off", 78, "is disabled"),
        ("app-chat", 78, "not a workflow"),
        ("app-wrong", 77, "Access token is invalid"),
        ("app-form", 65, "text is required in input form"),
    ],
)
@pytest.mark.parametrize("mode", ["streaming", "blocking"])
def test_exit_status_is_that_of_the_outcome(
    dify_job: Command, environ: dict[str, str], key: str, code: int, words: str, mode: str
) -> None:
    ran = dify_job("run", "--mode", mode, env=environ | {"DIFY_API_KEY": key})
    assert (ran.code, ran.result["exit_code"]) == (code, code)
    assert words in ran.result["message"]
    assert ran.result["success"] is False
    assert ran.result["hint"]
    assert words in ran.stderr


def test_unreachable_server_is_69_with_a_one_line_message(dify_job: Command) -> None:
    env = {"DIFY_API_KEY": "x", "DIFY_BASE_URL": "http://127.0.0.1:1"}
    ran = dify_job("run", env=env)
    assert ran.code == 69
    assert (
        ran.result["message"]
        == "the server could not be reached: 127.0.0.1:1: the server refused the connection"
    )
    assert ran.result["attempts"] == 3


def test_partial_success_can_be_configured_as_success(dify_job: Command, server: FakeDify) -> None:
    config = dify_job.home / "c.toml"
    config.write_text(
        f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\npartial = "success"\n'
        'inputs = { day = "{{ today }}", n = 3, plain = "100% $HOME" }\n'
    )
    ran = dify_job("run", "--config", str(config), "--inputs", '{"n": 4}', env={"K": "app-partial"})
    assert ran.code == 0
    outputs = ran.result["response_data"]["data"]["outputs"]
    assert outputs["n"] == 4
    assert outputs["plain"] == "100% $HOME"
    assert outputs["day"] == ran.result["call_time"][:10]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_run_on_the_server(
    dify_job: Command, server: FakeDify, environ: dict[str, str], signum: int
) -> None:
    process = dify_job.start("run", env=environ | {"DIFY_API_KEY": "app-slow"})
    ran = dify_job.signal_when(process, lambda: server.runs and server.runs[0].past, signum)
    assert ran.code == 128 + signum
    assert ran.result["outcome"] == "cancelled"
    assert "confirmed it" in ran.result["message"]
    [stop] = [request for request in server.received if request.path.endswith("/stop")]
    assert stop.path == f"/v1/workflows/tasks/{server.runs[0].task_id}/stop"
    assert stop.body == {"user": server.runs[0].user}


def test_signal_to_a_blocking_call_reports_that_the_run_cannot_be_stopped(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    process = dify_job.start("run", "--mode", "blocking", env=environ | {"DIFY_API_KEY": "app-slow"})
    ran = dify_job.signal_when(process, lambda: server.runs)
    assert ran.code == 143
    assert "could not be stopped" in ran.result["message"]


def test_second_signal_exits_at_once(dify_job: Command, environ: dict[str, str], server: FakeDify) -> None:
    stream = b'data: {"event": "workflow_started", "task_id": "t", "workflow_run_id": "r", "data": {}}\n\n'
    server.replay = Replay(headers={"Content-Type": "text/event-stream"}, parts=((0, stream),), ended="open")
    dify_job.limits |= {"stop_confirmation": 1000.0}
    process = dify_job.start("run", env=environ)
    in_flight = dify_job.home / "state/in-flight.json"
    wait_until(lambda: in_flight.exists() and json.loads(in_flight.read_text())["workflow_run_id"] == "r")
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: any(request.path.endswith("/stop") for request in server.received))
    signal_again(process)
    assert process.wait() == 143


def test_deadline_stops_the_run_and_is_124(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    ran = dify_job("run", "--timeout", "1s", env=environ | {"DIFY_API_KEY": "app-slow"})
    assert ran.code == 124
    assert "confirmed it" in ran.result["message"]
    assert server.runs[0].stop_asked.is_set()


def test_idle_timeout_ends_a_silent_stream_and_pings_reset_it(dify_job: Command, server: FakeDify) -> None:
    config = dify_job.home / "c.toml"
    config.write_text(
        f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\nidle_timeout = "1s"\nend_user = "me"\n'
    )
    assert (
        dify_job("run", "--config", str(config), env={"K": "app-two-seconds"}).code == 0
    )  # pings each 0.5 s
    server.replay = Replay(
        headers={"Content-Type": "text/event-stream"}, parts=((0, b": hello\n\n"),), ended="open"
    )
    ran = dify_job("run", "--config", str(config), env={"K": KEY})
    assert ran.code == 74
    assert "the server sent no data for 1 s" in ran.result["message"]
    assert ran.result["duration_s"] < 30


def test_silent_server_is_awaited_until_the_deadline_only(dify_job: Command) -> None:
    dify_job.limits |= SHORT_WAITS
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {"DIFY_API_KEY": "x", "DIFY_BASE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        ran = dify_job("run", "--timeout", "1s", env=env)
    assert ran.code == 74
    assert ran.result["duration_s"] < 20


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (
            b"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/v1\r\nContent-Length: 0\r\n\r\n",
            76,
        ),
        (
            b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.2:9/v1\r\nContent-Length: 0\r\n\r\n",
            76,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n<html>Login!!!", 76),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<html", 77),
        (b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<html", 76),
    ],
)
def test_response_that_is_not_of_dify_has_its_code(dify_job: Command, reply: bytes, code: int) -> None:
    with FixedResponseServer(reply) as server:
        ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address})
    assert ran.code == code
    assert len(server.seen) == 1
    assert ran.result["attempts"] == 1


def test_503_and_429_are_retried_and_counted(dify_job: Command) -> None:
    with FixedResponseServer(b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n") as server:
        ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address})
    assert (ran.code, len(server.seen), ran.result["attempts"]) == (69, 3, 3)


def test_netrc_entry_does_not_replace_the_key(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    netrc = dify_job.home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    assert dify_job("run", env=environ).code == 0
    assert server.received[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "reply",
    [
        f'HTTP/1.1 401 No\r\nX-Version: 1.0.0\r\n\r\n{{"code": "unauthorized", "message": "{KEY} is bad"}}',
        f'HTTP/1.1 500 No\r\n\r\n{{"message": "{KEY}"}}',
        f"HTTP/1.1 200 {KEY}\r\nContent-Length: x{KEY}\r\n\r\n",
    ],
)
def test_key_is_never_printed(tmp_path: Path, reply: str) -> None:
    def run(level: str, log_format: str) -> None:
        home = tmp_path / f"{level}-{log_format}"
        home.mkdir()
        with FixedResponseServer(reply.encode()) as server:
            env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address}
            words = ("run", "--timeout", "2s", "--log-level", level, "--log-format", log_format)
            ran = Command(home, limits=PAUSES | SHORT_WAITS)(*words, env=env)
        assert KEY.encode() in server.seen[0]
        assert KEY not in ran.stdout + ran.stderr
        for file in (home / "state").iterdir():
            assert KEY not in file.read_text()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, ["debug", "debug", "info", "info"], ["console", "json"] * 2))


def test_config_show_masks_the_key(dify_job: Command, environ: dict[str, str]) -> None:
    ran = dify_job("config", "show", env=environ)
    assert ran.code == 0
    assert KEY not in ran.stdout + ran.stderr
    assert f"app-…{KEY[-4:]}" in ran.stdout
    assert "environment DIFY_API_KEY" in ran.stdout


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["run", "--no-such-flag"], 64),
        (["run", "-i", "novalue"], 64),
        (["run", "--overlap"], 64),
        (["run", "--inputs", "{bad"], 64),
        (["run", "--inputs", "@missing.json"], 66),
        (["run", "--timeout", "soon"], 64),
        (["run", "nojob"], 78),
        (["run", "--config", "missing.toml"], 78),
        (["run", "--output", "missing/dir/out.json"], 73),
    ],
)
def test_error_before_the_call_is_a_result(
    dify_job: Command, server: FakeDify, environ: dict[str, str], args: list[str], code: int
) -> None:
    ran = dify_job(*args, env=environ)
    assert ran.code == code
    assert list(ran.result) == KEYS
    assert ran.result["exit_code"] == code
    assert ran.result["response_data"] is None
    assert server.received == []


def test_unknown_command_is_64(dify_job: Command) -> None:
    ran = dify_job("rnu")
    assert ran.code == 64
    assert "Did you mean run?" in ran.stderr


def test_closed_stdout_does_not_change_the_exit_status(dify_job: Command, environ: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    assert dify_job("run", env=environ, stdout=write).code == 0
    os.close(write)


def test_full_stdout_does_not_change_the_exit_status(dify_job: Command, environ: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = dify_job("run", env=environ, stdout=full)
        assert ran.code == 0
        assert "could not be printed" in ran.stderr
        assert dify_job("run", env=environ, stderr=full).code == 0


def test_state_that_cannot_be_written_is_73_before_the_call(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    (dify_job.home / "state").write_text("a file")
    ran = dify_job("run", env=environ)
    assert ran.code == 73
    assert server.received == []


def test_scheduled_prints_no_result(dify_job: Command, environ: dict[str, str]) -> None:
    ran = dify_job("run", "--scheduled", env=environ)
    assert (ran.code, ran.stdout) == (0, "")


def test_output_file_is_written_when_the_run_succeeds(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    assert dify_job("run", "--output", "out.json", "-i", "text=你好", env=environ).code == 0
    result = json.loads((dify_job.home / "out.json").read_text())
    assert result["response_data"]["data"]["outputs"]["text"] == "你好"
    assert len(server.runs) == 1


def test_output_is_utf8_in_the_c_locale(dify_job: Command, environ: dict[str, str]) -> None:
    env = environ | {
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    process = dify_job.start("run", "-i", "text=报告\u2028", env=env, encoding="utf-8")
    stdout, _ = process.communicate()
    assert json.loads(stdout)["response_data"]["data"]["outputs"]["text"] == "报告\u2028"

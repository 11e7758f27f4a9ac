"""Runs in Dify's queue (since 1.13), and streams that contradict run detail."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import APPS, KEY, Command
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until
from tests.support.scripted_server import (
    NOT_FOUND,
    PING,
    RUN_ID,
    STARTED,
    TASK_ID,
    ScriptedServer,
    answer,
    finished,
    logs,
    run_of,
    stream,
)

pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
def server() -> Iterator[FakeDify]:
    with FakeDify(APPS, version="1.16.1", ping=0.5) as made:
        yield made
        made.engine.worker.set()


def environ(server: FakeDify, key: str = KEY) -> dict[str, str]:
    return {"DIFY_API_KEY": key, "DIFY_BASE_URL": server.base_url}


def history(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "state/history.jsonl").read_text().splitlines()]


def write_config(home: Path, server: FakeDify | ScriptedServer, more: str = "") -> dict[str, str]:
    file = home / "c.toml"
    file.write_text(f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n{more}\n')
    return {"K": KEY, "DIFY_JOB_CONFIG": str(file)}


def test_queued_run_blocks_every_start_until_it_has_ended(dify_job: Command, server: FakeDify) -> None:
    server.engine.worker.clear()
    env = environ(server, "app-two-seconds")
    first = dify_job("run", "--timeout", "2s", env=env)
    assert (first.code, first.result["outcome"]) == (74, "unknown")
    assert "node that was running" not in first.result["hint"]
    for _ in range(2):
        again = dify_job("run", "--timeout", "9s", env=env)
        assert (again.code, again.result["outcome"]) == (75, "busy"), again.stderr
        assert "could not be reached" not in again.result["message"]
    assert dify_job("run", "--overlap", "skip", env=env).result["outcome"] == "skipped"
    assert server.posts == 1
    server.engine.worker.set()
    wait_until(lambda: server.runs and server.runs[0].over)
    assert dify_job("run", env=env).code == 0
    assert [run.status for run in server.runs] == ["succeeded"] * 2
    ends = [(entry["workflow_run_id"], entry["outcome"]) for entry in history(dify_job.home)]
    assert (server.runs[0].run_id, "succeeded") in ends
    assert not any("its process ended" in entry["message"] for entry in history(dify_job.home))


def test_queued_run_of_a_killed_process_blocks_the_next_start(dify_job: Command, server: FakeDify) -> None:
    server.engine.worker.clear()
    env = environ(server, "app-two-seconds")
    first = dify_job.start("run", env=env)
    wait_until(lambda: server.posts)
    time.sleep(0.2)
    first.kill()
    first.communicate()
    assert dify_job("run", env=env).code == 75
    server.engine.worker.set()
    waited = dify_job("run", "--overlap", "wait", env=env)
    assert waited.code == 0
    assert len(server.runs) == server.posts == 2
    assert not server.runs[0].finished_at or server.runs[0].finished_at <= server.runs[1].created_at + 1


def test_queued_run_is_abandoned_after_deadline_and_queue_time(dify_job: Command, server: FakeDify) -> None:
    server.engine.worker.clear()
    env = write_config(dify_job.home, server, 'timeout = "2s"\nqueue_time = "1s"')
    assert dify_job("run", env=env).code == 74
    server.engine.worker = threading.Event()  # the queue with the first run is lost
    server.engine.worker.set()
    second = dify_job("run", "--overlap", "wait", "--timeout", "20s", env=env)
    assert second.code == 0, second.stderr
    [entry] = [entry for entry in history(dify_job.home) if entry["outcome"] == "unknown"]
    assert entry["workflow_run_id"] is None


def test_run_with_a_fixed_end_user_blocks_until_its_longest_end(dify_job: Command, server: FakeDify) -> None:
    server.engine.worker.clear()
    env = write_config(dify_job.home, server, 'timeout = "2s"\nend_user = "me"')
    assert dify_job("run", env=env).code == 74
    assert dify_job("run", env=env).code == 75
    assert server.posts == 1


def test_another_base_url_does_not_start_a_second_run(dify_job: Command, server: FakeDify) -> None:
    server.engine.worker.clear()
    assert dify_job("run", "--timeout", "2s", env=environ(server)).code == 74
    with FakeDify(APPS, version="1.16.1") as moved:
        again = dify_job("run", env=environ(moved))
        assert again.code == 75
        assert server.base_url in again.result["message"]
        assert moved.posts == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_a_queued_run_reports_that_it_may_still_start(
    dify_job: Command, server: FakeDify, signum: int
) -> None:
    server.engine.worker.clear()
    process = dify_job.start("run", env=environ(server))
    wait_until(lambda: server.posts)
    time.sleep(0.3)
    process.send_signal(signum)
    stdout, _ = process.communicate()
    result = json.loads(stdout)
    assert process.returncode == 128 + signum
    assert "confirmed" not in result["message"]
    assert "queue" in result["hint"]
    assert dify_job("run", env=environ(server)).code == 75


def test_run_is_searched_for_after_its_stream_ended_in_the_queue(dify_job: Command, server: FakeDify) -> None:
    server.engine.worker.clear()
    server.engine.queue_limit = 0.5
    process = dify_job.start("run", "--timeout", "60s", env=environ(server))
    wait_until(lambda: server.posts)
    time.sleep(2)
    server.engine.worker.set()
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["response_data"]["workflow_run_id"] == server.runs[0].run_id


# Streams that contradict run detail


def failed(error: str, *, task_id: str = RUN_ID, **more: Any) -> list[dict[str, Any]]:
    """Return the events of a failed run that does not exist."""
    ids = {"task_id": task_id, "workflow_run_id": RUN_ID}
    end = {"outputs": None, "created_by": {}, "total_steps": 0, "elapsed_time": 0.0, **more}
    return [
        {"event": "workflow_started", **ids, "data": {"id": RUN_ID}},
        {"event": "workflow_finished", **ids, "data": run_of("failed", error=error) | end},
    ]


NODE = {
    "event": "node_started",
    "task_id": TASK_ID,
    "workflow_run_id": RUN_ID,
    "data": {"node_id": "n", "title": "Sum up", "node_type": "llm"},
}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("text is required in input form", 65),
        ("expected value type int, float or str, got <class 'list'>, value: [1]", 65),
        ("Reached maximum retries (3) for URL http://127.0.0.1:1/x.txt", 65),
        ("(psycopg2.OperationalError) could not connect", 80),
    ],
)
@pytest.mark.parametrize("creator", [{}, None, {"id": None, "user": None}])
def test_failed_run_that_does_not_exist_is_a_rejection(
    dify_job: Command, error: str, code: int, creator: object
) -> None:
    events = failed(error, created_by=creator)
    with ScriptedServer(post=stream(PING, *events, version="1.16.1"), detail=NOT_FOUND) as server:
        ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
    assert ran.code == code, ran.stderr
    assert error in ran.result["message"]
    assert ran.result["response_data"] is None, "there is no run to look at"
    assert not (dify_job.home / "state/in-flight.json").exists()


@pytest.mark.parametrize("end", ["succeeded", "failed", "stopped", "partial-succeeded"])
def test_false_failure_event_is_checked_until_the_run_has_ended(dify_job: Command, end: str) -> None:
    events = [STARTED, NODE, failed("Timeout reading from 127.0.0.1:6379", task_id=TASK_ID)[1]]
    running = answer(200, run_of("running"), version="1.16.1")
    with ScriptedServer(
        post=stream(PING, *events, version="1.16.1", then="hold"),
        detail=[running, running, answer(200, run_of(end, error=None))],
        events=stream(PING, STARTED, then="hold"),
    ) as server:
        ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
    code = {"succeeded": 0, "failed": 80, "stopped": 82, "partial-succeeded": 81}[end]
    assert ran.code == code, ran.stderr


def test_false_failure_event_of_a_joined_stream_is_checked(dify_job: Command) -> None:
    with ScriptedServer(
        post=stream(STARTED, version="1.16.1"),
        events=stream(STARTED, NODE, failed("lost", task_id=TASK_ID)[1]),
        detail=[answer(200, run_of("running"))] * 2 + [answer(200, run_of("succeeded"))],
    ) as server:
        ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
    assert ran.code == 0, ran.stderr


def test_failure_event_with_a_creator_is_final(dify_job: Command) -> None:
    end = finished("failed", error="boom", created_by={"id": "x", "user": "u"})
    with ScriptedServer(post=stream(STARTED, end, version="1.16.1")) as server:
        ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
        assert ran.code == 80
        assert server.count("detail") == 0


def test_doubtful_failure_event_without_run_detail_is_unknown(dify_job: Command) -> None:
    events = [STARTED, NODE, failed("lost", task_id=TASK_ID)[1]]
    with ScriptedServer(
        post=stream(*events, version="1.16.1"),
        detail=answer(500, {"code": "unknown", "message": "no", "status": 500}),
        events=stream(PING, then="hold"),
        stop=answer(500, {"code": "unknown", "message": "no", "status": 500}),
    ) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        ran = dify_job("run", "--timeout", "3s", env=env)
    assert ran.code in (74, 124)
    assert (dify_job.home / "state/in-flight.json").exists()


# Records


def test_unreadable_log_is_not_treated_as_empty(dify_job: Command) -> None:
    fault = answer(500, {"code": "unknown", "message": "no", "status": 500})
    with ScriptedServer(post=stream(PING, version="1.16.1"), logs=fault) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        ran = dify_job("run", "--timeout", "3s", env=env)
    assert ran.code == 74
    assert "could not read the list of runs" in ran.result["message"]
    assert "does not contain this run" not in ran.result["message"]


def test_search_for_a_queued_run_has_pauses(dify_job: Command) -> None:
    dify_job.limits |= {"search": 0.1, "recovery_polls": (0.05, 0.2)}
    with ScriptedServer(post=stream(PING, version="1.16.1")) as server:
        ran = dify_job("run", "--timeout", "2s", env=environ_of(server))
        assert ran.code == 74
        assert 2 < server.count("logs") < 50


@pytest.mark.parametrize("mode", ["streaming", "blocking"])
def test_run_with_unknown_status_and_finish_time_has_ended(dify_job: Command, mode: str) -> None:
    ended = answer(200, run_of("cancelled", finished_at=1795740823), version="1.16.1")
    lost = stream(STARTED, version="1.16.1") if mode == "streaming" else answer(502, b"<html>")
    with ScriptedServer(
        post=lost, detail=ended, logs=answer(200, logs("cancelled")), events=NOT_FOUND
    ) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        ran = dify_job("run", "--mode", mode, "--timeout", "20s", env=env)
    assert ran.code == 76, ran.stderr
    assert "cancelled" in ran.result["message"]


@pytest.mark.parametrize("logs_answer", ["hold", "slow"])
def test_deadline_spent_on_an_earlier_run_is_reported(
    dify_job: Command, server: FakeDify, logs_answer: str
) -> None:
    server.engine.worker.clear()
    assert dify_job("run", "--timeout", "2s", env=environ(server)).code == 74
    home = dify_job.home / "state/in-flight.json"
    with ScriptedServer(logs=answer(200, logs()) if logs_answer == "slow" else stream(then="hold")) as silent:
        record = json.loads(home.read_text()) | {"base_url": silent.base_url}
        home.write_text(json.dumps(record))
        ran = dify_job("run", "--timeout", "2s", "--overlap", "wait", env=environ_of(silent))
    assert ran.code == 75
    assert "earlier run" in ran.result["message"]
    assert "could not be reached" not in ran.result["message"]


def environ_of(server: ScriptedServer) -> dict[str, str]:
    return {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}


def test_hint_for_an_app_limit_of_one_is_blocking_mode(dify_job: Command) -> None:
    body = {
        "code": "invalid_param",
        "message": "Too many requests. Please try again later. The current maximum concurrent requests "
        "allowed for fa9307a4-456a-4e07-b96b-331d88a4d0cc is 1.",
        "status": 400,
    }
    with ScriptedServer(post=answer(400, body, version="1.16.1")) as server:
        ran = dify_job("run", env=environ_of(server))
        assert ran.code == 75
        assert 'mode = "blocking"' in ran.result["hint"]
        assert server.count("post") == 1

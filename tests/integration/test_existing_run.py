"""A run with a run ID: dify-job attaches to the existing run with that ID, and never starts it twice."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from dify_job.state.store import InFlight, JobState
from tests.support.command import APPS, KEY, SHORT_WAITS, Command
from tests.support.command_result import CommandResult
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until
from tests.support.scripted_server import RUN_ID as SCRIPTED_RUN_ID
from tests.support.scripted_server import (
    STARTED,
    RawResponse,
    ScriptedServer,
    answer,
    finished,
    run_of,
    stream,
)

USER = "dify-job-default-dify-job-daily-29384720"
RUN_ID = "dify-job-daily-29384720"


@pytest.fixture(params=["1.4.3", "1.8.1", "1.11.2", "1.14.2"])
def any_server(request: pytest.FixtureRequest) -> Iterator[FakeDify]:
    with FakeDify(APPS, version=request.param, ping=0.5) as made:
        yield made


def env_of(server: FakeDify, key: str = KEY, **more: str) -> dict[str, str]:
    return {"DIFY_API_KEY": key, "DIFY_BASE_URL": server.base_url, "DIFY_JOB_RUN_ID": RUN_ID, **more}


def test_run_id_is_started_once_and_then_only_reported(dify_job: Command, any_server: FakeDify) -> None:
    first = dify_job("run", env=env_of(any_server))
    assert first.code == 0, first.stderr
    assert any_server.runs[0].user == USER
    again = dify_job("run", env=env_of(any_server))
    assert (again.code, again.result["attempts"]) == (0, 0)
    assert again.result["response_data"]["workflow_run_id"] == any_server.runs[0].run_id
    assert any_server.posts == 1


def test_run_of_another_end_user_is_not_attached_to(dify_job: Command, any_server: FakeDify) -> None:
    assert dify_job("run", "--run-id", "another", env=env_of(any_server)).code == 0
    assert dify_job("run", env=env_of(any_server)).code == 0
    assert len(any_server.runs) == 2


def attach(dify_job: Command, server: FakeDify, env: dict[str, str]) -> CommandResult:
    """Start a process after a killed one; the run ends after the process has requested it."""
    seen = len(server.received)
    process = dify_job.start("run", env=env)
    wait_until(lambda: len(server.received) > seen)
    server.engine.released.set()
    out, err = process.communicate()
    return CommandResult(process.wait(), out, err)


def test_run_of_a_killed_process_is_attached_to(dify_job: Command, server: FakeDify) -> None:
    env = env_of(server, "app-slow")
    first = dify_job.start("run", env=env | {"STATE_DIRECTORY": str(dify_job.home / "pod-1")})
    wait_until(lambda: server.runs and server.runs[0].past)
    first.kill()
    first.communicate()
    env |= {"STATE_DIRECTORY": str(dify_job.home / "pod-2"), "DIFY_JOB_LOST": "1"}
    second = attach(dify_job, server, env)
    assert (second.code, second.result["outcome"]) == (0, "succeeded")
    assert second.result["response_data"]["workflow_run_id"] == server.runs[0].run_id
    assert server.posts == 1


def test_in_flight_record_of_the_same_run_id_is_attached_to_without_waiting(
    dify_job: Command, any_server: FakeDify
) -> None:
    env = env_of(any_server, "app-slow")
    first = dify_job.start("run", env=env)
    wait_until(lambda: any_server.runs and any_server.runs[0].past)
    first.kill()
    first.communicate()
    second = attach(dify_job, any_server, env)
    assert (second.code, second.result["outcome"]) == (0, "succeeded"), second.stderr
    assert any_server.posts == 1
    assert not (dify_job.home / "state/in-flight.json").exists()
    lines = (dify_job.home / "state/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["succeeded"]


def test_failed_run_is_reported_as_failed(dify_job: Command, server: FakeDify) -> None:
    env = env_of(server, "app-fails")
    assert dify_job("run", env=env).code == 80
    assert dify_job("run", env=env).code == 80
    assert server.posts == 1


def test_deadline_and_sigterm_stop_an_attached_run(dify_job: Command, server: FakeDify) -> None:
    env = env_of(server, "app-slow")
    first = dify_job.start("run", env=env | {"STATE_DIRECTORY": str(dify_job.home / "pod-1")})
    wait_until(lambda: server.runs and server.runs[0].past)
    first.kill()
    first.communicate()
    second = dify_job.start("run", env=env | {"STATE_DIRECTORY": str(dify_job.home / "pod-2")})
    ended = dify_job.signal_when(
        second, lambda: any("/events" in request.path for request in server.received), signal.SIGTERM
    )
    assert ended.code == 143, ended.stderr
    assert server.runs[0].status == "stopped"
    assert server.posts == 1


def test_lost_process_prevents_a_start_even_if_the_log_is_empty(dify_job: Command, server: FakeDify) -> None:
    dify_job.limits |= SHORT_WAITS
    done = dify_job("run", "--timeout", "3s", env=env_of(server, DIFY_JOB_LOST="1"))
    assert (done.code, done.result["outcome"]) == (74, "unknown")
    assert server.posts == 0


def test_lost_without_run_id_is_a_usage_error(dify_job: Command, server: FakeDify) -> None:
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url, "DIFY_JOB_LOST": "1"}
    assert dify_job("run", env=env).code == 64
    assert server.received == []


def test_empty_count_of_lost_processes_is_zero(dify_job: Command, server: FakeDify) -> None:
    assert dify_job("run", env=env_of(server, DIFY_JOB_LOST="")).code == 0
    assert server.posts == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(502, b"<html>bad gateway</html>"), 69),
        (answer(200, b"<html>log in</html>"), 69),
        (answer(500, {"code": "internal_server_error", "message": "x", "status": 500}), 69),
        (answer(401, {"code": "unauthorized", "message": "Access token is invalid", "status": 401}), 77),
        (answer(403, {"code": "forbidden", "message": "no", "status": 403}), 77),
        (RawResponse(), 69),
    ],
)
def test_unreadable_log_prevents_a_start(dify_job: Command, reply: RawResponse, code: int) -> None:
    with ScriptedServer(logs=reply) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url, "DIFY_JOB_RUN_ID": RUN_ID}
        dify_job.limits |= {"existing_run": 0.5}
        done = dify_job("run", env=env)
    assert done.code == code, done.stderr
    assert server.count("post") == 0


def page_of(user: str, *, more: bool) -> RawResponse:
    run = {"id": SCRIPTED_RUN_ID, "status": "succeeded"}
    row = {"id": "row", "created_by_end_user": {"session_id": user}, "workflow_run": run}
    return answer(
        200, {"page": 1, "limit": 100, "total": 1, "has_more": more, "data": [row]}, version="1.4.3"
    )


@pytest.mark.parametrize(
    ("pages", "code", "posts"),
    [
        ([("other", True), ("another", True), (USER, False)], 0, 0),
        ([("other", True), ("another", False)], 0, 1),
        ([("other", True)], 69, 0),  # a log without an end
    ],
)
def test_log_without_a_filter_is_read_to_its_end(
    dify_job: Command, pages: list[tuple[str, bool]], code: int, posts: int
) -> None:
    # Servers before 1.5.0 return the runs of all users.
    with ScriptedServer(
        post=stream(STARTED, finished("succeeded")),
        logs=[page_of(user, more=more) for user, more in pages],
        detail=answer(200, run_of("succeeded")),
    ) as server:
        dify_job.limits |= {"existing_run": 60.0}
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url, "DIFY_JOB_RUN_ID": RUN_ID}
        done = dify_job("run", env=env)
        numbers = [raw.split(b"page=")[1].split(b"&")[0] for kind, raw in server.seen if kind == "logs"]
    assert (done.code, server.count("post")) == (code, posts), done.stderr
    assert numbers == [b"%d" % number for number in range(1, len(numbers) + 1)]
    assert len(numbers) == (10 if code else len(pages))
    assert ("1.5.0" in (done.result["hint"] or "")) is (code == 69)


@pytest.mark.parametrize("version", ["1.11.2", "1.16.1"])
def test_log_row_without_its_run_proves_that_the_run_exists(dify_job: Command, version: str) -> None:
    # `celery-store-worker-down-run`: the row is written at once, and the record of the run by a worker.
    row = {"id": "row", "created_by_end_user": {"session_id": USER}, "workflow_run": None}
    page = {"page": 1, "limit": 100, "total": 1, "has_more": False, "data": [row]}
    with ScriptedServer(
        post=stream(STARTED, finished("succeeded")),
        logs=answer(200, page, version=version),
        detail=answer(200, run_of("failed"), version=version),
    ) as server:
        dify_job.limits |= SHORT_WAITS | {"recovery_polls": (0.05, 0.2)}
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url, "DIFY_JOB_RUN_ID": RUN_ID}
        done = dify_job("run", "--timeout", "2s", env=env)
        assert (done.code, server.count("post")) == (74, 0), done.stderr
        assert server.count("logs") < 60
        row["workflow_run"] = {"id": SCRIPTED_RUN_ID, "status": "failed"}
        server.say("logs", answer(200, page, version=version))
        assert dify_job("run", env=env).code == 80
        assert server.count("post") == 0


def leave_in_flight(dify_job: Command, base_url: str) -> None:
    """A process of this run ID was killed before the server named its run."""
    with contextlib.closing(JobState(dify_job.home / "state")) as state:
        state.put_in_flight(
            InFlight(
                run=RUN_ID,
                user=USER,
                base_url=base_url,
                started=datetime.now().astimezone().isoformat(),
                deadline=time.time() + 60,
                boot="",
                boot_deadline=0.0,
            )
        )


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(502, b"<html>bad gateway</html>"), 69),
        (answer(401, {"code": "unauthorized", "message": "Access token is invalid", "status": 401}), 77),
        (RawResponse(), 69),
        (RawResponse(then="hold"), 143),
    ],
)
def test_lost_run_stays_on_record_until_the_server_says_how_it_stands(
    dify_job: Command, reply: RawResponse, code: int
) -> None:
    """A queued run has no log row: without the record the next start of this run ID would be a second run."""
    with ScriptedServer(logs=reply) as server:
        leave_in_flight(dify_job, server.base_url)
        dify_job.limits |= {"existing_run": 0.5}
        process = dify_job.start(
            "run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url, "DIFY_JOB_RUN_ID": RUN_ID}
        )
        if code == 143:
            done = dify_job.signal_when(process, lambda: server.count("logs"), signal.SIGTERM)
        else:
            out, err = process.communicate()
            done = CommandResult(process.wait(), out, err)
        assert done.code == code, done.stderr
        assert server.count("post") == 0
    assert (dify_job.home / "state/in-flight.json").exists()
    with FakeDify(APPS, version="1.14.2") as queued:
        dify_job.limits |= SHORT_WAITS
        again = dify_job("run", "--timeout", "3s", env=env_of(queued))
        assert (again.code, queued.posts) == (74, 0), again.stderr


def test_nomad_job_id_is_the_run_id(dify_job: Command, server: FakeDify) -> None:
    name = "dify-daily/periodic-1764000000"
    for _ in range(2):
        assert dify_job("run", "--run-id", name, env=env_of(server)).code == 0
    assert [run.user for run in server.runs] == [f"dify-job-default-{name}"]


@pytest.mark.parametrize(
    "flags", [["--run-id", "a b"], ["--run-id", "-x"], ["--end-user", "bob"], ["--lost", "-1"]]
)
def test_invalid_run_id_is_a_usage_error(dify_job: Command, server: FakeDify, flags: list[str]) -> None:
    assert dify_job("run", *flags, env=env_of(server)).code == 64
    assert server.received == []


def test_pod_logs_only_json_and_prints_nothing(dify_job: Command, server: FakeDify, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[jobs.daily]\nbase_url = "{server.base_url}"\nstate = "none"\n')
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/api_key").write_text("app-fails\n")
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    env |= {"DIFY_JOB_RUN_ID": RUN_ID, "DIFY_JOB_LOST": ""}
    done = dify_job("run", "--scheduled", "--log-format", "json", "--config", str(config), "daily", env=env)
    assert (done.code, done.stdout) == (80, "")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1]["outcome"] == "failed"
    assert server.runs[0].user == f"dify-job-daily-{RUN_ID}"
    assert not (dify_job.home / "state").exists()

"""`dify-job demo`: the run, the server that it leaves running, and what that answers."""

import json
import re
import signal

import pytest
import requests

from dify_job.demo.server import KEY, DemoServer
from tests.support.command import Command


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_demo_server_serves_init_and_run(dify_job: Command, end: signal.Signals) -> None:
    serving = dify_job.start("demo", "--serve", "0")
    try:
        assert serving.stdout is not None
        url = re.search(r"http://\S+/v1", serving.stdout.readline())
        command = serving.stdout.readline()
        assert url is not None
        assert url[0] in command
        key, init = re.fullmatch(r"printf %s (\S+) \| dify-job (.+)\n", command).groups()  # type: ignore[union-attr] # asserted by groups
        done = dify_job(*init.split(), "--user", input=key)
        assert done.code == 0, done.stderr
        assert dify_job("run", "-q", "--print", "outputs.topic", "demo").stdout == "sales\n"
    finally:
        serving.send_signal(end)
    assert serving.wait() == 0


def test_used_port_is_reported(dify_job: Command, server: object) -> None:
    port = re.search(r":(\d+)/", server.base_url)[1]  # type: ignore[attr-defined, index] # a FakeDify
    ran = dify_job("demo", "--serve", port)
    assert (ran.code, "Address already in use" in ran.stderr) == (73, True)


def test_demo_shows_config_and_exit_status_of_a_run(dify_job: Command) -> None:
    done = dify_job("demo")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["response_data"]["data"]["outputs"]["topic"] == "sales"
    assert "[jobs.demo]\n" in done.stderr
    assert done.stderr.endswith("exit status 0\n")


@pytest.mark.parametrize(
    ("method", "path", "key", "body", "status"),
    [
        ("POST", "workflows/run", "app-wrong", {"inputs": {"topic": "a"}, "user": "u"}, 401),
        ("POST", "workflows/run", KEY, {"inputs": {}, "user": "u"}, 400),
        ("POST", "workflows/run", KEY, {"inputs": {"topic": "x" * 49}, "user": "u"}, 400),
        ("GET", "workflows/run/unknown", KEY, None, 404),
        ("GET", "info", KEY, None, 200),
        ("GET", "parameters", KEY, None, 200),
        ("GET", "workflows/logs?limit=1", KEY, None, 200),
    ],
)
def test_demo_server_answers_like_dify(
    method: str, path: str, key: str, body: dict[str, object] | None, status: int
) -> None:
    with DemoServer() as server:
        url, auth = f"{server.base_url}/{path}", {"Authorization": f"Bearer {key}"}
        answer = requests.request(method, url, json=body, headers=auth, timeout=30)
    assert answer.status_code == status
    assert status == 200 or answer.json()["status"] == status


def test_stopped_run_of_the_demo_server_is_listed_as_stopped() -> None:
    auth = {"Authorization": f"Bearer {KEY}"}
    body = {"inputs": {"topic": "a"}, "user": "u", "response_mode": "streaming"}
    with DemoServer() as server:
        workflows = f"{server.base_url}/workflows"
        with requests.post(f"{workflows}/run", json=body, headers=auth, stream=True, timeout=30) as events:
            lines = (json.loads(line[5:]) for line in events.iter_lines() if line.startswith(b"data:"))
            first = next(lines)
            stop = f"{workflows}/tasks/{first['task_id']}/stop"
            assert requests.post(stop, json={"user": "u"}, headers=auth, timeout=30).json() == {
                "result": "success"
            }
            *_, last = lines
        assert (last["event"], last["data"]["status"]) == ("workflow_finished", "stopped")
        detail = requests.get(f"{workflows}/run/{first['workflow_run_id']}", headers=auth, timeout=30).json()
        [row] = requests.get(f"{workflows}/logs", headers=auth, timeout=30).json()["data"]
    assert (detail["status"], row["workflow_run"]["status"]) == ("stopped", "stopped")


def test_blocking_run_of_the_demo_server_returns_the_outputs() -> None:
    body = {"inputs": {"topic": "a"}, "user": "u", "response_mode": "blocking"}
    with DemoServer() as server:
        url, auth = f"{server.base_url}/workflows/run", {"Authorization": f"Bearer {KEY}"}
        data = requests.post(url, json=body, headers=auth, timeout=30).json()["data"]
    assert (data["status"], data["outputs"]["topic"]) == ("succeeded", "a")

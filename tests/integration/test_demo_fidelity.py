"""The fake Dify server answers like the recorded servers; test names contain the name of the recording."""

import json
import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.fake_dify.apps import App, Node
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import PATIENCE
from tests.support.recordings import KEY, VERSIONS, Recording, load

TEXT = {"text-input": {"variable": "text", "required": True, "max_length": 48}}
APPS = (
    App(KEY, form=(TEXT,)),
    App("app-fail", nodes=(Node("Start"), Node("Ask", error="[Errno 111] Connection refused"))),
    App(
        "app-slow", nodes=(Node("Start"), Node("First", 0.4), Node("Second", 0.2), Node("Third"), Node("End"))
    ),
    App("app-unpublished", published=False),
    App("app-off", api_enabled=False),
    App("app-chat", mode="advanced-chat"),
    App("app-limited", nodes=(Node("Think", 0.5),), limit=1),
    App("app-human", nodes=(Node("Start"), Node("Ask", pauses=True))),
)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[FakeDify]:
    with FakeDify(APPS, version=request.param, ping=0.2) as made:
        yield made


def call(server: FakeDify, method: str, path: str, key: str = KEY, **settings: object) -> requests.Response:
    root = server.base_url.removesuffix("/v1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.request(method, root + path, headers=headers, timeout=PATIENCE, **settings)  # type: ignore[arg-type]


def run(
    server: FakeDify, key: str = KEY, mode: str = "blocking", user: str = "u", **inputs: object
) -> requests.Response:
    body = {"inputs": inputs or {"text": "hi"}, "response_mode": mode, "user": user}
    return call(server, "POST", "/v1/workflows/run", key, json=body, stream=mode == "streaming")


def events(response: requests.Response) -> list[dict[str, object]]:
    lines = [line for line in response.iter_lines() if line.startswith(b"data:")]
    return [json.loads(line[5:]) for line in lines]


def shape(value: object, depth: int = 2) -> object:
    """Reduce a response to its field names, error codes and messages; drop values that differ per run."""
    if isinstance(value, dict) and depth:
        fields = {key: shape(item, depth - 1) for key, item in value.items()}
        return {
            **fields,
            **{key: value[key] for key in ("code", "message", "status", "event") if key in value},
        }
    return None


# path and settings of the request -> recording with the same response
EMPTY = {"json": {"inputs": {}, "user": "u"}}
TOO_LONG = {"json": {"inputs": {"text": "x" * 49}, "user": "u"}}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
SAME_ANSWER = [
    ("auth-missing", "POST", "/v1/workflows/run", "", {"json": {}}),
    ("auth-wrong-key", "POST", "/v1/workflows/run", "app-wrong", {"json": {}}),
    ("error-user-missing", "POST", "/v1/workflows/run", KEY, {"json": {"inputs": {}}}),
    ("error-input-required-missing", "POST", "/v1/workflows/run", KEY, EMPTY),
    ("error-input-too-long", "POST", "/v1/workflows/run", KEY, TOO_LONG),
    ("error-unpublished", "POST", "/v1/workflows/run", "app-unpublished", EMPTY),
    ("error-api-disabled", "POST", "/v1/workflows/run", "app-off", EMPTY),
    ("error-wrong-app-mode-chatflow", "POST", "/v1/workflows/run", "app-chat", EMPTY),
    ("base-url-without-v1", "POST", "/workflows/run", KEY, {"json": {}}),
    ("base-url-with-double-v1", "POST", "/v1/v1/workflows/run", KEY, {"json": {}}),
    ("method-not-allowed-run-get", "GET", "/v1/workflows/run", KEY, {}),
    ("detail-not-a-uuid", "GET", "/v1/workflows/run/abc", KEY, {}),
    ("detail-unknown-id", "GET", f"/v1/workflows/run/{UNKNOWN}", KEY, {}),
    ("stop-unknown-task", "POST", f"/v1/workflows/tasks/{UNKNOWN}/stop", KEY, {"json": {"user": "u"}}),
    ("stop-task-not-a-uuid", "POST", "/v1/workflows/tasks/abc/stop", KEY, {"json": {"user": "u"}}),
    ("error-stop-no-user", "POST", "/v1/workflows/tasks/abc/stop", KEY, {"json": {}}),
]  # fmt: skip


def recorded(server: FakeDify, name: str) -> Recording:
    try:
        return load(server.version, name)
    except FileNotFoundError:
        return load("1.11.2", name)


@pytest.mark.parametrize(
    ("name", "method", "path", "key", "settings"), SAME_ANSWER, ids=[row[0] for row in SAME_ANSWER]
)
def test_response_equals_the_recording(
    server: FakeDify, name: str, method: str, path: str, key: str, settings: dict[str, object]
) -> None:
    recording = recorded(server, name)
    answer = call(server, method, path, key, **settings)
    assert answer.status_code == recording.status
    kind = {k.lower(): v for k, v in recording.headers.items()}["content-type"].partition(";")[0]
    assert answer.headers["Content-Type"].partition(";")[0] == kind
    assert answer.headers["X-Version"] == server.version
    if kind == "application/json":
        data = json.loads(recording.bytes)
        mine = answer.json()
        assert {k: mine.get(k) for k in ("code", "message", "status")} == {
            k: data.get(k) for k in ("code", "message", "status")
        }


def test_run_streaming_fail_has_the_recorded_events(server: FakeDify) -> None:
    def summary(raw: list[dict[str, object]]) -> list[object]:
        return [(event["event"], event["data"].get("status"), event["data"].get("error")) for event in raw]  # type: ignore[attr-defined]

    lines = recorded(server, "run-streaming-fail").bytes.split(b"\n")
    recording = [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]
    mine = events(run(server, "app-fail", "streaming"))
    assert summary(mine) == summary(recording)
    assert set(recording[-1]["data"]) - {"created_by"} <= set(mine[-1]["data"])  # type: ignore[call-overload]


def test_run_blocking_fail_is_http_200_with_the_recorded_fields(server: FakeDify) -> None:
    data = json.loads(recorded(server, "run-blocking-fail").bytes)
    answer = run(server, "app-fail")
    assert answer.status_code == 200
    assert set(data["data"]) <= set(answer.json()["data"])
    assert (answer.json()["data"]["status"], answer.json()["data"]["error"]) == (
        "failed",
        data["data"]["error"],
    )


def test_ping_streaming_45s_pings_have_no_data_line(server: FakeDify) -> None:
    with run(server, "app-slow", "streaming") as answer:
        raw = b"".join(answer.iter_content(None))
    assert b"event: ping\n\n" in raw
    assert raw.startswith(b"event: ping\n\n") == (server.version >= "1.14")


def test_drop_streaming_at_first_event_run_continues(server: FakeDify) -> None:
    with run(server, "app-slow", "streaming", user="leaves") as answer:
        next(answer.iter_lines())
    run_id = server.runs[-1].run_id
    until = time.monotonic() + 5
    while (detail := call(server, "GET", f"/v1/workflows/run/{run_id}", "app-slow").json())[
        "status"
    ] == "running":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert detail["status"] == "succeeded"
    rows = call(server, "GET", "/v1/workflows/logs?created_by_end_user_session_id=leaves", "app-slow").json()
    assert [row["workflow_run"]["id"] for row in rows["data"]] == [run_id]


def test_stop_streaming_stream_and_its_record(server: FakeDify) -> None:
    with run(server, "app-slow", "streaming") as answer:
        lines = answer.iter_lines()
        first = next(json.loads(line[5:]) for line in lines if line.startswith(b"data:"))
        time.sleep(0.1)
        stop = call(
            server,
            "POST",
            f"/v1/workflows/tasks/{first['task_id']}/stop",
            KEY,
            json={"user": "somebody"},
        )
        last = [json.loads(line[5:]) for line in lines if line.startswith(b"data:")][-1]
    assert stop.json() == {"result": "success"}
    recording = [
        json.loads(line[5:])
        for line in recorded(server, "stop-streaming-stream").bytes.split(b"\n")
        if line.startswith(b"data:")
    ][-1]
    assert (last["event"], last["data"]["status"], last["data"]["error"]) == (
        recording["event"], recording["data"]["status"], recording["data"]["error"],
    )  # fmt: skip
    time.sleep(1.0)
    data = call(server, "GET", f"/v1/workflows/run/{first['workflow_run_id']}", "app-slow").json()
    assert data["status"] == ("stopped" if server.version >= "1.14" else "running")


def test_outputs_of_run_detail_are_text_until_1_12_and_an_object_since_1_13(server: FakeDify) -> None:
    run_id = run(server, text="hi").json()["workflow_run_id"]
    data = call(server, "GET", f"/v1/workflows/run/{run_id}").json()
    recording = json.loads(recorded(server, "detail-after-echo").bytes)
    assert type(data["outputs"]) is type(recording["outputs"])
    assert type(data["inputs"]) is type(recording["inputs"])
    assert set(data) == set(recording)


def test_rate_limit_second_run_blocking_is_a_400_identified_by_its_message(server: FakeDify) -> None:
    if server.engine.rejects_by_run:
        second = run(server, "app-limited", "streaming")
    else:
        with run(server, "app-limited", "streaming"):
            second = run(server, "app-limited")
    assert (second.status_code, second.json()["code"]) == (400, "invalid_param")
    words = json.loads(recorded(server, "rate-limit-second-run-while-blocking").bytes)["message"]
    assert second.json()["message"][:60] == words[:60]


def test_human_input_has_events_since_1_13(server: FakeDify) -> None:
    if server.version >= "1.14":
        assert events(run(server, "app-human", "streaming"))[-1]["event"] == "workflow_paused"
        assert run(server, "app-human").json()["data"]["status"] == "paused"
        return
    with run(server, "app-human", "streaming") as answer:
        lines = answer.iter_lines()
        seen = [next(lines) for _ in range(16)]  # until some pings have come
    assert seen[-2:] == [b"event: ping", b""]
    assert not any(b"workflow_paused" in line for line in seen)
    run_id = server.runs[-1].run_id
    assert call(server, "GET", f"/v1/workflows/run/{run_id}", "app-human").json()["status"] == "paused"


def test_events_after_finish_is_one_event_and_unknown_before_1_14(server: FakeDify) -> None:
    run_id = run(server, user="mine", text="x").json()["workflow_run_id"]
    answer = call(server, "GET", f"/v1/workflow/{run_id}/events?user=mine", stream=True)
    if server.version < "1.14":
        assert answer.status_code == 404
        return
    assert [event["event"] for event in events(answer)] == ["workflow_finished"]
    assert call(server, "GET", f"/v1/workflow/{run_id}/events?user=other").status_code == 404


@pytest.mark.parametrize(
    ("name", "files", "status"),
    [
        ("upload-txt", {"file": ("a.txt", b"hello", "text/plain")}, 201),
        ("error-upload-no-file-field", {"other": ("a.txt", b"hello", "text/plain")}, 400),
        ("error-upload-bad-filename-chars", {"file": ("a:b.txt", b"hello", "text/plain")}, 400),
        ("error-upload-too-large-txt", {"file": ("a.txt", b"x" * (15 * 1024 * 1024 + 1), "text/plain")}, 413),
    ],
)
def test_upload_response_equals_the_recording(
    server: FakeDify, name: str, files: object, status: int
) -> None:
    answer = call(server, "POST", "/v1/files/upload", files=files)
    assert answer.status_code == status
    if status == 201:
        assert (answer.json()["name"], answer.json()["size"], answer.json()["extension"]) == (
            "a.txt",
            5,
            "txt",
        )
    else:
        assert answer.json()["code"] == json.loads(load("1.11.2", name).bytes)["code"]


def test_server_listens_on_loopback_only(server: FakeDify) -> None:
    assert server.base_url.startswith("http://127.0.0.1:")


def test_upload_belongs_to_its_user_and_app_since_1_15(server: FakeDify) -> None:
    def upload(user: str, key: str) -> str:
        files = {"file": ("a.txt", b"x", "text/plain")}
        answer = call(server, "POST", "/v1/files/upload", key, files=files, data={"user": user})
        return str(answer.json()["id"])

    def code(upload_id: str) -> int:
        file = {"type": "document", "transfer_method": "local_file", "upload_file_id": upload_id}
        return run(server, "app-document", "blocking", "u", doc=file).status_code

    server.apps["app-document"] = App(
        "app-document", form=({"file": {"variable": "doc", "allowed_file_types": ["document"]}},)
    )
    refused = 400 if server.engine.rejects_by_run else 200
    assert code(upload("u", "app-document")) == 200
    assert code(upload("another", "app-document")) == refused
    assert code(upload("u", KEY)) == refused


@pytest.mark.parametrize("server", ["1.16.1"], indirect=True)
def test_list_for_a_number_fails_a_run_that_does_not_exist(server: FakeDify) -> None:
    assert server.engine.rejects_by_run  # older servers reject with an HTTP status
    server.apps["app-number"] = App("app-number", form=({"number": {"variable": "n"}},))
    with run(server, "app-number", "streaming", n=[1]) as answer:
        sent_events = events(answer)
    assert [one["event"] for one in sent_events] == ["workflow_started", "workflow_finished"]
    recorded_events = [
        json.loads(line[6:])
        for line in recorded(server, "error-input-number-is-list-streaming").bytes.splitlines()
        if line.startswith(b"data: ")
    ]
    assert shape(sent_events) == shape(recorded_events)
    assert sent_events[1]["data"]["error"] == recorded_events[1]["data"]["error"]  # type: ignore[index]

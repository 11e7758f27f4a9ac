"""`dify-job run` with responses of real servers and gateways.

Tests name the GitHub issues of langgenius/dify that report the response.
"""

import json
import socket
import time
from email.utils import formatdate
from http.client import HTTPConnection

import pytest

from tests.support.command import APPS, KEY, Command
from tests.support.command_result import CommandResult
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until
from tests.support.scripted_server import (
    NOT_FOUND,
    PING,
    RUN_ID,
    STARTED,
    TASK_ID,
    RawResponse,
    ScriptedServer,
    answer,
    blocking,
    finished,
    logs,
    run_of,
    stream,
)
from tests.support.socket_server import unused_port

pytestmark = pytest.mark.usefixtures("short_waits")

GATEWAY = b"<html><title>504 Gateway Time-out</title></html>"


def env_of(server: ScriptedServer) -> dict[str, str]:
    return {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}


def run(dify_job: Command, server: ScriptedServer, *args: str) -> CommandResult:
    return dify_job("run", *args, env=env_of(server))


@pytest.mark.parametrize("status", [408, 499, 502, 504, 524])
@pytest.mark.parametrize(("end", "code"), [("succeeded", 0), ("failed", 80)])
def test_run_is_searched_for_after_a_proxy_timeout(
    dify_job: Command, status: int, end: str, code: int
) -> None:
    # dify#19173, #23502, #12276
    with ScriptedServer(
        post=answer(status, GATEWAY),
        logs=[answer(200, logs()), answer(200, logs("running"))],
        detail=[answer(200, run_of("running"), version="1.11.2"), answer(200, run_of(end))],
    ) as server:
        ran = run(dify_job, server)
    assert ran.code == code, ran.stderr
    assert ran.result["response_data"]["workflow_run_id"] == RUN_ID
    assert server.count("post") == 1


def server_with_a_run(post: RawResponse | list[RawResponse]) -> ScriptedServer:
    """Return a server that executes the workflow, whatever it answers to the request."""
    return ScriptedServer(
        post=post, logs=answer(200, logs("running")), detail=answer(200, run_of("succeeded"))
    )


_ENVOY = b"upstream connect error or disconnect/reset before headers. reset reason: "


@pytest.mark.parametrize(
    ("page", "posts"),
    [
        (_ENVOY + b"connection termination", 1),
        (_ENVOY[:-15], 1),
        (_ENVOY + b"protocol error", 1),
        (b"<title>503 Backend fetch failed</title>", 1),
        (b"<title>503 first byte timeout</title>", 1),
        (b'<iframe src="//www.herokucdn.com/error-pages/application-error.html">', 1),
        (b"<h2>Our services aren't available right now</h2>", 1),
        (b"either the HTTP response was malformed or connection to the instance had an error", 1),
        (_ENVOY + b"remote connection failure, transport failure reason: delayed connect error: 111", 2),
        (_ENVOY + b"overflow", 2),
        (b"no healthy upstream", 2),
    ],
)
def test_503_of_a_proxy_that_forwarded_the_request_is_not_retried(
    dify_job: Command, page: bytes, posts: int
) -> None:
    with server_with_a_run([answer(503, page), stream(STARTED, finished("succeeded"))]) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (0, posts)


@pytest.mark.parametrize(("pause", "code"), [(0.0, 76), (1.0, 0)])
def test_run_is_searched_for_after_a_late_page_of_a_proxy(dify_job: Command, pause: float, code: int) -> None:
    """A load balancer can send its page with status 200 when Dify takes too long."""
    dify_job.limits |= {"prompt_rejection": 0.5}
    [(_, raw)] = answer(200, b"<html>We will be right back").parts
    with server_with_a_run(RawResponse(((pause, raw),))) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (code, 1)


@pytest.mark.parametrize(
    ("headers", "pause", "posts"), [({"apigw-requestid": "Abc="}, 0.0, 1), ({}, 1.0, 1), ({}, 0.0, 2)]
)
def test_503_that_may_be_a_timeout_of_a_gateway_is_not_retried(
    dify_job: Command, headers: dict[str, str], pause: float, posts: int
) -> None:
    # AWS API Gateway: https://repost.aws/knowledge-center/api-gateway-500-error
    dify_job.limits |= {"prompt_rejection": 0.5}
    [(_, raw)] = answer(503, {"message": "Service Unavailable"}, headers).parts
    with server_with_a_run([RawResponse(((pause, raw),)), stream(STARTED, finished("succeeded"))]) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (0, posts)


@pytest.mark.parametrize(
    ("status", "headers", "pause", "code"),
    [(413, {}, 1.0, 65), (403, {}, 1.0, 77), (403, {"apigw-requestid": "Abc="}, 0.0, 77), (429, {}, 1.0, 0)],
)
def test_late_rejection_is_searched_for_a_run_only_where_it_would_be_retried(
    dify_job: Command, status: int, headers: dict[str, str], pause: float, code: int
) -> None:
    dify_job.limits |= {"prompt_rejection": 0.5}
    [(_, raw)] = answer(status, b"<h1>rejected</h1>", headers).parts
    with server_with_a_run(RawResponse(((pause, raw),))) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (code, 1)


@pytest.mark.parametrize("status", [201, 203, 206, 299])
@pytest.mark.parametrize("mode", ["blocking", "streaming"])
def test_any_2xx_status_is_read_as_the_response(dify_job: Command, status: int, mode: str) -> None:
    if mode == "blocking":
        post = answer(status, blocking("succeeded"))
    else:
        post = stream(STARTED, finished("succeeded"))
        head, *rest = post.parts
        post = RawResponse(((0.0, head[1].replace(b"200 OK", b"%d Fine" % status)), *rest))
    with ScriptedServer(post=post) as server:
        ran = run(dify_job, server, "--mode", mode)
    assert ran.code == 0, ran.stdout


@pytest.mark.parametrize("behind", [b"\n<!-- added by a proxy -->", b"{}", b"\x00\x00", b"]"])
def test_bytes_after_the_response_are_ignored(dify_job: Command, behind: bytes) -> None:
    body = json.dumps(blocking("failed", error="boom")).encode() + behind
    with ScriptedServer(post=answer(200, body, {"Content-Type": "application/json"})) as server:
        ran = run(dify_job, server, "--mode", "blocking")
    assert (ran.code, ran.result["message"]) == (80, "workflow failed: boom")


@pytest.mark.parametrize("mode", ["blocking", "streaming"])
@pytest.mark.parametrize(("record", "code"), [(answer(200, run_of("succeeded")), 0), (NOT_FOUND, 76)])
def test_end_without_a_status_is_checked_with_run_detail(
    dify_job: Command, mode: str, record: RawResponse, code: int
) -> None:
    end = finished("x")
    end["data"] = {}
    post = answer(200, blocking("x") | {"data": {}}) if mode == "blocking" else stream(STARTED, end)
    with ScriptedServer(post=post, detail=record) as server:
        ran = run(dify_job, server, "--mode", mode)
    assert ran.code == code, ran.stdout


def test_size_limit_of_a_proxy_is_not_attributed_to_dify(dify_job: Command) -> None:
    with ScriptedServer(post=answer(413, b"<html>413 Request Entity Too Large</html>")) as server:
        ran = run(dify_job, server)
    assert ran.code == 65
    assert "proxy" in ran.result["message"]
    assert "client_max_body_size" in ran.result["hint"]


@pytest.mark.parametrize("creator", [{}, None, {"id": "", "user": None}])
def test_failure_of_a_run_without_a_creator_and_without_a_record_is_a_rejection(
    dify_job: Command, creator: object
) -> None:
    dify_job.limits |= {"first_ids": 0.3}
    end = finished("failed", error="text is required in input form", created_by=creator, outputs=None)
    with ScriptedServer(post=stream(STARTED, end, version="1.16.1")) as server:
        ran = run(dify_job, server)
        assert (ran.code, server.count("post")) == (65, 1), ran.stdout
        assert server.count("detail") > 1
    assert run(dify_job, server).code == 69  # no run is in flight


def test_run_is_searched_for_after_a_stream_of_pings_only(dify_job: Command) -> None:
    # dify#24253
    with ScriptedServer(
        post=stream(PING, PING, PING),
        logs=[answer(200, logs()), answer(200, logs("running"))],
        detail=[answer(200, run_of("running")), answer(200, run_of("succeeded"))],
    ) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (0, 1)


def test_run_is_searched_for_after_a_stream_that_a_gateway_reformatted(dify_job: Command) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in (STARTED, finished("succeeded")))
    with server_with_a_run(RawResponse(((0.0, head + lines),))) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (0, 1), ran.stdout


def test_error_event_ends_the_call_before_the_stream_closes(dify_job: Command) -> None:
    # dify#36996, #37100
    error = {"event": "error", "message": "node exploded", "code": "internal_server_error", "status": 500}
    with ScriptedServer(post=stream(PING, error, then="hold")) as server:
        ran = run(dify_job, server)
    assert ran.code == 80
    assert "node exploded" in ran.result["message"]
    assert ran.result["duration_s"] < 30


def test_ids_are_read_from_any_event(dify_job: Command) -> None:
    # dify#40948, #32518: no workflow_started
    event = {"event": "node_finished", "task_id": TASK_ID, "workflow_run_id": RUN_ID, "data": {"id": "node"}}
    with ScriptedServer(post=stream(event), detail=answer(200, run_of("succeeded"))) as server:
        ran = run(dify_job, server)
    assert ran.code == 0
    assert ran.result["response_data"]["task_id"] == TASK_ID
    assert server.count("logs") == 0


@pytest.mark.parametrize("mode", ["streaming", "blocking"])
def test_http_200_with_status_failed_is_a_failure(dify_job: Command, mode: str) -> None:
    message = {"error": "the model said no"}
    post = (
        stream(STARTED, finished("failed", **message))
        if mode == "streaming"
        else answer(200, blocking("failed", **message))
    )
    with ScriptedServer(post=post) as server:
        ran = run(dify_job, server, "--mode", mode)
    assert ran.code == 80
    assert "the model said no" in ran.result["message"]


def test_partial_success_has_its_own_code(dify_job: Command) -> None:
    with ScriptedServer(post=stream(STARTED, finished("partial-succeeded", exceptions_count=1))) as server:
        assert run(dify_job, server).code == 81


def test_only_the_400_for_busy_is_retried(dify_job: Command) -> None:
    # dify#11955
    busy = "Too many requests. Please try again later. The current maximum concurrent requests allowed is 10."
    refuse = {"code": "invalid_param", "message": busy, "status": 400}
    for status, code in ((400, "invalid_param"), (429, "rate_limit_error")):
        rejection = answer(status, refuse | {"code": code, "status": status})
        with ScriptedServer(post=[rejection, stream(STARTED, finished("succeeded"))]) as server:
            ran = run(dify_job, server)
        assert (ran.code, ran.result["attempts"]) == (0, 2)
    with ScriptedServer(post=answer(400, refuse | {"message": "text is required in input form"})) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (65, 1)


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, "completion_request_error", "[openai] Rate Limit Error, Too many requests, slow down", 80),
        (500, "internal_server_error", "plugin: 429 Too many requests", 74),
        (400, "invalid_param", "the model said: Too many requests", 65),
    ],
)
@pytest.mark.parametrize("in_stream", [False, True])
def test_busy_model_provider_is_not_a_busy_server(
    dify_job: Command, status: int, code: str, message: str, expected: int, in_stream: bool
) -> None:
    error = {"code": code, "message": message, "status": status}
    end = stream(STARTED, finished("succeeded"))
    first = (
        stream(PING, {"event": "error", **error}, version="1.14.2") if in_stream else answer(status, error)
    )
    with ScriptedServer(post=[first, end]) as server:
        ran = run(dify_job, server, "--timeout", "2s")
    assert server.count("post") == 1
    assert ran.code == (80 if in_stream and expected == 74 else expected), ran.stdout


@pytest.mark.parametrize(("is_of_a_run", "code", "posts"), [(True, 74, 1), (False, 0, 2)])
def test_busy_message_in_the_stream_of_a_run_is_not_retried(
    dify_job: Command, is_of_a_run: bool, code: int, posts: int
) -> None:
    node = {"event": "node_started", "task_id": TASK_ID, "data": {"node_id": "a", "title": "Ask"}}
    busy = {"event": "error", "code": "invalid_param", "message": "Too many requests. Please try again."}
    first = stream(node if is_of_a_run else PING, busy)
    with ScriptedServer(post=[first, stream(STARTED, finished("succeeded"))]) as server:
        ran = run(dify_job, server, "--timeout", "2s")
    assert (ran.code, server.count("post")) == (code, posts), ran.stdout


def test_only_the_429_for_a_quota_is_not_retried(dify_job: Command) -> None:
    # dify#19355, and the error table of the documentation
    end = stream(STARTED, finished("succeeded"))
    quota = answer(429, {"code": "rate_limit_error", "message": "quota", "status": 429})
    with ScriptedServer(post=[quota, end]) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (77, 1)
    busy = {"code": "too_many_requests", "message": "slow down", "status": 429}
    for is_date, at_least in ((False, 2.0), (True, 1.0)):
        retry_after = formatdate(time.time() + 3, usegmt=True) if is_date else "2"
        with ScriptedServer(post=[answer(429, busy, {"Retry-After": retry_after}), end]) as server:
            ran = run(dify_job, server)
        assert (ran.code, ran.result["attempts"]) == (0, 2)
        assert at_least <= ran.result["duration_s"] < 30
    with ScriptedServer(post=[answer(429, b"<html>Error 1015</html>"), end]) as server:
        assert run(dify_job, server).code == 0


@pytest.mark.parametrize("then", ["reset", "close"])
def test_connection_lost_before_the_response_is_not_retried(dify_job: Command, then: str) -> None:
    # dify#35327
    with ScriptedServer(
        post=RawResponse((), then),
        logs=answer(200, logs("succeeded")),
        detail=answer(200, run_of("succeeded")),
    ) as server:
        ran = run(dify_job, server)
        assert (ran.code, server.count("post")) == (0, 1)
        user = server.bodies("post")[0]["user"]
        assert any(kind == "logs" and user.encode() in raw for kind, raw in server.seen)
    with ScriptedServer(post=RawResponse((), then)) as server:
        ran = run(dify_job, server, "--timeout", "3s")
        assert (ran.code, server.count("post")) == (74, 1)
        assert "Logs" in ran.result["hint"]


def test_late_network_is_awaited_and_an_unresolvable_name_is_69(
    dify_job: Command,
) -> None:
    with unused_port() as port:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": f"http://127.0.0.1:{port}/v1"}
        process = dify_job.start("run", "--scheduled", env=env)
        time.sleep(1.5)
        with FakeDify(APPS, port=port) as server:
            _, stderr = process.communicate()
            assert process.returncode == 0, stderr
            assert len(server.runs) == 1
    config = dify_job.home / "c.toml"
    config.write_text(
        '[jobs.a]\nbase_url = "http://no-such-host.invalid"\napi_key_env = "K"\nretry = { attempts = 1 }\n'
    )
    ran = dify_job("run", "--config", str(config), env={"K": KEY})
    assert ran.code == 69
    assert "no-such-host.invalid" in ran.result["message"]


@pytest.mark.parametrize("mode", ["streaming", "blocking"])
def test_run_that_pauses_for_a_human_ends_the_call(dify_job: Command, mode: str) -> None:
    # dify#35556, #35504
    paused = {
        "event": "workflow_paused",
        "task_id": TASK_ID,
        "workflow_run_id": RUN_ID,
        "data": {"reasons": [{"TYPE": "human_input_required", "form_token": None}], "outputs": {}},
    }
    post = stream(STARTED, paused, then="hold") if mode == "streaming" else answer(200, blocking("paused"))
    with ScriptedServer(post=post) as server:
        ran = run(dify_job, server, "--mode", mode)
    assert (ran.code, ran.result["response_data"]["workflow_run_id"]) == (83, RUN_ID)
    assert ran.result["duration_s"] < 30


def test_time_limit_of_the_server_is_a_failure_with_a_hint(dify_job: Command) -> None:
    # dify#5070
    with ScriptedServer(post=stream(STARTED, finished("stopped"))) as server:
        ran = run(dify_job, server)
    assert ran.code == 82
    assert "APP_MAX_EXECUTION_TIME" in ran.result["hint"]


def test_acknowledged_stop_without_effect_is_reported(dify_job: Command) -> None:
    # dify#18481, #40966, #35549
    in_flight = dify_job.home / "state/in-flight.json"
    with ScriptedServer(post=stream(STARTED, then="hold"), detail=answer(200, run_of("running"))) as server:
        process = dify_job.start("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
        ran = dify_job.signal_when(process, lambda: in_flight.exists() and RUN_ID in in_flight.read_text())
        assert ran.code == 143
        assert "did not confirm" in ran.result["message"]
        assert ran.result["duration_s"] < 22
        assert server.bodies("stop")[0]["user"] == server.bodies("post")[0]["user"]
    assert in_flight.exists()


@pytest.mark.parametrize(
    "failure",
    [answer(500, b""), answer(404, b"<html>"), answer(200, b"<html>log in"), RawResponse((), "reset")],
)
def test_stop_request_that_failed_is_repeated(dify_job: Command, failure: RawResponse) -> None:
    dify_job.limits |= {"stop_poll": 0.1, "stop_confirmation": 10.0}
    with ScriptedServer(
        post=stream(STARTED, then="hold"),
        stop=[failure, failure, answer(200, {"result": "success"})],
        detail=answer(200, run_of("running")),
    ) as server:
        process = dify_job.start("run", "--timeout", "1s", env=env_of(server))
        wait_until(lambda: server.count("stop") == 3)
        server.say("detail", answer(200, run_of("stopped")))
        out, _ = process.communicate()
        assert process.wait() == 124, out
        assert server.count("stop") == 3
    assert "confirmed it" in json.loads(out)["message"]


def test_signal_before_the_first_event_does_not_hang(dify_job: Command) -> None:
    # dify#40948
    with ScriptedServer(post=stream(PING, then="hold")) as server:
        process = dify_job.start("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
        ran = dify_job.signal_when(process, lambda: server.count("post"))
        assert ran.code == 143
        assert "the run could not be stopped" in ran.result["message"]
        assert ran.result["duration_s"] < 20
        assert server.count("stop") == 0
    assert json.loads((dify_job.home / "state/in-flight.json").read_text())["workflow_run_id"] is None


def test_run_detail_that_stays_running_is_abandoned(dify_job: Command) -> None:
    # dify#26169, #21770, #27490
    end = stream(STARTED, finished("succeeded"))
    with ScriptedServer(post=[stream(STARTED), end], detail=answer(200, run_of("running"))) as server:
        ran = run(dify_job, server, "--timeout", "3s")
        assert ran.code == 124
        assert ran.result["duration_s"] < 23
        assert run(dify_job, server).code == 0, "after a stop that we sent it does not block the next run"
    history = [json.loads(line) for line in (dify_job.home / "state/history.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in history] == ["timeout", "unknown", "succeeded"]


@pytest.mark.parametrize("absent", [NOT_FOUND, answer(200, {"id": None, "status": None, "outputs": None})])
def test_run_unknown_to_run_detail_is_polled_again(dify_job: Command, absent: RawResponse) -> None:
    # dify#20050, #26914
    with ScriptedServer(
        post=stream(STARTED), detail=[absent, absent, answer(200, run_of("succeeded"))]
    ) as server:
        assert run(dify_job, server).code == 0
        assert server.count("detail") == 3


def test_old_formats_of_run_detail_are_normalised(dify_job: Command) -> None:
    # dify#16821
    old = run_of(
        "succeeded", outputs='{"result": "报告"}', inputs="{}", created_at="Fri, 28 Mar 2025 03:00:00 GMT"
    )
    with ScriptedServer(
        post=stream(STARTED, version="0.15.3"), detail=answer(200, old, version="0.15.3")
    ) as server:
        ran = run(dify_job, server)
    assert ran.code == 0
    assert ran.result["response_data"]["data"]["outputs"] == {"result": "报告"}
    assert ran.result["response_data"]["data"]["created_at"] == 1743130800


def test_stream_with_all_syntax_of_the_grammar_is_parsed(dify_job: Command) -> None:
    # OpenMetadata#29532, dify#39008
    text = "报告\u2028é\u0085🎉" + "长" * 700_000
    body = json.dumps(finished("succeeded", outputs={"result": text}), ensure_ascii=False).encode()
    half = body.index(b'"data"')
    raw = b": comment\r\nid: 7\r\nretry: 5\r\ndata:" + body[:half] + b"\r\ndata:" + body[half:] + b"\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    pieces = [raw[at : at + 65537] for at in range(0, len(raw), 65537)]
    crlf = raw.index(b"\r\n\r\n")
    pieces[-1:] = [pieces[-1][: crlf + 1 - len(raw)], pieces[-1][crlf + 1 - len(raw) :]]
    with ScriptedServer(post=RawResponse(tuple((0.0, part) for part in (head, *pieces)))) as server:
        ran = run(dify_job, server)
    assert ran.code == 0
    assert ran.result["response_data"]["data"]["outputs"]["result"] == text


@pytest.mark.parametrize(
    ("status", "code", "message", "words"),
    [
        (403, "trigger_workflow_service_mode_unavailable", "no", "starts with a trigger"),
        (400, "invalid_param", "Workflow not published", "not published"),
        (403, "forbidden", "The app's API service has been disabled.", "is disabled"),
        (400, "not_workflow_app", "Please check if your app mode matches.", "not a workflow"),
    ],
)
def test_app_that_cannot_be_called_is_a_configuration_error(
    dify_job: Command, status: int, code: str, message: str, words: str
) -> None:
    # dify#41519
    with ScriptedServer(post=answer(status, {"code": code, "message": message, "status": status})) as server:
        ran = run(dify_job, server)
    assert (ran.code, server.count("post")) == (78, 1)
    assert words in ran.result["message"]
    assert ran.result["hint"]


def test_403_of_a_firewall_is_not_attributed_to_the_key(dify_job: Command) -> None:
    # dify#8790, #28094
    page = b"<!DOCTYPE html><title>Attention Required! | Cloudflare</title>"
    with ScriptedServer(post=answer(403, page, {"Server": "cloudflare"})) as server:
        ran = run(dify_job, server)
    assert ran.code == 77
    assert "firewall" in ran.result["message"]
    assert "is still unchecked" in ran.result["hint"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b"<html>nothing here</html>",
            "the answer to {url}/workflows/run (HTTP 404) does not come from Dify",
        ),
        ({"code": "not_found", "message": "no", "status": 404}, "HTTP 404 (no) to {url}/workflows/run"),
    ],
)
def test_404_is_reported_with_the_requested_url(dify_job: Command, body: object, message: str) -> None:
    with ScriptedServer(post=answer(404, body)) as server:
        ran = run(dify_job, server)
    assert ran.code == 76
    assert message.format(url=server.base_url) in ran.result["message"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["{elsewhere}/workflows/run", "http://[", "http://a:99999/v1", ""])
def test_redirect_is_not_followed(dify_job: Command, status: int, location: str) -> None:
    with ScriptedServer(post=stream(STARTED, finished("succeeded"))) as elsewhere:
        target = location.format(elsewhere=elsewhere.base_url)
        with ScriptedServer(post=answer(status, b"", {"Location": target})) as server:
            ran = run(dify_job, server)
        assert (ran.code, server.count("post"), elsewhere.seen) == (76, 1, [])
    assert "base_url" in ran.result["hint"]


def test_key_is_not_sent_to_a_redirect_that_parsers_read_differently(dify_job: Command) -> None:
    with ScriptedServer(post=stream(STARTED, finished("succeeded"))) as elsewhere, ScriptedServer() as server:
        # urllib3 ends the host at the backslash, and urlsplit does not.
        host, own = (one.base_url.removesuffix("/v1") for one in (elsewhere, server))
        target = f"{host}\\@{own.removeprefix('http://')}/v1/workflows/run"
        server.say("post", answer(307, b"", {"Location": target}))
        ran = run(dify_job, server)
    assert (ran.code, elsewhere.seen) == (76, [])


def test_location_of_an_answer_that_is_no_redirect_is_ignored(dify_job: Command) -> None:
    (_, head), *events = stream(STARTED, finished("succeeded")).parts
    head = head.replace(b"\r\n\r\n", b"\r\nLocation: http://[\r\n\r\n")
    with ScriptedServer(post=RawResponse(((0.0, head), *events)), detail=NOT_FOUND) as server:
        assert run(dify_job, server).code == 0


def test_refused_connection_after_a_redirect_started_nothing(dify_job: Command) -> None:
    class Restarting(ScriptedServer):
        def serve(self, client: socket.socket, number: int) -> None:
            self._listener.close()
            super().serve(client, number)

    with Restarting(post=answer(307, b"", {"Location": "/v1/workflows/run"})) as server:
        ran = run(dify_job, server, "--timeout", "2s")
    assert (ran.code, ran.result["outcome"]) == (69, "unreachable"), ran.stdout


def test_queued_run_with_pings_is_awaited(dify_job: Command) -> None:
    # dify#35305, #34179
    config = dify_job.home / "c.toml"
    with ScriptedServer(
        post=stream(*[PING] * 8, STARTED, finished("succeeded"), pause=0.4), detail=NOT_FOUND
    ) as server:
        config.write_text(
            f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\nidle_timeout = "1s"\n'
        )
        ran = dify_job("run", "--config", str(config), env={"K": KEY})
    assert ran.code == 0, ran.stderr
    assert ran.result["duration_s"] > 3


def test_simultaneous_runs_of_a_job_do_not_accumulate(dify_job: Command, server: FakeDify) -> None:
    env = {"DIFY_API_KEY": "app-slow", "DIFY_BASE_URL": server.base_url}
    first = dify_job.start("run", env=env)
    wait_until(lambda: server.runs)
    late = [dify_job.start("run", "--overlap", "skip", env=env) for _ in range(5)]
    assert [process.wait() for process in late] == [0] * 5
    first.terminate()
    assert first.wait() == 143
    assert len(server.runs) == 1


FILE_FORM = (
    {"file": {"variable": "doc", "label": "doc", "required": False, "allowed_file_types": ["document"]}},
)


@pytest.mark.parametrize("name", ["报告 🎉.txt", "a:b?.txt", "empty.txt"])
def test_file_with_any_name_is_uploaded_as_the_user_of_the_run(dify_job: Command, name: str) -> None:
    # dify#29665, #35764, #21419; more of files: tests/integration/test_files.py
    (dify_job.home / name).write_bytes(b"" if name == "empty.txt" else b"content")
    with FakeDify([App(KEY, form=FILE_FORM)]) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        ran = dify_job("run", "--file", f"doc={name}", env=env)
        assert ran.code == 0, ran.stderr
        [upload] = server.uploads.found.values()
        assert upload.user == server.runs[0].user
        assert upload.mime_type
        missing = dify_job("run", "--file", "doc=gone.txt", env=env)
        assert (missing.code, len(server.runs), len(server.uploads.found)) == (66, 1, 1)


def test_key_is_required_by_the_server(server: FakeDify) -> None:
    # The tests above rely on it: the fake server rejects requests without the key.
    connection = HTTPConnection("127.0.0.1", int(server.base_url.rpartition(":")[2].partition("/")[0]))
    connection.request("POST", "/v1/workflows/run", b"{}")
    assert connection.getresponse().status == 401


def test_404_of_a_proxy_is_not_an_empty_log(dify_job: Command) -> None:
    # Traefik answers so to every path while the API restarts.
    dify_job.limits |= {"search": 0.3, "answer": 1.0}
    with ScriptedServer(
        post=RawResponse(),
        logs=[answer(404, b"404 page not found")] * 5 + [answer(200, logs("running"))],
        detail=answer(200, run_of("succeeded")),
    ) as server:
        ran = run(dify_job, server, "--timeout", "15s")
    assert (ran.code, server.count("post")) == (0, 1), ran.stdout


OTHER_RUN = run_of("succeeded") | {"id": "33333333-3333-4333-8333-333333333333"}


def test_run_detail_of_another_run_is_ignored(dify_job: Command) -> None:
    """A cache in front of Dify can send the response to another URL."""
    with ScriptedServer(
        post=stream(STARTED), detail=answer(200, OTHER_RUN), logs=answer(200, logs())
    ) as server:
        ran = run(dify_job, server, "--timeout", "2s")
    assert ran.code == 74
    assert server.count("detail") >= 2
    assert ran.result["response_data"]["workflow_run_id"] == RUN_ID


def test_end_event_of_another_run_is_ignored(dify_job: Command) -> None:
    other = finished("succeeded") | {"workflow_run_id": OTHER_RUN["id"], "data": OTHER_RUN}
    with ScriptedServer(post=stream(STARTED, other), detail=answer(200, run_of("failed"))) as server:
        ran = run(dify_job, server)
    assert ran.code == 80
    assert ran.result["response_data"]["workflow_run_id"] == RUN_ID

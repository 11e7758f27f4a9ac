"""Transport: TLS, proxies, responses without chunks, large events, single bytes."""

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from dify_job.dify.client import (
    CallEvent,
    ConnectionLost,
    DifyClient,
    Reply,
    StreamClosed,
    StreamEvent,
    StreamOpened,
)
from dify_job.dify.event_queue import Cancel, EventQueue
from tests.support.command import KEY, Command
from tests.support.socket_server import RespondWith, SocketServer

pytestmark = pytest.mark.usefixtures("short_waits")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Version: 1.11.2\r\nConnection: close\r\n"


def event(kind: str, **data: object) -> bytes:
    content = {"event": kind, "workflow_run_id": "r1", "task_id": "t1", "data": data}
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


FINISHED = HEAD + b"\r\n" + event("workflow_finished", status="succeeded", outputs={})


def messages(base_url: str, seconds: float = 5) -> list[CallEvent | Exception]:
    queue, received = EventQueue(), []
    DifyClient(base_url, KEY, on_event=queue.put).run({}, "u")
    until = time.monotonic() + seconds
    while isinstance(heard := queue.get(until), tuple) and not isinstance(heard, Cancel):
        assert isinstance(heard, tuple)
        received.append(heard[1])
        if isinstance(heard[1], (Reply, StreamClosed, ConnectionLost)) or (
            isinstance(heard[1], StreamEvent) and heard[1].event.terminal
        ):
            break
    return received


def test_stream_without_chunks_that_ends_early_is_no_outcome(respond_with: RespondWith) -> None:
    server = respond_with(HEAD + b"\r\n" + event("workflow_started", id="r1"))
    kinds = [type(message) for message in messages(server.base_url)]
    assert kinds == [StreamOpened, StreamEvent, StreamClosed]


def test_cut_in_a_chunk_is_a_lost_connection(respond_with: RespondWith) -> None:
    server = respond_with(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nda")
    [*_, last] = messages(server.base_url)
    assert last == ConnectionLost(sent=True, reason="the answer of the server was cut off")


def test_event_of_20_mb_arrives_complete_within_seconds(respond_with: RespondWith) -> None:
    text = "报\u2028" * 4_000_000
    server = respond_with(
        HEAD + b"\r\n" + event("workflow_finished", status="succeeded", outputs={"text": text})
    )
    began = time.monotonic()
    [*_, last] = messages(server.base_url, seconds=20)
    assert isinstance(last, StreamEvent)
    assert last.event.run is not None
    assert (last.event.run.outputs or {})["text"] == text
    assert time.monotonic() - began < 60  # iter_lines would take minutes


def test_refused_connection_and_unresolvable_name_are_not_sent() -> None:
    for base_url, words in (
        ("http://127.0.0.1:1/v1", "refused"),
        ("http://no.such.host.invalid/v1", "resolved"),
    ):
        [message] = messages(base_url)
        assert isinstance(message, ConnectionLost)
        assert not message.sent
        assert words in message.reason


def test_response_at_which_requests_fails_is_a_lost_connection(
    respond_with: RespondWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_headers: object) -> None:
        raise AttributeError("'bool' object has no attribute 'strip'")

    monkeypatch.setattr("requests.adapters.get_encoding_from_headers", fail)
    [message] = messages(respond_with(FINISHED).base_url)
    assert isinstance(message, ConnectionLost)
    assert message == ConnectionLost(sent=True, reason="the server's response is not valid HTTP")


@pytest.mark.parametrize("kind", [b"text/event-stream; charset", b"text/event-stream; charset=; =;", b";"])
def test_malformed_content_type_is_accepted(
    dify_job: Command, respond_with: RespondWith, kind: bytes
) -> None:
    server = respond_with(FINISHED.replace(b"text/event-stream", kind))
    ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address})
    assert ran.code == 0, ran.stdout


def test_reset_after_the_request_counts_as_sent(respond_with: RespondWith) -> None:
    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    [message] = messages(respond_with(answer).base_url)
    assert isinstance(message, ConnectionLost)
    assert message.sent


# TLS


def test_tls_is_verified_and_ca_file_adds_an_authority(
    dify_job: Command, certificate: tuple[Path, Path], respond_with: RespondWith
) -> None:
    base_url = respond_with(FINISHED, certificate=certificate).base_url
    config = dify_job.home / "c.toml"
    plain = f'[jobs.a]\nbase_url = "{base_url}"\napi_key_env = "K"\nretry = {{ attempts = 1 }}\n'
    config.write_text(plain)
    ran = dify_job("run", "--config", str(config), env={"K": KEY})
    assert ran.code == 69
    assert "certificate is not trusted" in ran.result["message"]
    assert ran.result["hint"].startswith("set ca_file ")
    trusted = plain + f'ca_file = "{certificate[1]}"\n'
    config.write_text(trusted.replace("localhost", "127.0.0.1"))
    other = dify_job("run", "--config", str(config), env={"K": KEY})
    assert other.result["hint"] == "set base_url to a host name that the TLS certificate contains", (
        other.stdout
    )
    config.write_text(plain + f'ca_file = "{certificate[1]}"\n')
    env = {"K": KEY, "REQUESTS_CA_BUNDLE": "/nonexistent"}
    assert dify_job("run", "--config", str(config), env=env).code == 0


class ClientCertificateServer(SocketServer):
    """A server that requires a client certificate, which TLS 1.3 reports after the client's request."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        super().__init__()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate[1]))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(certificate[1], certificate[0])
        self.base_url = f"https://localhost:{self._listener.getsockname()[1]}/v1"

    def serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002 - all connections are alike
        with self._context.wrap_socket(client, server_side=True, do_handshake_on_connect=False) as tls:
            with contextlib.suppress(ssl.SSLError):
                tls.do_handshake()
            socket.socket.shutdown(tls, socket.SHUT_WR)
            while socket.socket.recv(tls, 65536):
                pass


def test_missing_client_certificate_starts_nothing(dify_job: Command, certificate: tuple[Path, Path]) -> None:
    with ClientCertificateServer(certificate) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url, "SSL_CERT_FILE": str(certificate[1])}
        ran = dify_job("run", env=env)
    assert ran.code == 69
    assert "requires a TLS client certificate" in ran.result["message"]
    assert not (dify_job.home / "state/in-flight.json").exists()


def test_proxy_of_the_environment_is_used_and_its_password_redacted(
    dify_job: Command, respond_with: RespondWith
) -> None:
    server = respond_with(FINISHED)
    proxy = server.address.replace("//", "//me:canary-password@")
    env = {
        "DIFY_API_KEY": KEY,
        "DIFY_BASE_URL": "http://dify.invalid",
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
    }
    ran = dify_job("run", env=env)
    assert ran.code == 0
    assert server.seen[0].startswith(b"POST http://dify.invalid/v1/workflows/run ")
    assert "without encryption" in ran.stderr, "plain http to a host that is not loopback is warned of"
    dead = "http://me:canary-password@127.0.0.1:1"
    ran = dify_job("run", "--timeout", "3s", env=env | {"HTTP_PROXY": dead, "http_proxy": dead})
    assert ran.code == 69
    assert "proxy: the server refused the connection" in ran.result["message"]
    assert "HTTP_PROXY" in ran.result["hint"]
    assert "canary-password" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (407, 77, "requires a login (HTTP 407)", "user and password"),
        (502, 69, "could not be reached: proxy: HTTP 502", "NO_PROXY"),
    ],
)
def test_rejection_of_a_tunnel_by_the_proxy_is_reported(
    dify_job: Command, respond_with: RespondWith, status: int, code: int, message: str, hint: str
) -> None:
    proxy = respond_with(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "https://dify.invalid", "https_proxy": proxy.address}
    ran = dify_job("run", "--timeout", "3s", env=env)
    assert (ran.code, KEY.encode() in b"".join(proxy.seen)) == (code, False)
    assert message in ran.result["message"]
    assert hint in ran.result["hint"]


def test_plain_http_to_loopback_has_no_warning(dify_job: Command, environ: dict[str, str]) -> None:
    assert "without encryption" not in dify_job("run", env=environ).stderr


# Environment variables


def test_loopback_needs_no_proxy(dify_job: Command, environ: dict[str, str]) -> None:
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:1")
    assert dify_job("run", env=environ | proxies).code == 0


def test_no_proxy_is_honoured(dify_job: Command, respond_with: RespondWith) -> None:
    server = respond_with(FINISHED)
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "http://dify.invalid", "http_proxy": server.address}
    assert dify_job("run", env=env).code == 0
    ran = dify_job(
        "run", "--timeout", "3s", env=env | {"no_proxy": "dify.invalid", "NO_PROXY": "dify.invalid"}
    )
    assert (ran.code, len(server.seen)) == (69, 1)


def test_socks_proxy_names_the_missing_package(dify_job: Command) -> None:
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "http://dify.invalid", "http_proxy": "socks5://127.0.0.1:1"}
    ran = dify_job("run", "--timeout", "3s", env=env)
    assert ran.code == 69
    assert "requests[socks]" in ran.result["message"]


def test_ipv6_address_works(dify_job: Command, respond_with: RespondWith) -> None:
    server = respond_with(FINISHED, "::1")
    ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address})
    assert (ran.code, len(server.seen)) == (0, 1)
    assert "without encryption" not in ran.stderr


def test_ssl_cert_file_is_used_and_a_missing_ca_file_is_78(
    dify_job: Command, certificate: tuple[Path, Path], respond_with: RespondWith
) -> None:
    server = respond_with(FINISHED, certificate=certificate)
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url, "SSL_CERT_FILE": str(certificate[1])}
    assert dify_job("run", env=env).code == 0
    config = dify_job.home / "c.toml"
    config.write_text(
        f'[jobs.a]\nbase_url = "{env["DIFY_BASE_URL"]}"\napi_key_env = "K"\nca_file = "/no/such.pem"\n'
    )
    ran = dify_job("run", "--config", str(config), env={"K": KEY})
    assert ran.code == 78
    assert "/no/such.pem cannot be read: No such file" in ran.result["message"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the fix that is pasted calls openssl")
def test_ca_file_in_der_is_78_and_its_fix_converts_it(
    dify_job: Command, certificate: tuple[Path, Path], respond_with: RespondWith
) -> None:
    der, config = dify_job.home / "ca.der", dify_job.home / "c.toml"
    authority = "-----BEGIN" + certificate[1].read_text().rpartition("-----BEGIN")[2]
    der.write_bytes(ssl.PEM_cert_to_DER_cert(authority))
    server = respond_with(FINISHED, certificate=certificate)
    plain = f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n'
    config.write_text(plain + f'ca_file = "{der}"\n')
    refused = dify_job("run", "--config", str(config), env={"K": KEY})
    assert refused.code == 78
    subprocess.run(["sh", "-c", refused.result["hint"]], check=True)
    config.write_text(plain + f'ca_file = "{der}.pem"\n')
    assert dify_job("run", "--config", str(config), env={"K": KEY}).code == 0


def test_unrequested_compression_of_a_stream_is_read(dify_job: Command, respond_with: RespondWith) -> None:
    packed = gzip.compress(event("workflow_started", id="r1")) + gzip.compress(
        event("workflow_finished", status="succeeded", outputs={"a": "报告"})
    )
    server = respond_with(HEAD + b"Content-Encoding: gzip\r\n\r\n" + packed)
    ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address})
    assert ran.result["response_data"]["data"]["outputs"] == {"a": "报告"}
    assert b"accept-encoding: identity" in server.seen[0].lower()


def test_unreadable_compression_is_named(dify_job: Command, respond_with: RespondWith) -> None:
    server = respond_with(HEAD + b"Content-Encoding: x-unknown\r\n\r\n" + b"\x0b\x02\x80hello\x03")
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address}
    ran = dify_job("run", "--timeout", "1s", env=env)
    assert ran.code == 74
    assert "a proxy compressed the answer with x-unknown" in ran.result["message"]


def test_cookie_is_not_sent_back(dify_job: Command, respond_with: RespondWith) -> None:
    server = respond_with(HEAD + b"Set-Cookie: a=b\r\n\r\n" + event("workflow_started", id="r1"))
    dify_job("run", "--timeout", "2s", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address})
    assert len(server.seen) > 1
    assert not [request for request in server.seen if b"cookie" in request.lower()]


def test_large_page_with_escape_sequences_becomes_a_short_message(
    dify_job: Command, respond_with: RespondWith
) -> None:
    message = "\x1b[2J\x1b]0;owned\x07 no\n" * 100_000 + KEY
    body = json.dumps({"code": "invalid_param", "message": message, "status": 400}).encode()
    server = respond_with(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address}
    ran = dify_job("run", "--log-format", "console", env=env)
    assert ran.code == 65
    assert "\x1b" not in ran.stdout + ran.stderr
    assert len(ran.stderr) < 5000
    assert len(ran.result["message"]) <= 1000
    assert KEY not in ran.stdout + ran.stderr
    history = (dify_job.home / "state/history.jsonl").read_text()
    assert len(history) < 5000
    assert KEY not in history


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "127.0.0.1:{port}: the server at this address does not use HTTP"),
        (HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "the server's response is not valid HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + HEAD + b"\r\n", "answered HTTP 101"),
    ],
)
def test_response_that_is_not_http_is_unknown(
    dify_job: Command, answer: bytes, expected: str, respond_with: RespondWith
) -> None:
    server = respond_with(answer)
    env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address}
    ran = dify_job("run", "--timeout", "1s", env=env)
    assert ran.code == 74
    assert expected.format(port=server.address.rpartition(":")[2]) in ran.result["message"]


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", "application/json", ""])
@pytest.mark.parametrize(
    "begin",
    [b"", b"event: ping\n\n", b": hello\n\n", b"\xef\xbb\xbf", b"\n" * 3000],
)
def test_stream_is_recognised_by_its_first_bytes(kind: str, begin: bytes, respond_with: RespondWith) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Version: 1.16.1\r\nConnection: close\r\n"
    head += f"Content-Type: {kind}\r\n".encode() if kind else b""
    end = event("workflow_finished", status="succeeded", outputs={})
    opened, *rest = messages(respond_with(head + b"\r\n" + begin + end).address)
    assert isinstance(opened, StreamOpened)
    assert [type(message) for message in rest] == [StreamEvent]


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/event-stream"])
def test_json_is_recognised_by_its_first_bytes(kind: str, respond_with: RespondWith) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    heard = messages(respond_with(head + b'{"a": 1}').address)
    assert isinstance(heard[-1], Reply)
    assert heard[-1].body == b'{"a": 1}'


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 102 Processing\r\n\r\n" * 3, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
def test_interim_responses_are_skipped(dify_job: Command, interim: bytes, respond_with: RespondWith) -> None:
    server = respond_with(interim + b"HTTP/1.1 100 Continue\r\n\r\n" + interim + FINISHED)
    ran = dify_job("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.address})
    assert ran.code == 0, ran.stderr

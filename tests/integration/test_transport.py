"""What the network does: TLS, proxies, answers without chunks, one huge event, one byte at a time."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dify_job.dify.client import Arrived, Broken, Dify, Ended, Message, Opened
from dify_job.running.inbox import Inbox

from .conftest import KEY, Command, read_request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Version: 1.11.2\r\nConnection: close\r\n"


def event(kind: str, **data: object) -> bytes:
    told = {"event": kind, "workflow_run_id": "r1", "task_id": "t1", "data": data}
    return b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n"


def serve(answer: Callable[[socket.socket], None]) -> str:
    """Answer each connection's first request; gives the base URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    read_request(connection)
                    answer(connection)
                except OSError:
                    continue

    threading.Thread(target=accept, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def messages(base_url: str, seconds: float = 5) -> list[tuple[float, Message]]:
    inbox, told = Inbox(), []
    Dify(base_url, KEY, tell=inbox.tell).run({}, "u")
    until = time.monotonic() + seconds
    while (heard := inbox.get(until)) is not None:
        assert isinstance(heard, tuple)
        told.append((time.monotonic(), heard[1]))
        if isinstance(heard[1], (Ended, Broken)) or (
            isinstance(heard[1], Arrived) and heard[1].event.terminal
        ):
            break
    return told


@pytest.mark.parametrize("chunked", [True, False])
def test_a_trickled_event_arrives_within_50_ms_chunked_or_not(chunked: bool) -> None:
    sent: list[float] = []

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
        for number in range(5):
            data = event("node_started", title=f"n{number}")
            for part in (data[:7], data[7:]):
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                time.sleep(0.02)
            sent.append(time.monotonic() - 0.02)

    told = messages(serve(answer))
    arrived = [at for at, message in told if isinstance(message, Arrived)]
    assert len(arrived) == 5
    assert max(at - when for at, when in zip(arrived, sent, strict=True)) < 0.05


def test_a_stream_without_chunks_that_just_ends_is_not_an_outcome() -> None:
    base = serve(lambda connection: connection.sendall(HEAD + b"\r\n" + event("workflow_started", id="r1")))
    kinds = [type(message) for _, message in messages(base)]
    assert kinds == [Opened, Arrived, Ended]


def test_a_cut_in_a_chunk_is_told_as_broken() -> None:
    base = serve(lambda connection: connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nda"))
    [*_, (_, last)] = messages(base)
    assert last == Broken(sent=True, reason="the answer was cut off")


def test_one_event_of_20_mb_comes_whole_and_soon() -> None:
    text = "报\u2028" * 4_000_000
    data = event("workflow_finished", status="succeeded", outputs={"text": text})

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n" + data)

    began = time.monotonic()
    [*_, (_, last)] = messages(serve(answer), seconds=20)
    assert isinstance(last, Arrived)
    assert last.event.run is not None
    assert (last.event.run.outputs or {})["text"] == text
    assert time.monotonic() - began < 5  # iter_lines would take minutes


def test_a_refused_connection_and_a_name_that_does_not_resolve_are_unsent() -> None:
    for base_url, words in (
        ("http://127.0.0.1:1/v1", "refused"),
        ("http://no.such.host.invalid/v1", "resolved"),
    ):
        [(_, message)] = messages(base_url)
        assert isinstance(message, Broken)
        assert not message.sent
        assert words in message.reason


def test_a_reset_after_the_request_is_sent() -> None:
    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    [(_, message)] = messages(serve(answer))
    assert isinstance(message, Broken)
    assert message.sent


# TLS


def serve_tls(certificate: tuple[Path, Path]) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                with connection:
                    read_request(connection)
                    connection.sendall(
                        HEAD + b"\r\n" + event("workflow_finished", status="succeeded", outputs={"a": "b"})
                    )
            except OSError:
                continue

    threading.Thread(target=accept, daemon=True).start()
    return f"https://localhost:{listener.getsockname()[1]}/v1"


def test_tls_is_verified_and_ca_file_is_what_mends_it(
    dify_job: Command, certificate: tuple[Path, Path]
) -> None:
    base_url = serve_tls(certificate)
    config = dify_job.home / "c.toml"
    plain = f'[jobs.a]\nbase_url = "{base_url}"\napi_key_env = "K"\nretry = {{ attempts = 1 }}\n'
    config.write_text(plain)
    ran = dify_job("run", "--config", str(config), env={"K": KEY})
    assert ran.code == 69
    assert "certificate is not trusted" in ran.result["message"]
    config.write_text(plain + f'ca_file = "{certificate[1]}"\n')
    env = {"K": KEY, "REQUESTS_CA_BUNDLE": "/nonexistent"}
    assert dify_job("run", "--config", str(config), env=env).code == 0


def test_a_proxy_of_the_environment_is_used_and_its_password_not_shown(dify_job: Command) -> None:
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                seen.append(read_request(connection))
                connection.sendall(
                    HEAD + b"\r\n" + event("workflow_finished", status="succeeded", outputs={})
                )

    threading.Thread(target=accept, daemon=True).start()
    proxy = f"http://me:canary-password@127.0.0.1:{listener.getsockname()[1]}"
    env = {
        "DIFY_API_KEY": KEY,
        "DIFY_BASE_URL": "http://dify.invalid",
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
    }
    ran = dify_job("run", env=env)
    assert ran.code == 0
    assert seen[0].startswith(b"POST http://dify.invalid/v1/workflows/run ")
    assert "unencrypted" in ran.stderr, "plain http to a host that is not loopback is warned of"
    listener.close()
    dead = "http://me:canary-password@127.0.0.1:1"
    ran = dify_job("run", "--timeout", "3s", env=env | {"HTTP_PROXY": dead, "http_proxy": dead})
    assert ran.code == 69
    assert "proxy: connection refused" in ran.result["message"]
    assert "canary-password" not in ran.stdout + ran.stderr


def test_a_warning_for_plain_http_is_not_given_for_loopback(
    dify_job: Command, environ: dict[str, str]
) -> None:
    assert "unencrypted" not in dify_job("run", env=environ).stderr

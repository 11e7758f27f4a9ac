"""The process that systemd starts per HTTP request, with a real connection as standard input."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.environment import bare_environ

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('[jobs.daily]\nbase_url = "http://127.0.0.1:9"\nevery = "1h"\n')
    return path


@pytest.fixture
def ask(config: Path) -> Iterator[Callable[..., tuple[bytes, int, str]]]:
    """Function that sends bytes to a new handler, and returns the response, exit status and log."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send(data: bytes, *flags: str) -> tuple[bytes, int, str]:
            with socket.create_connection(server.getsockname()) as client:
                accepted, _ = server.accept()
                handler = subprocess.Popen(  # type: ignore[call-overload] # a socket has a fileno
                    [
                        sys.executable,
                        "-m",
                        "dify_job",
                        "http",
                        "--config",
                        str(config),
                        *flags,
                        "--",
                        "daily",
                    ],
                    stdin=accepted,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=bare_environ(HOME=str(config.parent)),
                )
                accepted.close()
                client.sendall(data)
                client.settimeout(20)
                answer = b""
                while part := client.recv(65536):
                    answer += part
            stdout, stderr = handler.communicate()
            assert stdout == b""
            return answer, handler.returncode, stderr.decode()

        yield send


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost:8000", *fields, "", ""]).encode()


def test_response_goes_to_the_connection_and_one_line_to_the_log(
    ask: Callable[..., tuple[bytes, int, str]],
) -> None:
    answer, code, log = ask(get("/openapi.json"), "--allow-uid", str(os.geteuid()))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["openapi"] == "3.1.0"
    assert code == 0
    [line] = [json.loads(line) for line in log.splitlines()]
    assert line["event"] == "HTTP request GET /openapi.json was answered with 200"
    assert line["uid"] == os.geteuid()


def test_status_of_a_job_needs_no_scheduler(ask: Callable[..., tuple[bytes, int, str]]) -> None:
    answer, _, _ = ask(get("/api/dify/scheduler/status"), "--allow-uid", str(os.geteuid()))
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        "running": False,
        "job_name": "daily",
        "next_run_time": None,
        "message": "the job is not installed",
    }


def test_token_is_read_from_its_file_and_never_shown(
    ask: Callable[..., tuple[bytes, int, str]], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    bearer = f"Authorization: Bearer {TOKEN}"
    flags = ("--token-file", str(file))
    answer, _, log = ask(get("/docs"), *flags)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert "HTTP request GET /docs was answered with 401: the request needs a bearer token" in log
    answer, code, log = ask(get("/docs", bearer), *flags)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (code, TOKEN in log) == (0, False)
    file.chmod(0o644)
    answer, code, log = ask(get("/docs", bearer), *flags)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert "can be read by other users" in log
    file.chmod(0o600)
    file.write_text("short\n")
    assert ask(get("/docs", bearer), *flags)[0].startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (
            b"GET /docs HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            411,
        ),
        (b"GET /docs\r\n\r\n", 400),
    ],
)
def test_invalid_request_is_rejected_and_the_process_exits_with_0(
    ask: Callable[..., tuple[bytes, int, str]], data: bytes, status: int
) -> None:
    answer, code, log = ask(data + b"\r\n\r\n", "--allow-uid", str(os.geteuid()))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert code == 0
    assert f"HTTP request - was answered with {status}: " in log
    assert "Traceback" not in log


def test_stdin_that_is_no_socket_is_a_usage_error(config: Path) -> None:
    parent, child = socket.socketpair()
    for stdin in (subprocess.DEVNULL, child):
        done = subprocess.run(
            [sys.executable, "-m", "dify_job", "http", "--config", str(config), "daily"],
            stdin=stdin,  # type: ignore[arg-type] # a socket has a fileno
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 64, done.stderr
        assert "standard input is not a network connection" in done.stderr
    parent.close()
    child.close()

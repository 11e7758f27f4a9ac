"""Files as inputs: checked before any call, uploaded as the run's end user, sent in the form's shape."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dify_job.dify.event_queue import EventQueue
from dify_job.run.api import run_workflow
from dify_job.run.run_spec import RunContext
from tests.support import recordings
from tests.support.command import Command
from tests.support.fake_dify.apps import App, Node
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until
from tests.support.socket_server import SocketServer, read_request, unused_port

FORM = tuple(json.loads(recordings.load("1.11.2", "parameters-file").bytes)["user_input_form"])
REQUIRED = tuple(json.loads(recordings.load("1.11.2", "parameters-file-required").bytes)["user_input_form"])
ECHO = tuple(json.loads(recordings.load("1.12.1", "parameters-echo").bytes)["user_input_form"])
APPS = (
    App("app-file", form=FORM),
    App("app-image", form=REQUIRED),
    App("app-echo", form=ECHO),
    App("app-busy", form=FORM, limit=1, nodes=(Node("Think", 2.0),)),
    App("app-closed", form=FORM, published=False),
)


@pytest.fixture(params=["1.11.2", "1.14.2"])
def dify(request: pytest.FixtureRequest) -> Iterator[FakeDify]:
    with FakeDify(APPS, version=request.param) as made:
        yield made


@pytest.fixture
def newest() -> Iterator[FakeDify]:
    with FakeDify(APPS) as made:
        yield made


def configure(dify_job: Command, server: FakeDify | str, lines: str = "", key: str = "app-file") -> None:
    address = server if isinstance(server, str) else server.base_url
    text = f'[jobs.a]\nbase_url = "{address}"\napi_key_env = "K"\n{lines}\n'
    (dify_job.home / "c.toml").write_text(text)
    dify_job.env |= {"K": key, "DIFY_JOB_CONFIG": str(dify_job.home / "c.toml")}


NAMES = ["报告 ü.txt", 'a"b\\c:d?.txt', "-dash.txt", "UPPER.TXT", "x" * 240 + ".txt"]
REMOTE = "https://example.com/d/e.pdf?sign=1"


@pytest.mark.parametrize("name", NAMES)
def test_file_with_any_name_arrives_unchanged(dify_job: Command, dify: FakeDify, name: str) -> None:
    content = os.urandom(70_000)
    (dify_job.home / name).write_bytes(content)
    configure(dify_job, dify)
    ran = dify_job("run", "--file", f"doc={name}")
    assert ran.code == 0, ran.stderr
    assert dify.paths == ["/parameters", "/files/upload", "/workflows/run"]
    [(upload_id, upload)] = dify.uploads.found.items()
    assert upload.content == content
    assert upload.mime_type == "text/plain"
    assert upload.user == dify.runs[0].user, "uploaded with the run's own user"
    body = dify.received[-1].body
    reference = {"type": "document", "transfer_method": "local_file", "upload_file_id": upload_id}
    assert body["inputs"] == {"doc": reference}
    assert set('/\\:*?"<>|\n') & set(upload.name) == set()
    assert len(upload.name) == min(len(name), 204)


def test_file_and_file_list_have_the_shape_of_the_form(dify_job: Command, dify: FakeDify) -> None:
    for name in ("a.txt", "b.png", "c.bin", "empty.txt"):
        (dify_job.home / name).write_bytes(b"" if name.startswith("empty") else b"x")
    lines = f'files = {{ doc = ["a.txt"], docs = ["b.png", "c.bin", "empty.txt", "{REMOTE}"] }}'
    configure(dify_job, dify, lines)
    ran = dify_job("run", "a")
    assert ran.code == 0, ran.stderr
    sent = dify.received[-1].body["inputs"]
    assert isinstance(sent["doc"], dict)
    assert [item["type"] for item in sent["docs"]] == ["image", "custom", "document", "document"]
    remote = {
        "type": "document",
        "transfer_method": "remote_url",
        "url": "https://example.com/d/e.pdf?sign=1",
    }
    assert sent["docs"][3] == remote
    assert len(dify.uploads.found) == 4


def test_query_of_a_remote_url_is_not_shown(dify_job: Command, tmp_path: Path) -> None:
    """Dify's error message quotes a URL that it cannot fetch (`error-file-remote-closed-port`)."""
    url = "http://u:canary-1@127.0.0.1:9/a.txt?sign=canary-2"
    refused = {
        "code": "invalid_param",
        "message": f"Reached maximum retries (3) for URL {url}",
        "status": 400,
    }
    answer = (400, {"X-Version": "1.11.2"}, json.dumps(refused).encode())
    with FormServer({"/v1/workflows/run": answer}) as server:
        configure(dify_job, server.base_url, f'files = {{ doc = "{url}" }}')
        ran = dify_job("run", "-v")
    assert ran.code == 65
    assert "maximum retries" in ran.result["message"]
    stored = (tmp_path / "state" / "last.json").read_text()
    assert "canary" not in ran.stdout + ran.stderr + stored


def test_single_path_becomes_a_list_for_a_file_list(dify_job: Command, newest: FakeDify) -> None:
    (dify_job.home / "a.txt").write_text("x")
    configure(dify_job, newest, 'files = { docs = "a.txt" }')
    assert dify_job("run").code == 0
    assert isinstance(newest.received[-1].body["inputs"]["docs"], list)


def test_path_is_a_template_and_an_empty_one_is_ignored(dify_job: Command, newest: FakeDify) -> None:
    (dify_job.home / "a.txt").write_text("x")
    lines = f'files = {{ doc = "{dify_job.home}/{{{{ job }}}}.txt", docs = "{{{{ \'\' }}}}" }}'
    configure(dify_job, newest, lines)
    assert dify_job("run").code == 0
    assert list(newest.received[-1].body["inputs"]) == ["doc"]


def test_job_without_files_does_not_request_the_form(dify_job: Command, newest: FakeDify) -> None:
    configure(dify_job, newest, 'files = { doc = "", docs = [] }')
    assert dify_job("run").code == 0
    assert newest.paths == ["/workflows/run"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
def test_root_sends_no_file_that_a_link_of_another_user_names(
    dify_job: Command, newest: FakeDify, tmp_path: Path
) -> None:
    (tmp_path / "shadow").write_text("private")
    (tmp_path / "data.txt").symlink_to("shadow")
    os.chown(tmp_path / "data.txt", 12345, -1, follow_symlinks=False)
    configure(dify_job, newest)
    ran = dify_job("run", "--file", "doc=data.txt")
    assert (ran.code, len(newest.runs)) == (66, 0)
    assert "is a symbolic link of user 12345, who can change its target" in ran.result["message"]


@pytest.mark.parametrize("what", ["missing", "directory", "fifo", "unreadable", "socket"])
def test_unreadable_file_is_66_before_any_call(dify_job: Command, newest: FakeDify, what: str) -> None:
    path = dify_job.home / "in"
    match what:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "unreadable":
            path.symlink_to("/proc/self/mem/x")
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
    configure(dify_job, newest)
    ran = dify_job("run", "--file", "doc=in")
    assert ran.code == 66, ran.stderr
    assert str(path) in ran.result["message"]
    assert ran.result["hint"]
    assert newest.received == []


@pytest.mark.parametrize(
    ("key", "variable", "files", "words"),
    [
        ("app-file", "nope", "a.txt", "a file for the input nope"),
        ("app-echo", "text", "a.txt", "takes no file, because its type is text-input"),
        ("app-file", "doc", ["a.txt", "b.png"], "takes one file, but the job gives 2 files"),
        ("app-file", "docs", ["a.txt"] * 6, "takes at most 5 files, but the job gives 6 files"),
        ("app-image", "doc", "a.txt", "has the type document, but the input doc takes only image"),
        (
            "app-file",
            "doc",
            "a.mp3",
            "has the type audio, but the input doc takes only image, document, .bin",
        ),
        ("app-file", "doc", "big.png", "has 10485761 bytes, but the server takes at most 10485760"),
    ],
)
def test_file_that_violates_form_or_limits_is_65_before_an_upload(
    dify_job: Command, newest: FakeDify, key: str, variable: str, files: str | list[str], words: str
) -> None:
    for name in ("a.txt", "b.png", "a.mp3"):
        (dify_job.home / name).write_text("x")
    with (dify_job.home / "big.png").open("wb") as big:
        big.truncate(10 * 1024 * 1024 + 1)
    configure(dify_job, newest, f"files = {{ {variable} = {json.dumps(files)} }}", key=key)
    ran = dify_job("run")
    assert ran.code == 65, ran.stderr
    assert words in ran.result["message"]
    assert newest.paths == ["/parameters"]


def test_file_of_exactly_the_limit_is_accepted(dify_job: Command, newest: FakeDify) -> None:
    with (dify_job.home / "a.png").open("wb") as file:
        file.truncate(10 * 1024 * 1024)
    configure(dify_job, newest)
    assert dify_job("run", "--file", "doc=a.png").code == 0


def test_missing_required_file_is_65(dify_job: Command, newest: FakeDify) -> None:
    configure(dify_job, newest, key="app-image")
    ran = dify_job("run", "-i", "flag=true")  # requests the form, which is cached then
    assert ran.code == 65
    assert "doc is required" in ran.result["message"]


def test_unpublished_app_is_78_before_an_upload(dify_job: Command, newest: FakeDify) -> None:
    (dify_job.home / "a.txt").write_text("x")
    configure(dify_job, newest, key="app-closed")
    ran = dify_job("run", "--file", "doc=a.txt")
    assert ran.code == 78
    assert newest.paths == ["/parameters"]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("error-upload-too-large-txt", 65, "larger than the server accepts (HTTP 413)"),
        ("error-upload-too-large-nginx-413", 65, "larger than the server accepts (HTTP 413)"),
        ("error-upload-no-content-type", 65, "File type not allowed"),
        ("error-upload-blocked-extension", 65, "'.exe' is not allowed for security reasons"),
        ("error-upload-bad-filename-chars", 65, "Filename contains invalid characters"),
        ("error-upload-wrong-key", 77, "Access token is invalid"),
        ("error-upload-api-disabled", 78, "is disabled"),
        ("db-down-info", 69, "HTTP 500"),
        ("server-down-through-nginx-detail", 69, "HTTP 502"),
        ("root-not-found", 76, "HTTP 404"),
    ],
)
def test_rejected_upload_is_reported_with_its_code(
    dify_job: Command, name: str, code: int, words: str, tmp_path: Path
) -> None:
    recording = recordings.load("1.11.2", name)
    with FormServer(
        {"/v1/files/upload": (recording.status or 200, recording.headers, recording.bytes)}
    ) as server:
        (tmp_path / "a.txt").write_text("x")
        configure(dify_job, server.base_url, 'retry = { attempts = 2, max_wait = "1s" }')
        ran = dify_job("run", "--file", "doc=a.txt")
    assert ran.code == code, ran.stderr
    assert words in ran.result["message"]
    assert "/v1/workflows/run" not in server.paths
    assert server.paths.count("/v1/files/upload") == (2 if code == 69 else 1), "only trouble that may pass"


def test_connection_lost_during_an_upload_is_retried_then_69(dify_job: Command, tmp_path: Path) -> None:
    with FormServer({"/v1/files/upload": None}) as server:
        (tmp_path / "a.txt").write_bytes(b"x" * 100_000)
        configure(dify_job, server.base_url, 'retry = { attempts = 3, max_wait = "3s" }')
        ran = dify_job("run", "--file", "doc=a.txt")
    assert ran.code == 69, ran.stderr
    assert "could not be uploaded" in ran.result["message"]
    assert "no run was started" in ran.result["message"]
    assert server.paths.count("/v1/files/upload") == 3
    assert server.paths.count("/v1/parameters") == 1
    assert not (tmp_path / "state" / "in-flight.json").exists(), "no run was submitted"


def test_redirected_upload_is_sent_again_in_full(dify_job: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"whole" * 10_000)
    answers = {
        "/v1/files/upload": (307, {"Location": "/v1/files/moved"}, b""),
        "/v1/files/moved": (201, {}, b'{"id": "1"}'),
        "/v1/workflows/run": (400, {"X-Version": "1.11.2"}, b'{"code": "invalid_param", "message": "no"}'),
    }
    with FormServer(dict[str, object](answers)) as server:
        configure(dify_job, server.base_url)
        assert dify_job("run", "--file", "doc=a.txt").code == 65
    sent = dict(zip(server.paths, server.requests, strict=True))
    for path in ("/v1/files/upload", "/v1/files/moved"):
        assert sent[path].count(b"whole") == 10_000
    assert b'"upload_file_id": "1"' in sent["/v1/workflows/run"]


def test_network_is_awaited_before_the_form_is_requested(dify_job: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with unused_port() as port:
        configure(dify_job, f"http://127.0.0.1:{port}/v1", 'wait_network = "100s"\nretry = { attempts = 1 }')
        process = dify_job.start("run", "--file", "doc=a.txt")
        time.sleep(1.5)
        with FakeDify(APPS, port=port) as server:
            stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["attempts"] == 1
    assert server.paths == ["/parameters", "/files/upload", "/workflows/run"]


@pytest.mark.parametrize("name", ["upload-txt", "parameters-file"])
def test_response_cut_before_the_post_is_69_and_starts_no_run(tmp_path: Path, name: str) -> None:
    recording = recordings.load("1.11.2", name)
    lines = [f"{key}: {value}" for key, value in recording.headers.items()]
    head = [f"HTTP/1.1 {recording.status} OK", *lines, f"Content-Length: {len(recording.bytes)}", "", ""]
    whole = "\r\n".join(head).encode() + recording.bytes
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "key").write_text("app-file")
    (tmp_path / "key").chmod(0o600)
    config = tmp_path / "c.toml"
    lines = ['state = "none"', "retry = { attempts = 1 }", f'api_key_file = "{tmp_path}/key"']
    config.write_text("\n".join(["[jobs.a]", *lines, 'files = { doc = "a.txt" }', ""]))
    outcomes = {}
    with FormServer({recording.path: whole}) as server:
        for end in range(0, len(whole), 7):
            server.answers[recording.path] = whole[:end]
            outcomes[end] = run_workflow("a", config=config, base_url=server.base_url).outcome.value
        assert set(outcomes.values()) == {"unreachable"}, outcomes
        assert "/v1/workflows/run" not in server.paths


def test_file_is_uploaded_once_to_a_busy_server(dify_job: Command, newest: FakeDify) -> None:
    (dify_job.home / "a.txt").write_text("x")
    configure(
        dify_job, newest, 'mode = "blocking"\nretry = { attempts = 9, max_wait = "30s" }', key="app-busy"
    )
    first = dify_job.start("run", "a", env={"STATE_DIRECTORY": str(dify_job.home / "other")})
    wait_until(lambda: newest.runs)
    ran = dify_job("run", "--file", "doc=a.txt")
    first.communicate()
    assert ran.code == 0, ran.stderr
    assert ran.result["attempts"] > 1
    assert newest.paths.count("/files/upload") == 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_aborts_an_upload(dify_job: Command, tmp_path: Path, signum: int) -> None:
    with FormServer({"/v1/files/upload": "hang"}) as server:
        (tmp_path / "a.txt").write_text("x")
        configure(dify_job, server.base_url)
        process = dify_job.start("run", "--file", "doc=a.txt")
        began = time.monotonic()
        ran = dify_job.signal_when(process, lambda: "/v1/files/upload" in server.paths, signum)
    assert ran.code == 128 + signum
    assert "before it started a run" in ran.result["message"]
    assert time.monotonic() - began < 25


def test_deadline_during_an_upload_is_69(dify_job: Command, tmp_path: Path) -> None:
    with FormServer({"/v1/files/upload": "hang"}) as server:
        (tmp_path / "a.txt").write_text("x")
        configure(dify_job, server.base_url)
        ran = dify_job("run", "--file", "doc=a.txt", "--timeout", "2s")
    assert ran.code == 69
    assert "the server did not answer in time" in ran.result["message"]
    assert ran.result["duration_s"] < 25


def test_large_file_is_streamed(dify_job: Command, newest: FakeDify) -> None:
    """Peak memory with 40 MB is that with 1 kB, but for a few MB."""
    newest.uploads.limits["file_size_limit"] = 100
    peaks = []
    for name, size in (("small.txt", 1000), ("large.txt", 40_000_000)):
        with (dify_job.home / name).open("wb") as file:
            file.truncate(size)
        configure(dify_job, newest)
        with (dify_job.home / "err").open("w") as err:
            process = dify_job.start_process("run", "--file", f"doc={name}", stdout=err, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss)
    assert peaks[1] < peaks[0] + 8_000


def test_python_program_passes_files_like_a_config(newest: FakeDify, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    config = tmp_path / "c.toml"
    config.write_text(
        f'[jobs.a]\nbase_url = "{newest.base_url}"\napi_key_file = "{tmp_path}/key"\nstate = "none"\n'
    )
    (tmp_path / "key").write_text("app-file")
    (tmp_path / "key").chmod(0o600)
    result = run_workflow(
        config=config,
        files={"doc": str(tmp_path / "a.txt")},
        context=RunContext(time.monotonic(), EventQueue()),
    )
    assert result.success, result.message


class FormServer(SocketServer):
    """A server for the app `file`; an answer of None closes the connection, "hang" never answers."""

    def __init__(self, answers: dict[str, object]) -> None:
        super().__init__()
        self.answers = answers
        self.paths: list[str] = []
        self.requests: list[bytes] = []

    def serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002 - of all alike
        request = read_request(client)
        path = request.split(b" ", 2)[1].decode()
        self.requests.append(request)
        self.paths.append(path)
        form = recordings.load("1.11.2", "parameters-file")
        answer = self.answers.get(path, (200, form.headers, form.bytes))
        if answer == "hang":
            self._closed.wait(30)
        if isinstance(answer, bytes):
            client.sendall(answer)
        if not isinstance(answer, tuple):
            return
        status, headers, body = answer
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        client.sendall(f"HTTP/1.1 {status} X\r\n{head}{length}\r\n".encode() + body)

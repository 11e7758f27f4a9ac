"""What becomes of outputs: expect, the output file, --print, downloads, the log."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dify_job.run.downloads import files_in, safe_name
from tests.support import recordings
from tests.support.accepting import Saying
from tests.support.command import KEY, Command, tls
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.files import returned
from tests.support.fake_dify.server import StandIn

QUOTED = '"第一行\\nsecond \u2028 line"'
OUTPUTS = {"result": "第一行\nsecond \u2028 line", "n": 3, "list": [1, {"a": None}], "empty": ""}


@pytest.fixture
def dify() -> Iterator[StandIn]:
    with StandIn([App(KEY, outputs=OUTPUTS), App("app-echo")]) as made:
        yield made


def configure(dify_job: Command, server: StandIn | str, lines: str = "", key: str = KEY) -> None:
    address = server if isinstance(server, str) else server.base_url
    text = f'[jobs.a]\nbase_url = "{address}"\napi_key_env = "K"\n{lines}\n'
    (dify_job.home / "c.toml").write_text(text)
    dify_job.env |= {"K": key, "DIFY_JOB_CONFIG": str(dify_job.home / "c.toml")}


def test_outputs_that_are_not_as_expected_are_84(dify_job: Command, dify: StandIn) -> None:
    lines = 'expect = { "outputs.empty" = "nonempty", "outputs.n" = { equals = 4 } }'
    configure(dify_job, dify, lines + f'\noutput = {{ file = "{dify_job.home}/out.txt" }}')
    ran = dify_job("run")
    assert (ran.code, ran.result["outcome"]) == (84, "unexpected")
    assert (
        ran.result["message"] == 'workflow succeeded, but outputs.empty is empty: ""; outputs.n is 3, not 4'
    )
    assert ran.result["response_data"]["data"]["status"] == "succeeded"
    assert not (dify_job.home / "out.txt").exists(), "what is not as expected is not passed on"
    kept = json.loads((dify_job.home / "state" / "last.json").read_text())
    assert kept["outcome"] == "unexpected"
    assert not (dify_job.home / "state" / "last-success.json").exists()


def test_outputs_that_are_as_expected_change_nothing(dify_job: Command, dify: StandIn) -> None:
    configure(dify_job, dify, 'expect = { "outputs.result" = { nonempty = true, regex = "second" } }')
    assert dify_job("run").code == 0


@pytest.mark.parametrize(
    ("settings", "content"),
    [
        ('select = "outputs.result"', OUTPUTS["result"]),
        (
            'select = "outputs.result", format = "json"',
            json.dumps(OUTPUTS["result"], ensure_ascii=False) + "\n",
        ),
        ('select = "outputs.n"', "3\n"),
        ('select = "outputs.list.1.a"', "null\n"),
        ('select = "outputs.list", format = "json"', json.dumps(OUTPUTS["list"], indent=2) + "\n"),
        ('select = "status"', "succeeded"),
    ],
)
def test_output_file_has_the_selected_value(
    dify_job: Command, dify: StandIn, settings: str, content: str
) -> None:
    configure(dify_job, dify, f'output = {{ file = "{dify_job.home}/out-{{{{ job }}}}.txt", {settings} }}')
    assert dify_job("run").code == 0
    assert (dify_job.home / "out-a.txt").read_text() == content


@pytest.mark.parametrize(("umask", "mode", "wanted"), [(0o077, "0640", 0o640), (0o027, None, 0o640)])
def test_mode_of_the_output_file(
    dify_job: Command, dify: StandIn, umask: int, mode: str | None, wanted: int
) -> None:
    told = f', mode = "{mode}"' if mode else ""
    configure(dify_job, dify, f'output = {{ file = "{dify_job.home}/out.txt"{told} }}')
    assert dify_job("run", umask=umask).code == 0
    assert stat.S_IMODE((dify_job.home / "out.txt").stat().st_mode) == wanted


def test_link_in_the_place_of_the_output_file_is_replaced_and_not_followed(
    dify_job: Command, dify: StandIn
) -> None:
    (dify_job.home / "precious").write_text("kept")
    (dify_job.home / "out.txt").symlink_to("precious")
    configure(dify_job, dify)
    assert dify_job("run", "--output", "out.txt").code == 0
    assert (dify_job.home / "precious").read_text() == "kept"
    assert not (dify_job.home / "out.txt").is_symlink()


@pytest.mark.parametrize("place", ["/dev/null", "/dev/stdout", "fifo", "directory", "missing/out.txt"])
def test_what_is_no_place_for_a_file_is_73_before_the_call(
    dify_job: Command, dify: StandIn, place: str
) -> None:
    os.mkfifo(dify_job.home / "fifo")
    (dify_job.home / "directory").mkdir()
    configure(dify_job, dify)
    ran = dify_job("run", "--output", place)
    assert ran.code == 73, ran.stderr
    assert dify.received == []
    assert not Path("/dev/null").is_file()


def test_relative_output_file_of_the_config_stands_below_the_state(dify_job: Command, dify: StandIn) -> None:
    configure(dify_job, dify, 'output = { file = "sub/{{ job }}.json" }')
    assert dify_job("run").code == 0
    assert json.loads((dify_job.home / "state" / "sub" / "a.json").read_text())["success"] is True


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("last.json", "its own state under that name"),
        ("../out.json", "leads out of the state directory"),
        ("link/out.json", "Not a directory"),
    ],
)
def test_output_stays_below_the_state_and_leaves_the_state_itself_alone(
    dify_job: Command, dify: StandIn, file: str, words: str
) -> None:
    (dify_job.home / "elsewhere").mkdir()
    (dify_job.home / "state").mkdir()
    (dify_job.home / "state" / "link").symlink_to("../elsewhere")
    configure(dify_job, dify, f'output = {{ file = "{file}" }}')
    ran = dify_job("run")
    assert ran.code == 73
    assert words in ran.result["message"]
    assert dify.received == []


def test_returned_file_does_not_take_the_place_of_the_state(dify_job: Command, dify: StandIn) -> None:
    serve_files(dify, [("lock", b"1"), ("history.jsonl", b"2")])
    configure(dify_job, dify, 'output = { file = "out.json", downloads = true }')
    assert dify_job("run").code == 0
    state = dify_job.home / "state"
    assert (state / "lock-2").read_bytes() == b"1"
    assert (state / "history-2.jsonl").read_bytes() == b"2"
    assert json.loads((state / "history.jsonl").read_text())["outcome"] == "succeeded"


def test_what_root_makes_below_the_state_of_another_user_belongs_to_that_user(
    dify_job: Command, dify: StandIn
) -> None:
    (dify_job.home / "state").mkdir()
    owner = 12345 if os.geteuid() == 0 else os.getuid()  # only root gives files away
    os.chown(dify_job.home / "state", owner, -1)
    configure(dify_job, dify, 'output = { file = "sub/deep/out.json" }')
    assert dify_job("run").code == 0
    for name in ("sub", "sub/deep", "sub/deep/out.json"):
        assert (dify_job.home / "state" / name).stat().st_uid == owner


def test_output_file_that_cannot_be_written_in_the_end_is_a_warning(dify_job: Command, dify: StandIn) -> None:
    configure(dify_job, dify, f'output = {{ file = "{dify_job.home}/o", select = "outputs.nope" }}')
    ran = dify_job("run")
    assert ran.code == 0
    assert "the output file could not be written" in ran.stderr
    assert "the run has no outputs.nope" in ran.stderr


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("outputs.result", f"{OUTPUTS['result']}\n"),
        ("outputs.n", "3\n"),
        ("outputs.list", '[1, {"a": null}]\n'),
        ("outputs.empty", "\n"),
        ("status", "succeeded\n"),
    ],
)
def test_print_writes_one_value_for_a_pipe(dify_job: Command, dify: StandIn, path: str, printed: str) -> None:
    configure(dify_job, dify)
    ran = dify_job("run", "--quiet", "--print", path)
    assert (ran.code, ran.stdout, ran.stderr) == (0, printed, "")


def test_what_is_printed_is_never_translated(dify_job: Command, dify: StandIn) -> None:
    dify.apps[KEY] = App(KEY, outputs={"result": "workflow succeeded"})
    configure(dify_job, dify)
    ran = dify_job("run", "-q", "--print", "outputs.result", env={"LANG": "zh_CN.UTF-8"})
    assert ran.stdout == "workflow succeeded\n"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--print", "outputs.nope"], 84),
        (["--print", "nope"], 64),
        (["--print=outputs.n", "--no-such-flag"], 64),
        (["--print", "outputs.n", "--file", "doc=missing"], 66),
    ],
)
def test_print_writes_nothing_to_stdout_where_there_is_no_such_value(
    dify_job: Command, dify: StandIn, args: list[str], code: int
) -> None:
    configure(dify_job, dify)
    ran = dify_job("run", "--quiet", *args)
    assert (ran.code, ran.stdout) == (code, ""), ran.stderr
    assert ran.stderr


def test_quiet_says_nothing_of_a_success_and_one_line_of_a_failure(dify_job: Command, dify: StandIn) -> None:
    configure(dify_job, dify)
    ran = dify_job("run", "-q")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.result["success"] is True
    ran = dify_job("run", "-q", env={"K": "wrong"})
    assert ran.code == 77
    assert len(ran.stderr.splitlines()) == 1


def test_outputs_are_logged_on_request_alone_cut_and_without_secrets(
    dify_job: Command, dify: StandIn
) -> None:
    secret = 'a"b\\c-日本'
    inputs = ["-i", f"password={secret}", "-i", "text=" + "x" * 300]
    configure(dify_job, dify, key="app-echo")
    assert "xxx" not in dify_job("run", *inputs).stderr
    configure(dify_job, dify, 'log_outputs = "100B"', key="app-echo")
    ran = dify_job("run", "--log-format", "json", "--inputs", json.dumps({"db": {"token": secret}}), *inputs)
    assert ran.code == 0, ran.stderr
    [line] = [json.loads(line) for line in ran.stderr.splitlines() if "outputs" in line]
    assert line["outputs"].startswith('{"result": null')
    assert len(line["outputs"].encode()) <= 100 + len("…".encode())
    for text in (ran.stderr, ran.stdout):
        assert "日本" not in text
        assert "[hidden]" in text


def test_secrets_are_in_no_log_and_no_state_in_whatever_face(dify_job: Command, dify: StandIn) -> None:
    configure(dify_job, dify, 'inputs = { api_token = "canary-0815", nested = { secret = ["canary-4711"] } }')
    for face in ("console", "json"):
        ran = dify_job("run", "-v", "--log-format", face, "-i", "n=3", env={"K": "app-echo"})
        assert "canary" not in ran.stderr + ran.stdout
    for file in (dify_job.home / "state").iterdir():
        assert "canary" not in file.read_text()


# Downloads


def serve_files(server: StandIn, files: list[tuple[str, bytes]], **changes: Any) -> None:
    told = []
    for number, (name, content) in enumerate(files):
        url = f"/files/tools/{number}.bin?timestamp=1&nonce=2&sign=3"
        server.files[url] = ("application/octet-stream", content)
        told.append(returned(name, "application/octet-stream", len(content), url) | changes)
    server.apps[KEY] = App(KEY, outputs={"files": told, "deep": [{"again": told[:1]}]})


def downloading(dify_job: Command, server: StandIn | str, downloads: str = "true", more: str = "") -> None:
    (dify_job.home / "out").mkdir(exist_ok=True)
    file = dify_job.home / "out" / "result.json"
    configure(dify_job, server, f'output = {{ file = "{file}", downloads = {downloads}{more} }}')


def saved(dify_job: Command) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (dify_job.home / "out").iterdir()}


def test_files_are_saved_beside_the_output_file_without_the_key(dify_job: Command, dify: StandIn) -> None:
    serve_files(dify, [("报告.pdf", b"%PDF" + bytes(200_000)), ("b.png", b"")])
    downloading(dify_job, dify, more=', mode = "0600"')
    ran = dify_job("run")
    assert ran.code == 0, ran.stderr
    files = saved(dify_job)
    assert files.keys() == {"result.json", "报告.pdf", "b.png"}
    assert files["报告.pdf"] == b"%PDF" + bytes(200_000)
    assert stat.S_IMODE((dify_job.home / "out" / "b.png").stat().st_mode) == 0o600
    fetched = [request for request in dify.received if request.path.startswith("/files/")]
    assert len(fetched) == 2, "each file once, wherever it stands in the outputs"
    assert not [request for request in fetched if "Authorization" in request.headers]


def test_netrc_does_not_log_in_there(dify_job: Command, dify: StandIn) -> None:
    (dify_job.home / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (dify_job.home / ".netrc").chmod(0o600)
    serve_files(dify, [("a.txt", b"x")])
    downloading(dify_job, dify)
    assert dify_job("run").code == 0
    assert saved(dify_job)["a.txt"] == b"x"
    assert "Authorization" not in dify.received[-1].headers


def test_file_comes_by_the_certificates_and_past_the_proxy_as_its_run_does(
    dify_job: Command, dify: StandIn, certificate: tuple[Path, Path]
) -> None:
    serve_files(tls(dify, certificate), [("a.txt", b"x")])
    downloading(dify_job, dify.base_url.replace("http://127.0.0.1", "https://localhost"))
    ran = dify_job("run", env={"SSL_CERT_FILE": str(certificate[1]), "https_proxy": "http://127.0.0.1:9"})
    assert ran.code == 0, ran.stderr
    assert saved(dify_job)["a.txt"] == b"x"


def test_no_file_is_saved_unless_the_job_wants_it(dify_job: Command, dify: StandIn) -> None:
    serve_files(dify, [("a.txt", b"x")])
    downloading(dify_job, dify, "false")
    assert dify_job("run").code == 0
    assert saved(dify_job).keys() == {"result.json"}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/cron.d/x", "x"),
        ("..\\..\\a.txt", "a.txt"),
        (".bashrc", "bashrc"),
        ("..", "file"),
        ("", "file"),
        ("a\x1b[31m\nb\u202e.txt", "a_[31m_b_.txt"),
        ("报告 2026.pdf", "报告 2026.pdf"),
        ("x" * 300 + ".tar.gz", "x" * 197 + ".gz"),
        ("报" * 100 + ".txt", "报" * 65 + ".txt"),
    ],
)
def test_names_stay_in_their_directory(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_names_that_are_taken_in_this_run_get_a_number(dify_job: Command, dify: StandIn) -> None:
    files = [("result.json", b"1"), ("a.txt", b"2"), ("x/a.txt", b"3"), ("../a.txt", b"4")]
    serve_files(dify, files)
    downloading(dify_job, dify)
    assert dify_job("run").code == 0
    found = saved(dify_job)
    assert json.loads(found.pop("result.json"))["success"] is True
    assert found == {"result-2.json": b"1", "a.txt": b"2", "a-2.txt": b"3", "a-3.txt": b"4"}


def test_files_of_the_next_run_replace_those_of_the_last_and_no_others(
    dify_job: Command, dify: StandIn
) -> None:
    downloading(dify_job, dify)
    out = dify_job.home / "out"
    (dify_job.home / "precious").write_text("kept")
    (out / "a.txt").symlink_to("../precious")
    (out / "b.txt").write_text("mine")
    for content in (b"1", b"2"):
        serve_files(dify, [("a.txt", content), ("b.txt", content), ("c.txt", content)])
        ran = dify_job("run")
        assert ran.code == 0
        assert ran.stderr.count("no earlier run of this job made it") == 2
        assert saved(dify_job)["c.txt"] == content
        assert (out / "b.txt").read_text() == "mine"
        assert (out / "a.txt").is_symlink()
    (out / "c.txt").unlink()
    (out / "c.txt").write_text("mine, too")
    assert dify_job("run").code == 0
    assert (out / "c.txt").read_text() == "mine, too"
    assert (dify_job.home / "precious").read_text() == "kept"


def test_address_on_another_private_network_is_fetched_where_it_is_named_alone(
    dify_job: Command, dify: StandIn
) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/meta\r\nContent-Length: 0\r\n\r\n"
    with Saying(redirect) as raw:
        for url in ("http://169.254.169.254/meta", f"{raw.address}/file"):
            dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, url)})
            downloading(dify_job, dify)
            began = time.monotonic()
            ran = dify_job("run")
            assert ran.code == 0
            assert "output.download_hosts" in ran.stderr
            assert time.monotonic() - began < 8
            assert saved(dify_job).keys() == {"result.json"}
    serve_files(dify, [("a.txt", b"x")])
    downloading(dify_job, dify.base_url, more=', download_hosts = ["127.0.0.1"]')
    assert dify_job("run").code == 0
    assert saved(dify_job)["a.txt"] == b"x"


@pytest.mark.parametrize("way", ["flag", "config"])
def test_dash_is_no_output_file(dify_job: Command, dify: StandIn, way: str) -> None:
    configure(dify_job, dify, 'output = { file = "-" }' if way == "config" else "")
    ran = dify_job("run", *(("--output", "-") if way == "flag" else ()))
    assert ran.code == (64 if way == "flag" else 78)
    assert "standard output" in ran.result["message"]
    assert not dify.runs


def test_count_and_size_are_bounded(dify_job: Command, dify: StandIn) -> None:
    serve_files(dify, [("a.txt", b"x" * 10), ("b.txt", b"x" * 11), ("c.txt", b"x")])
    downloading(dify_job, dify, "{ max_files = 2, max_size = 10 }")
    ran = dify_job("run")
    assert ran.code == 0
    assert saved(dify_job).keys() == {"result.json", "a.txt"}
    assert "returned 3 files; only the first 2 are saved" in ran.stderr
    assert "it has 11 bytes, and max_size is 10" in ran.stderr
    serve_files(dify, [("d.txt", b"x" * 100_000)], size=1)  # the server understates
    ran = dify_job("run")
    assert ran.code == 0
    assert saved(dify_job).keys() == {"result.json", "a.txt"}
    assert "more than max_size = 10 bytes" in ran.stderr


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "data:text/plain,x", "http:///x", "http://["],
)
def test_address_that_is_not_http_is_not_fetched(dify_job: Command, dify: StandIn, url: str) -> None:
    told = returned("a.txt", "text/plain", 1, url)
    dify.apps[KEY] = App(KEY, outputs={"file": told})
    downloading(dify_job, dify)
    ran = dify_job("run")
    assert ran.code == 0
    assert "was not saved" in ran.stderr
    assert saved(dify_job).keys() == {"result.json"}


def test_expired_link_is_a_warning_with_its_reason(dify_job: Command, dify: StandIn) -> None:
    expired = recordings.load("1.11.2", "error-file-download-expired")
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(expired.bytes)}\r\n\r\n"
    with Saying(head.encode() + expired.bytes) as raw:
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, f"{raw.address}/file")})
        downloading(dify_job, dify)
        ran = dify_job("run")
    assert ran.code == 0
    assert "such links expire" in ran.stderr


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "neither http"),
        (b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n", "more than 5 times"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "cut off"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "HTTP 500"),
        (b"", "closed the connection"),
    ],
)
def test_download_that_fails_is_a_warning_and_leaves_no_half_file(
    dify_job: Command, dify: StandIn, answer: bytes, words: str
) -> None:
    with Saying(answer) as raw:
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, f"{raw.address}/file")})
        downloading(dify_job, dify)
        ran = dify_job("run")
        assert len(raw.seen) <= 5
    assert ran.code == 0
    assert words in ran.stderr
    assert saved(dify_job).keys() == {"result.json"}
    assert not [request for request in raw.seen if b"uthorization" in request], "another host gets no key"


def test_signal_ends_a_download_and_the_run_has_succeeded_all_the_same(
    dify_job: Command, dify: StandIn
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, url)})
        downloading(dify_job, dify)
        process = dify_job.start("run")
        connection, _ = silent.accept()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=20)
        connection.close()
    assert process.returncode == 0
    assert json.loads(stdout)["outcome"] == "succeeded"
    assert "the run was asked to stop" in stderr
    assert time.monotonic() - began < 10
    assert saved(dify_job).keys() == {"result.json"}


def test_redirect_is_followed_without_the_key(dify_job: Command, dify: StandIn) -> None:
    serve_files(dify, [("x", b"whole")])
    [url] = dify.files
    origin = dify.base_url.removesuffix("/v1")
    head = f"HTTP/1.1 307 Go\r\nLocation: {origin}{url}\r\nContent-Length: 0\r\n\r\n"
    with Saying(head.encode()) as raw:
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 5, f"{raw.address}/file")})
        downloading(dify_job, dify)
        assert dify_job("run").code == 0
    assert saved(dify_job)["a.txt"] == b"whole"
    assert "Authorization" not in dify.received[-1].headers


def test_files_of_the_recordings_are_found() -> None:
    outputs = json.loads(recordings.load("1.11.2", "run-blocking-filemaker").bytes)["data"]["outputs"]
    [file] = set(files_in(outputs))
    assert file.name.endswith(".png")
    assert file.size == 75
    assert file.url.startswith("http://127.0.0.1:5001/files/tools/")

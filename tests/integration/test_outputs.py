"""Outputs of a run: expect, the output file, --print, downloads, the log."""

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
from tests.support.command import KEY, Command, tls
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.files import returned
from tests.support.fake_dify.server import FakeDify
from tests.support.socket_server import FixedResponseServer

QUOTED = '"第一行\\nsecond \u2028 line"'
OUTPUTS = {"result": "第一行\nsecond \u2028 line", "n": 3, "list": [1, {"a": None}], "empty": ""}


@pytest.fixture
def dify() -> Iterator[FakeDify]:
    with FakeDify([App(KEY, outputs=OUTPUTS), App("app-echo")]) as made:
        yield made


def configure(dify_job: Command, server: FakeDify | str, lines: str = "", key: str = KEY) -> None:
    address = server if isinstance(server, str) else server.base_url
    text = f'[jobs.a]\nbase_url = "{address}"\napi_key_env = "K"\n{lines}\n'
    (dify_job.home / "c.toml").write_text(text)
    dify_job.env |= {"K": key, "DIFY_JOB_CONFIG": str(dify_job.home / "c.toml")}


def test_unexpected_outputs_are_84(dify_job: Command, dify: FakeDify) -> None:
    lines = 'expect = { "outputs.empty" = "nonempty", "outputs.n" = { equals = 4 } }'
    configure(dify_job, dify, lines + f'\noutput = {{ file = "{dify_job.home}/out.txt" }}')
    ran = dify_job("run")
    assert (ran.code, ran.result["outcome"]) == (84, "unexpected")
    assert (
        ran.result["message"] == "workflow succeeded, but its result is not as expected: "
        'outputs.empty is empty: ""; outputs.n is 3, not 4'
    )
    assert ran.result["response_data"]["data"]["status"] == "succeeded"
    assert not (dify_job.home / "out.txt").exists(), "what is not as expected is not passed on"
    last = json.loads((dify_job.home / "state" / "last.json").read_text())
    assert last["outcome"] == "unexpected"
    assert not (dify_job.home / "state" / "last-success.json").exists()


def test_expected_outputs_are_a_success(dify_job: Command, dify: FakeDify) -> None:
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
    dify_job: Command, dify: FakeDify, settings: str, content: str
) -> None:
    configure(dify_job, dify, f'output = {{ file = "{dify_job.home}/out-{{{{ job }}}}.txt", {settings} }}')
    assert dify_job("run").code == 0
    assert (dify_job.home / "out-a.txt").read_text() == content


@pytest.mark.parametrize(("umask", "mode", "wanted"), [(0o077, "0640", 0o640), (0o027, None, 0o640)])
def test_output_file_has_the_configured_mode(
    dify_job: Command, dify: FakeDify, umask: int, mode: str | None, wanted: int
) -> None:
    setting = f', mode = "{mode}"' if mode else ""
    configure(dify_job, dify, f'output = {{ file = "{dify_job.home}/out.txt"{setting} }}')
    assert dify_job("run", umask=umask).code == 0
    assert stat.S_IMODE((dify_job.home / "out.txt").stat().st_mode) == wanted


def test_symlink_at_the_output_file_is_replaced_and_not_followed(dify_job: Command, dify: FakeDify) -> None:
    (dify_job.home / "precious").write_text("unchanged")
    (dify_job.home / "out.txt").symlink_to("precious")
    configure(dify_job, dify)
    assert dify_job("run", "--output", "out.txt").code == 0
    assert (dify_job.home / "precious").read_text() == "unchanged"
    assert not (dify_job.home / "out.txt").is_symlink()


@pytest.mark.parametrize("place", ["/dev/null", "/dev/stdout", "fifo", "directory", "missing/out.txt"])
def test_invalid_output_path_is_73_before_the_call(dify_job: Command, dify: FakeDify, place: str) -> None:
    os.mkfifo(dify_job.home / "fifo")
    (dify_job.home / "directory").mkdir()
    configure(dify_job, dify)
    ran = dify_job("run", "--output", place)
    assert ran.code == 73, ran.stderr
    assert dify.received == []
    assert not Path("/dev/null").is_file()


def test_standard_output_is_no_output_file(dify_job: Command, dify: FakeDify, tmp_path: Path) -> None:
    """Root would replace /dev/stdout; it can lead to a file."""
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    configure(dify_job, dify)
    with (tmp_path / "redirected").open("w") as stdout:
        done = dify_job.start("run", "--output", str(link), stdout=stdout)
        assert done.wait(20) == 73
        assert dify_job.start("report", "--output", str(link), stdout=stdout).wait(20) == 73
    assert str(link.readlink()) == "/proc/self/fd/1"
    assert dify.runs == []


def test_relative_output_file_of_the_config_is_in_the_state_directory(
    dify_job: Command, dify: FakeDify
) -> None:
    configure(dify_job, dify, 'output = { file = "sub/{{ job }}.json" }')
    assert dify_job("run").code == 0
    assert json.loads((dify_job.home / "state" / "sub" / "a.json").read_text())["success"] is True


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("last.json", "reserved for dify-job's own state"),
        ("../out.json", "would be outside the state directory"),
        ("link/out.json", "Not a directory"),
    ],
)
def test_output_file_cannot_leave_or_overwrite_the_state(
    dify_job: Command, dify: FakeDify, file: str, words: str
) -> None:
    (dify_job.home / "elsewhere").mkdir()
    (dify_job.home / "state").mkdir()
    (dify_job.home / "state" / "link").symlink_to("../elsewhere")
    configure(dify_job, dify, f'output = {{ file = "{file}" }}')
    ran = dify_job("run")
    assert ran.code == 73
    assert words in ran.result["message"]
    assert dify.received == []


def test_download_cannot_overwrite_the_state(dify_job: Command, dify: FakeDify) -> None:
    serve_files(dify, [("lock", b"1"), ("history.jsonl", b"2")])
    configure(dify_job, dify, 'output = { file = "out.json", downloads = true }')
    assert dify_job("run").code == 0
    state = dify_job.home / "state"
    assert (state / "lock-2").read_bytes() == b"1"
    assert (state / "history-2.jsonl").read_bytes() == b"2"
    assert json.loads((state / "history.jsonl").read_text())["outcome"] == "succeeded"


def test_files_of_root_in_the_state_of_another_user_belong_to_that_user(
    dify_job: Command, dify: FakeDify
) -> None:
    (dify_job.home / "state").mkdir()
    owner = 12345 if os.geteuid() == 0 else os.getuid()  # only root can change the owner
    os.chown(dify_job.home / "state", owner, -1)
    configure(dify_job, dify, 'output = { file = "sub/deep/out.json" }')
    assert dify_job("run").code == 0
    for name in ("sub", "sub/deep", "sub/deep/out.json"):
        assert (dify_job.home / "state" / name).stat().st_uid == owner


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
def test_root_writes_no_output_through_a_link_of_another_user(dify_job: Command, dify: FakeDify) -> None:
    (dify_job.home / "cron.d").mkdir()
    (dify_job.home / "out").symlink_to("cron.d")
    os.chown(dify_job.home / "out", 12345, -1, follow_symlinks=False)
    configure(dify_job, dify, f'output = {{ file = "{dify_job.home}/out/daily", downloads = true }}')
    ran = dify_job("run")
    assert (ran.code, list((dify_job.home / "cron.d").iterdir()), len(dify.runs)) == (73, [], 0)
    assert "is a symbolic link of user 12345, who can change its target" in ran.result["message"]


def test_output_file_that_becomes_unwritable_is_a_warning(dify_job: Command, dify: FakeDify) -> None:
    configure(dify_job, dify, f'output = {{ file = "{dify_job.home}/o", select = "outputs.nope" }}')
    ran = dify_job("run")
    assert ran.code == 0
    assert "the run's output file could not be written" in ran.stderr
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
def test_print_writes_one_value(dify_job: Command, dify: FakeDify, path: str, printed: str) -> None:
    configure(dify_job, dify)
    ran = dify_job("run", "--quiet", "--print", path)
    assert (ran.code, ran.stdout, ran.stderr) == (0, printed, "")


def test_printed_value_is_not_translated(dify_job: Command, dify: FakeDify) -> None:
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
def test_print_of_a_missing_value_writes_nothing_to_stdout(
    dify_job: Command, dify: FakeDify, args: list[str], code: int
) -> None:
    configure(dify_job, dify)
    ran = dify_job("run", "--quiet", *args)
    assert (ran.code, ran.stdout) == (code, ""), ran.stderr
    assert ran.stderr


def test_quiet_run_logs_nothing_on_success_and_one_line_on_failure(dify_job: Command, dify: FakeDify) -> None:
    configure(dify_job, dify)
    ran = dify_job("run", "-q")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.result["success"] is True
    ran = dify_job("run", "-q", env={"K": "wrong"})
    assert ran.code == 77
    assert len(ran.stderr.splitlines()) == 1


def test_outputs_are_logged_on_request_shortened_and_redacted(dify_job: Command, dify: FakeDify) -> None:
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


def test_secrets_are_in_no_log_format_and_no_state(dify_job: Command, dify: FakeDify) -> None:
    configure(dify_job, dify, 'inputs = { api_token = "canary-0815", nested = { secret = ["canary-4711"] } }')
    for log_format in ("console", "json"):
        ran = dify_job("run", "-v", "--log-format", log_format, "-i", "n=3", env={"K": "app-echo"})
        assert "canary" not in ran.stderr + ran.stdout
    for file in (dify_job.home / "state").iterdir():
        assert "canary" not in file.read_text()


# Downloads


def serve_files(server: FakeDify, files: list[tuple[str, bytes]], **changes: Any) -> None:
    entries = []
    for number, (name, content) in enumerate(files):
        url = f"/files/tools/{number}.bin?timestamp=1&nonce=2&sign=3"
        server.files[url] = ("application/octet-stream", content)
        entries.append(returned(name, "application/octet-stream", len(content), url) | changes)
    server.apps[KEY] = App(KEY, outputs={"files": entries, "deep": [{"again": entries[:1]}]})


def configure_downloads(
    dify_job: Command, server: FakeDify | str, downloads: str = "true", more: str = ""
) -> None:
    (dify_job.home / "out").mkdir(exist_ok=True)
    file = dify_job.home / "out" / "result.json"
    configure(dify_job, server, f'output = {{ file = "{file}", downloads = {downloads}{more} }}')


def saved(dify_job: Command) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (dify_job.home / "out").iterdir()}


def test_downloads_are_saved_next_to_the_output_file_without_sending_the_key(
    dify_job: Command, dify: FakeDify
) -> None:
    serve_files(dify, [("报告.pdf", b"%PDF" + bytes(200_000)), ("b.png", b"")])
    configure_downloads(dify_job, dify, more=', mode = "0600"')
    ran = dify_job("run")
    assert ran.code == 0, ran.stderr
    files = saved(dify_job)
    assert files.keys() == {"result.json", "报告.pdf", "b.png"}
    assert files["报告.pdf"] == b"%PDF" + bytes(200_000)
    assert stat.S_IMODE((dify_job.home / "out" / "b.png").stat().st_mode) == 0o600
    fetched = [request for request in dify.received if request.path.startswith("/files/")]
    assert len(fetched) == 2, "each file once, wherever it stands in the outputs"
    assert not [request for request in fetched if "Authorization" in request.headers]


def test_downloads_do_not_use_netrc(dify_job: Command, dify: FakeDify) -> None:
    (dify_job.home / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (dify_job.home / ".netrc").chmod(0o600)
    serve_files(dify, [("a.txt", b"x")])
    configure_downloads(dify_job, dify)
    assert dify_job("run").code == 0
    assert saved(dify_job)["a.txt"] == b"x"
    assert "Authorization" not in dify.received[-1].headers


def test_download_uses_certificates_and_proxy_rules_of_its_run(
    dify_job: Command, dify: FakeDify, certificate: tuple[Path, Path]
) -> None:
    serve_files(tls(dify, certificate), [("a.txt", b"x")])
    configure_downloads(dify_job, dify.base_url.replace("http://127.0.0.1", "https://localhost"))
    ran = dify_job("run", env={"SSL_CERT_FILE": str(certificate[1]), "https_proxy": "http://127.0.0.1:9"})
    assert ran.code == 0, ran.stderr
    assert saved(dify_job)["a.txt"] == b"x"


def test_nothing_is_downloaded_by_default(dify_job: Command, dify: FakeDify) -> None:
    serve_files(dify, [("a.txt", b"x")])
    configure_downloads(dify_job, dify, "false")
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
def test_download_name_cannot_leave_the_directory(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_duplicate_download_names_get_a_number(dify_job: Command, dify: FakeDify) -> None:
    files = [("result.json", b"1"), ("a.txt", b"2"), ("x/a.txt", b"3"), ("../a.txt", b"4")]
    serve_files(dify, files)
    configure_downloads(dify_job, dify)
    assert dify_job("run").code == 0
    found = saved(dify_job)
    assert json.loads(found.pop("result.json"))["success"] is True
    assert found == {"result-2.json": b"1", "a.txt": b"2", "a-2.txt": b"3", "a-3.txt": b"4"}


def test_downloads_replace_those_of_the_last_run_only(dify_job: Command, dify: FakeDify) -> None:
    configure_downloads(dify_job, dify)
    out = dify_job.home / "out"
    (dify_job.home / "precious").write_text("unchanged")
    (out / "a.txt").symlink_to("../precious")
    (out / "b.txt").write_text("mine")
    for content in (b"1", b"2"):
        serve_files(dify, [("a.txt", content), ("b.txt", content), ("c.txt", content)])
        ran = dify_job("run")
        assert ran.code == 0
        assert ran.stderr.count("no earlier run of this job wrote it") == 2
        assert saved(dify_job)["c.txt"] == content
        assert (out / "b.txt").read_text() == "mine"
        assert (out / "a.txt").is_symlink()
    (out / "c.txt").unlink()
    (out / "c.txt").write_text("mine, too")
    assert dify_job("run").code == 0
    assert (out / "c.txt").read_text() == "mine, too"
    assert (dify_job.home / "precious").read_text() == "unchanged"


def test_private_address_is_fetched_only_if_configured(dify_job: Command, dify: FakeDify) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/meta\r\nContent-Length: 0\r\n\r\n"
    with FixedResponseServer(redirect) as raw:
        # urllib3 ends the host at a backslash, and urlsplit does not.
        two_hosts = f"http://169.254.169.254\\@{dify.base_url.removeprefix('http://')}/meta"
        for url in ("http://169.254.169.254/meta", f"{raw.address}/file", two_hosts):
            dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, url)})
            configure_downloads(dify_job, dify)
            began = time.monotonic()
            ran = dify_job("run")
            assert ran.code == 0
            assert "output.download_hosts" in ran.stderr
            assert time.monotonic() - began < 60
            assert saved(dify_job).keys() == {"result.json"}
    serve_files(dify, [("a.txt", b"x")])
    configure_downloads(dify_job, dify.base_url, more=', download_hosts = ["127.0.0.1"]')
    assert dify_job("run").code == 0
    assert saved(dify_job)["a.txt"] == b"x"


@pytest.mark.parametrize("way", ["flag", "config"])
def test_dash_is_rejected_as_output_file(dify_job: Command, dify: FakeDify, way: str) -> None:
    configure(dify_job, dify, 'output = { file = "-" }' if way == "config" else "")
    ran = dify_job("run", *(("--output", "-") if way == "flag" else ()))
    assert ran.code == (64 if way == "flag" else 78)
    assert "standard output" in ran.result["message"]
    assert not dify.runs


def test_downloads_are_limited_in_number_and_size(dify_job: Command, dify: FakeDify) -> None:
    serve_files(dify, [("a.txt", b"x" * 10), ("b.txt", b"x" * 11), ("c.txt", b"x")])
    configure_downloads(dify_job, dify, "{ max_files = 2, max_size = 10 }")
    ran = dify_job("run")
    assert ran.code == 0
    assert saved(dify_job).keys() == {"result.json", "a.txt"}
    assert "returned 3 files, but only the first 2 are saved" in ran.stderr
    assert "it has 11 bytes, more than 10 (max_size)" in ran.stderr
    serve_files(dify, [("d.txt", b"x" * 100_000)], size=1)  # the size that the server states is too small
    ran = dify_job("run")
    assert ran.code == 0
    assert saved(dify_job).keys() == {"result.json", "a.txt"}
    assert "more than 10 bytes (max_size)" in ran.stderr


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "data:text/plain,x", "http:///x", "http://["],
)
def test_url_that_is_not_http_is_not_fetched(dify_job: Command, dify: FakeDify, url: str) -> None:
    file = returned("a.txt", "text/plain", 1, url)
    dify.apps[KEY] = App(KEY, outputs={"file": file, "unnamed": file | {"filename": None}})
    configure_downloads(dify_job, dify)
    ran = dify_job("run")
    assert ran.code == 0
    assert ran.stderr.count("was not saved") == 2
    assert saved(dify_job).keys() == {"result.json"}


def test_expired_download_link_is_a_warning(dify_job: Command, dify: FakeDify) -> None:
    expired = recordings.load("1.11.2", "error-file-download-expired")
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(expired.bytes)}\r\n\r\n"
    with FixedResponseServer(head.encode() + expired.bytes) as raw:
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, f"{raw.address}/file")})
        configure_downloads(dify_job, dify)
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
def test_failed_download_is_a_warning_and_leaves_no_partial_file(
    dify_job: Command, dify: FakeDify, answer: bytes, words: str
) -> None:
    with FixedResponseServer(answer) as raw:
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, f"{raw.address}/file")})
        configure_downloads(dify_job, dify)
        ran = dify_job("run")
        assert len(raw.seen) <= 5
    assert ran.code == 0
    assert words in ran.stderr
    assert saved(dify_job).keys() == {"result.json"}
    assert not [request for request in raw.seen if b"uthorization" in request], "another host gets no key"


def test_signal_aborts_a_download_and_the_run_still_succeeds(dify_job: Command, dify: FakeDify) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 1, url)})
        configure_downloads(dify_job, dify)
        process = dify_job.start("run")
        connection, _ = silent.accept()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
        connection.close()
    assert process.returncode == 0
    assert json.loads(stdout)["outcome"] == "succeeded"
    assert "a signal interrupted the download" in stderr
    assert time.monotonic() - began < 25
    assert saved(dify_job).keys() == {"result.json"}


def test_download_redirect_is_followed_without_the_key(dify_job: Command, dify: FakeDify) -> None:
    serve_files(dify, [("x", b"whole")])
    [url] = dify.files
    origin = dify.base_url.removesuffix("/v1")
    head = f"HTTP/1.1 307 Go\r\nLocation: {origin}{url}\r\nContent-Length: 0\r\n\r\n"
    with FixedResponseServer(head.encode()) as raw:
        dify.apps[KEY] = App(KEY, outputs={"a": returned("a.txt", "text/plain", 5, f"{raw.address}/file")})
        configure_downloads(dify_job, dify)
        assert dify_job("run").code == 0
    assert saved(dify_job)["a.txt"] == b"whole"
    assert "Authorization" not in dify.received[-1].headers


def test_files_in_recorded_outputs_are_found() -> None:
    outputs = json.loads(recordings.load("1.11.2", "run-blocking-filemaker").bytes)["data"]["outputs"]
    [file] = set(files_in(outputs))
    assert file.name.endswith(".png")
    assert file.size == 75
    assert file.url.startswith("http://127.0.0.1:5001/files/tools/")

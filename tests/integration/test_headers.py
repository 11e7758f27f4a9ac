"""Extra request headers: sent with every request to the server only, and never shown."""

from pathlib import Path

import pytest

from tests.support.command import KEY, Command
from tests.support.scripted_server import STARTED, ScriptedServer, answer, finished, stream

SECRET = "canary-of-the-gateway-0123456789"


def configure(dify_job: Command, base_url: str, more: str = "") -> Path:
    key, value = dify_job.home / "a.key", dify_job.home / "header"
    for path, text in ((key, KEY), (value, f"{SECRET}\n")):
        path.write_text(text)
        path.chmod(0o600)
    path = dify_job.home / ".config/dify-job/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'[jobs.a]\nbase_url = "{base_url}"\napi_key_file = "{key}"\ntimeout = "20s"\n'
        f'[jobs.a.headers]\nX-Team = "reports"\nCF-Access-Client-Secret = {{ file = "{value}" }}\n{more}'
    )
    return path


def has_headers(request: bytes) -> bool:
    head = request.partition(b"\r\n\r\n")[0].decode()
    return "X-Team: reports" in head and f"CF-Access-Client-Secret: {SECRET}" in head


def test_headers_are_sent_with_every_request_and_never_shown(dify_job: Command) -> None:
    done = finished("failed", error=f"the gateway returned {SECRET}")
    info = answer(200, {"name": SECRET, "mode": "workflow"}, version="1.14.2")
    with ScriptedServer(post=stream(STARTED, done), other=info) as server:
        configure(dify_job, server.base_url)
        ran = [dify_job(*words) for words in (("run", "a"), ("config", "show"), ("doctor", "a"))]
        ran += [dify_job("history", "a", "--json"), dify_job("-v", "run", "a", "--log-format", "json")]
    assert ran[0].code == 80
    assert server.seen
    assert all(has_headers(request) for _, request in server.seen)
    assert not [one for one in ran if SECRET in one.stdout + one.stderr]
    assert "reports" not in ran[1].stdout
    stored = [path for path in (dify_job.home / "state").rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if SECRET in path.read_text(errors="replace")]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_headers_go_to_no_other_origin(dify_job: Command, status: int) -> None:
    with ScriptedServer(post=answer(200, {})) as other:
        moved = answer(status, b"", {"Location": f"{other.base_url}/workflows/run"})
        with ScriptedServer(post=moved, other=moved) as server:
            configure(dify_job, server.base_url)
            assert dify_job("run", "a").code != 0
            dify_job("doctor", "a")
    assert has_headers(server.seen[0][1])
    assert [request for _, request in other.seen if b"X-Team" in request or SECRET.encode() in request] == []


def test_downloads_send_headers_only_to_the_server(dify_job: Command) -> None:
    def file_at(url: str) -> dict[str, object]:
        return {"dify_model_identity": "__dify__file__", "filename": url[-5:], "url": url}

    with ScriptedServer(other=answer(200, b"x")) as other, ScriptedServer(other=answer(200, b"x")) as server:
        files = [file_at(f"{server.address}/files/a.txt"), file_at(f"{other.address}/files/b.txt")]
        server.say("post", stream(STARTED, finished("succeeded", outputs={"files": files})))
        out = dify_job.home / "out"
        out.mkdir()
        place = f'[jobs.a.output]\nfile = "{out}/result.json"\ndownloads = true\n'
        configure(dify_job, server.base_url, place)
        assert dify_job("run", "a").code == 0
    fetched = [request for kind, request in server.seen if kind == "other"]
    assert fetched
    assert all(has_headers(request) for request in fetched)
    assert not [request for _, request in other.seen if SECRET.encode() in request or b"X-Team" in request]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('Authorization = "x"', "dify-job sets this header itself"),
        ('Proxy-Authorization = "x"', "dify-job sets this header itself"),
        ('host = "x"', "dify-job sets this header itself"),
        ('"X Y" = "x"', "not the name of a request header"),
        ('X-A = "a\\r\\nX-B: c"', "printable ASCII"),
        ('X-A = "é"', "printable ASCII"),
        ('X-A = ""', "printable ASCII"),
        ("X-A = 1", "printable ASCII"),
        ('X-A = { file = "relative" }', "absolute path"),
        ('X-A = { path = "/x" }', "must be a string or"),
        ('x-team = "twice"', "twice"),
    ],
)
def test_invalid_header_is_rejected(dify_job: Command, line: str, message: str) -> None:
    configure(dify_job, "http://127.0.0.1:1", f"{line}\n")
    ran = dify_job("run", "a")
    assert (ran.code, message in ran.stderr) == (78, True)


def test_header_file_needs_the_permissions_of_a_key_file(dify_job: Command) -> None:
    configure(dify_job, "http://127.0.0.1:1")
    value = dify_job.home / "header"
    value.chmod(0o644)
    for command in (("run", "a"), ("config", "validate")):
        ran = dify_job(*command)
        assert (ran.code, "can be read by other users" in ran.stderr) == (78, True)
    value.write_text("two\nlines\n")
    value.chmod(0o600)
    ran = dify_job("config", "validate")
    assert (ran.code, "must contain one line of printable ASCII" in ran.stderr) == (78, True)
    value.unlink()
    assert "No such file" in dify_job("config", "validate").stderr


def test_system_unit_gets_the_header_file_as_a_credential(dify_job: Command) -> None:
    configure(dify_job, "http://127.0.0.1:1")
    shown = dify_job("render", "a", "--target", "systemd", "--systemd-version", "257")
    assert f":{dify_job.home}/header" in shown.stdout
    assert "LoadCredential=header-" in shown.stdout
    refused = dify_job("render", "a", "--target", "kubernetes", "--image", "x:1")
    assert "exists only on this machine" in refused.stderr

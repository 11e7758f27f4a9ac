"""The curl commands of the original system against the HTTP socket; denied callers, sandbox, removal."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.command_result import CommandResult

from .conftest import CANARY, PYTHON, Host
from .test_doctor import DoctorCase
from .test_user_units import Login, alice  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("port_8000")

CALL = "curl -s -X POST http://localhost:8000/api/dify/call"
START = 'curl -s -X POST "http://localhost:8000/api/dify/scheduler/start?interval_hours=2"'
STOP = "curl -s -X POST http://localhost:8000/api/dify/scheduler/stop"
STATUS = "curl -s http://localhost:8000/api/dify/scheduler/status"
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def http(host: Host) -> Iterator[Callable[..., CommandResult]]:
    """Install the job with its HTTP interface like alice with sudo; assert a clean uninstall afterwards."""

    def install(*flags: str, **settings: Any) -> CommandResult:
        host.job('calendar = "yearly"', **settings)
        uid = host.run("id", "-u", "alice").stdout.strip()
        installed = host("install", "--http", *flags, env={"SUDO_UID": uid, "SUDO_USER": "alice"})
        host.server.received.clear()  # install asks for the form of the app
        return installed

    yield install
    wait_until_idle(host)
    assert "http" not in host.run("systemctl", "--failed", "--no-legend", "--plain").stdout
    host("uninstall", "--all")
    assert not host.machine.exists("/etc/systemd/system/dify-job-http.socket")
    assert not host.machine.exists("/etc/systemd/system/dify-job.http.service")
    assert host.run("curl", "-s", "http://127.0.0.1:8000/docs", check=False).code == 7


def wait_until_idle(host: Host) -> None:
    """Wait until no process and no request unit of dify-job is left."""
    host.wait(lambda: host.run("pgrep", "-f", "[d]ify_job", check=False).stdout == "")
    host.wait(lambda: host.show("dify-job.http.service", "ActiveState") == "inactive")


def shell(host: Host, command: str, user: str = "alice") -> dict[str, Any]:
    output = host.run("sh", "-c", command, user=user).stdout
    answer: dict[str, Any] = json.loads(output)
    return answer


def status_of(host: Host, *flags: str, user: str = "alice") -> int:
    """The HTTP status of a call that would start a run."""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--max-time", "30", *flags]
    return int(host.run(*argv, user=user, check=False).stdout or 0)


def test_curl_commands_of_the_original_system_work(host: Host, http: Callable[..., CommandResult]) -> None:
    output = http().stdout
    assert (
        "systemd now listens on 127.0.0.1 port 8000; requests are allowed from root and alice on this machine"
        in output
    )
    assert host.server.runs == []
    wait_until_idle(host)
    for user in ("alice", "root"):
        called = shell(host, CALL, user)
        assert called["success"] is True, called
        assert called["message"] == "workflow succeeded"
        assert called["response_data"]["workflow_run_id"] == host.server.runs[-1].run_id
        assert called["response_data"]["data"]["status"] == "succeeded"
        assert called["call_time"][:2] == "20"
        wait_until_idle(host)
    assert len(host.server.runs) == 2
    assert len(host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=succeeded")) == 2
    assert not host.machine.exists("/var/lib/dify-job/daily/request.json")

    started = shell(host, START)
    assert (started["success"], started["running"], started["job_name"]) == (True, True, "daily")
    assert started["next_run_time"]
    assert host.status()["schedule"] == "every 2h"
    status = shell(host, STATUS)
    assert status == {
        "running": True,
        "job_name": "daily",
        "next_run_time": started["next_run_time"],
        "message": "the job is scheduled with systemd",
    }
    stopped = shell(host, STOP)
    assert (stopped["success"], stopped["running"], stopped["next_run_time"]) == (True, False, None)
    assert shell(host, STATUS)["running"] is False
    assert host.run("systemctl", "is-enabled", "dify-job-daily.timer", check=False).stdout == "disabled\n"
    assert shell(host, START)["running"] is True
    assert len(host.server.runs) == 2  # starting and stopping the schedule started no run
    wait_until_idle(host)


def test_quick_successive_calls_each_start_a_run(host: Host, http: Callable[..., CommandResult]) -> None:
    http()
    calls = " && ".join([CALL] * 7)
    assert host.run("sh", "-c", calls, user="alice").stdout.count('"success": true') == 7
    assert len(host.server.runs) == 7


def test_doctor_and_status_report_the_http_interface_with_working_fixes(
    host: Host, http: Callable[..., CommandResult]
) -> None:
    token, socket = "/etc/dify-job/http.token", "/etc/systemd/system/dify-job-http.socket"
    host.machine.write(token, TOKEN, 0o600)
    http("--http-token-file", token)
    case = DoctorCase(host)
    assert case.doctor()["http"][:2] == (
        "ok",
        ("systemd listens on 127.0.0.1:8000; requests are allowed from "
        f"everybody who has the token in {token}"),
    )  # fmt: skip
    assert "http: 127.0.0.1:8000 serves daily" in host("status", check=False).stdout
    for level, message, script in (
        ("fail", "does not listen on 127.0.0.1:8000", "systemctl stop dify-job-http.socket"),
        ("warn", "will not listen after the next boot", "systemctl disable dify-job-http.socket"),
        ("fail", "can be read by other users", f"chmod 644 {token}"),
        ("fail", "the HTTP interface rejects every request", f"rm {token}"),
        ("fail", "the HTTP interface rejects every request", f"echo short > {token}"),
        ("warn", "edited by hand", f"sed -i s/Backlog=256/Backlog=128/ {socket}"),
        (
            "fail",
            "one of the two units of the HTTP interface is missing",
            f"rm {socket}; systemctl daemon-reload",
        ),
    ):
        case.assert_found_and_fixed("http", level, message, case.sh(script))
    host.run("systemctl", "stop", "dify-job-http.socket")
    done = host("status", check=False)
    assert (
        done.code,
        "http: the HTTP interface does not listen on 127.0.0.1:8000" in done.stdout,
    ) == (1, True)
    [http_status] = json.loads(host("status", "--json", check=False).stdout)["http"]
    assert (http_status["listening"], http_status["listen"], http_status["jobs"]) == (
        False,
        "127.0.0.1:8000",
        ["daily"],
    )
    wait_until_idle(host)


def test_failed_run_is_reported_and_the_handler_succeeds(
    host: Host, http: Callable[..., CommandResult]
) -> None:
    http(key="app-fails")
    called = shell(host, CALL)
    assert called["success"] is False
    assert "Connection refused" in called["message"]
    assert called["response_data"]["data"]["status"] == "failed"
    host.run("systemctl", "reset-failed", "dify-job-daily.service")


def test_second_of_two_simultaneous_calls_is_busy(host: Host, http: Callable[..., CommandResult]) -> None:
    http(key="app-two-seconds")
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(status_of(host, "http://localhost:8000/api/dify/call"))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert sorted(statuses) == [200, 409]
    assert len(host.server.runs) == 1


@pytest.mark.usefixtures("http")
def test_call_ignores_max_late(host: Host) -> None:
    host.job('calendar = "*-05-01"\nmax_late = "1s"')
    host("install", "--http")
    assert shell(host, CALL, "root")["message"] == "workflow succeeded"
    assert len(host.server.runs) == 1


def test_other_users_are_refused(host: Host, http: Callable[..., CommandResult]) -> None:
    http()
    url = "http://localhost:8000/api/dify/call"
    assert status_of(host, url, user="mallory") == 403
    assert status_of(host, "-H", "Host: evil.example.com", url) == 403
    assert status_of(host, "-H", "Origin: http://evil.example.com", url) == 403
    assert status_of(host, "-H", "Origin: null", url) == 403
    assert status_of(host, "-H", "Sec-Fetch-Site: cross-site", url) == 403
    assert status_of(host, "-H", "Transfer-Encoding: chunked", "-d", "x", url) == 411
    assert status_of(host, f"{url}?job=other") == 404
    assert status_of(host, "http://localhost:8000/api/dify/scheduler/start?interval_hours=0") == 422
    host.machine.write("/srv/ten", "x" * 10_000_000)
    assert status_of(host, "--data-binary", "@/srv/ten", url) == 413
    assert status_of(host, "-H", "Expect:", "--data-binary", "@/srv/ten", url) in (413, 0)
    host.run("rm", "/srv/ten")
    assert host.server.received == []
    entries = host.journal("-u", "dify-job.http.service")
    assert any("403" in str(entry["MESSAGE"]) and entry.get("PRIORITY") == "4" for entry in entries)


def test_slow_request_is_cut_off_and_does_not_block_others(
    host: Host, http: Callable[..., CommandResult]
) -> None:
    http()
    drips = []
    for _ in range(15):
        drip = socket.create_connection(("127.0.0.1", 8000))
        drip.sendall(b"POST /api")
        drips.append(drip)
    assert shell(host, STATUS)["running"] is True
    began = time.monotonic()
    for drip in drips:
        drip.settimeout(30)
        with drip:
            assert drip.recv(100).startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 403 ", b"HTTP/1.1 429 "))
    assert time.monotonic() - began < 25
    assert host.server.received == []


def test_non_loopback_address_needs_a_token(host: Host, http: Callable[..., CommandResult]) -> None:
    host.job('calendar = "yearly"')
    refused = host("install", "--http", "--http-listen", "0.0.0.0:8000", check=False)
    assert refused.code == 78
    assert "the HTTP interface needs a token" in refused.stderr
    assert not host.machine.exists("/etc/systemd/system/dify-job-daily.timer")
    host.machine.write("/etc/dify-job/http.token", TOKEN + "\n", 0o644)
    flags = ("--http-listen", "0.0.0.0:8000", "--http-token-file", "/etc/dify-job/http.token")
    readable = host("install", "--http", *flags, check=False)
    assert readable.code == 78
    assert "can be read by other users" in readable.stderr
    host.run("chmod", "600", "/etc/dify-job/http.token")
    output = http(*flags).stdout
    assert "requests are allowed from everybody who has the token in /etc/dify-job/http.token" in output
    assert TOKEN not in output
    host.run("sh", "-c", output.partition("try it")[2].splitlines()[0])
    assert TOKEN not in host.machine.read("/etc/systemd/system/dify-job.http.service")
    address = host.run("hostname", "-I").stdout.split()
    bearer = ["-H", f"Authorization: Bearer {TOKEN}"]
    for name in ["localhost", *address[:1]]:
        url = f"http://{name}:8000/api/dify/call"
        assert status_of(host, url, user="root") == 401
        assert status_of(host, "-H", "Authorization: Bearer wrong", url) == 401
        assert status_of(host, *bearer, url, user="mallory") == 200
    assert len(host.server.runs) == 1 + bool(address)
    assert TOKEN not in host.run("journalctl", "--no-pager").stdout


def test_docs_and_openapi_are_served_and_nothing_else(host: Host, http: Callable[..., CommandResult]) -> None:
    http()
    docs = host.run("curl", "-s", "http://localhost:8000/docs", user="alice").stdout
    assert "POST /api/dify/call" in docs
    assert "/api/dify/call" in shell(host, "curl -s http://localhost:8000/openapi.json")["paths"]
    assert "daily" in host.run("curl", "-s", "http://localhost:8000/", user="alice").stdout
    assert status_of(host, "http://localhost:8000/") == 405
    assert status_of(host, "http://localhost:8000/index.html") == 404
    refused = host.run("curl", "-s", "http://localhost:8000/", user="mallory", check=False).stdout
    assert "daily" not in refused


def test_units_of_another_interpreter_are_reported(host: Host, http: Callable[..., CommandResult]) -> None:
    http()
    assert "another Python interpreter" not in host("install").stdout
    unit = "/etc/systemd/system/dify-job.http.service"
    host.run("sed", "-i", "s,ExecStart=[^ ]*,ExecStart=/opt/old/bin/python,", unit)
    assert "to use the same one, run: dify-job install --http" in host("install").stdout
    edited = host("install", "--http", check=False)
    assert edited.code == 78
    assert f"edited by hand: {unit}" in edited.stderr
    host.run("rm", unit)
    assert "listens on 127.0.0.1 port 8000" in http().stdout


def test_install_without_http_leaves_no_socket_and_a_port_in_use_is_named(
    host: Host, http: Callable[..., CommandResult]
) -> None:
    host.job('calendar = "yearly"')
    host("install")
    assert not host.machine.exists("/etc/systemd/system/dify-job-http.socket")
    with socket.create_server(("127.0.0.1", 8000)):
        refused = host("install", "--http", check=False)
    assert refused.code == 78
    assert "127.0.0.1 port 8000: Address already in use" in refused.stderr
    assert not host.machine.exists("/etc/systemd/system/dify-job-http.socket")
    again = http().stdout
    assert "listens on 127.0.0.1 port 8000" in again
    strange = ("--http-listen", "192.0.2.77:8000", "--http-token-file", "/etc/dify-job/t")
    host.machine.write("/etc/dify-job/t", TOKEN, 0o600)
    assert "192.0.2.77 port 8000: Cannot assign" in host("install", "--http", *strange, check=False).stderr
    assert "unchanged, systemd listens on 127.0.0.1" in http().stdout, "what listened before listens again"
    assert "unchanged, systemd listens on 127.0.0.1" in http().stdout


def test_unauthorized_connections_do_not_block_authorized_ones(
    host: Host, http: Callable[..., CommandResult]
) -> None:
    http()
    code = (
        "import socket, time\n"
        "end = time.monotonic() + 8\n"
        "while time.monotonic() < end:\n"
        "    held = [socket.create_connection(('127.0.0.1', 8000)) for _ in range(8)]\n"
        "    time.sleep(0.2)\n"
    )
    flood = threading.Thread(target=lambda: host.run("python3", "-c", code, user="mallory", check=False))
    flood.start()
    time.sleep(1)
    answered = 0
    while flood.is_alive():
        argv = ["curl", "-s", "--max-time", "20", "--retry", "3", "--retry-all-errors"]
        done = host.run(*argv, "http://localhost:8000/api/dify/scheduler/status", user="alice", check=False)
        answered += '"running": true' in done.stdout
    assert answered
    assert host.show("dify-job-http.socket", "ActiveState") == "active"
    assert host.server.received == []


@pytest.mark.since(250)
@pytest.mark.usefixtures("http")
def test_encrypted_key_serves_all_calls(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("secret", "set", "daily", "--encrypt", stdin=CANARY)
    host.run("rm", "/etc/dify-job/credentials/daily.key")
    host("install", "--http")
    for command in (CALL, START, CALL, STOP):
        assert shell(host, command, "root")["success"] is True
    assert host.status()["schedule"] == "every 2h"
    assert len(host.server.runs) == 2
    assert CANARY not in host.run("sh", "-c", "journalctl --no-pager; systemctl cat 'dify-job-*'").stdout
    host.run("rm", "/etc/credstore.encrypted/dify-job.daily.api_key")


def test_missing_token_file_refuses_everyone(host: Host, http: Callable[..., CommandResult]) -> None:
    host.machine.write("/etc/dify-job/http.token", TOKEN + "\n", 0o600)
    http("--http-token-file", "/etc/dify-job/http.token")
    host.run("rm", "/etc/dify-job/http.token")
    bearer = ["-H", f"Authorization: Bearer {TOKEN}"]
    for user in ("root", "alice"):
        assert status_of(host, *bearer, "http://localhost:8000/api/dify/call", user=user) == 503
    assert host.server.received == []


def test_handler_is_sandboxed(host: Host, http: Callable[..., CommandResult]) -> None:
    http()
    output = host.run(
        "systemd-analyze", "security", "--no-pager", "dify-job.http.service", check=False
    ).stdout
    [line] = [line for line in output.splitlines() if "Overall exposure level" in line]
    assert float(line.split(":")[1].split()[0]) <= 1.9, output
    assert host.show("dify-job.http.service", "LimitCPU") == str(60)


def test_user_serves_the_same_calls_from_an_env_file_without_root(alice: Login) -> None:  # noqa: F811
    alice.configure()
    output = alice("install", "--env-file", ".env", "--http").stdout
    assert (
        "systemd now listens on 127.0.0.1 port 8000; requests are allowed from root and alice on this machine"
        in output
    )
    host = alice.host
    called = shell(host, CALL)
    assert called["success"] is True, called
    assert called["response_data"]["workflow_run_id"] == host.server.runs[0].run_id
    assert status_of(host, "http://localhost:8000/api/dify/call", user="mallory") == 403
    assert shell(host, START)["running"] is True
    assert alice.show("dify-job-default.timer", "ActiveState") == "active"
    assert shell(host, STOP)["running"] is False
    assert shell(host, STATUS)["job_name"] == "default"
    assert len(host.server.runs) == 1
    alice("uninstall", "--all")
    assert host.run("sh", "-c", "ls /home/alice/.config/systemd/user", check=False).stdout.split() in (
        [],
        ["sockets.target.wants"],
        ["sockets.target.wants", "timers.target.wants"],
    )


# Python programs


def test_python_calls_start_and_stop_the_schedule_across_a_reboot(host: Host) -> None:
    host.job('calendar = "*-*-* 07:30"\ntimezone = "Asia/Shanghai"')

    def python(code: str) -> Any:
        head = "import asyncio, json\nfrom dify_job.compat import service\n"
        done = host.run(PYTHON, "-c", head + code)
        return json.loads(done.stdout)

    scheduler = python("print(json.dumps(service.start_scheduler(interval_hours=3)))")
    assert scheduler["running"] is True
    assert host.status()["schedule"] == "every 3h"
    assert host.show("dify-job-daily.timer", "ActiveState") == "active"
    assert python("print(json.dumps(service.stop_scheduler()))")["running"] is False
    host.machine.stop()
    host.machine.start()
    assert host.show("dify-job-daily.timer", "ActiveState") == "inactive"
    assert python("print(json.dumps(service.scheduler_status()))")["running"] is False
    code = "r = asyncio.run(service.manual_call_dify()); print(json.dumps([r.success, r.message]))"
    assert python(code) == [True, "workflow succeeded"]
    assert len(host.server.runs) == 1

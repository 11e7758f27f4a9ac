"""Findings about the HTTP interface, from values in place of its units."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dify_job.checks import http_socket
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Finding, Severity
from dify_job.config.model import Config, Job, KeySource
from dify_job.messages.command import Reader
from dify_job.report.status_text import status_lines
from dify_job.report.text import Terminal
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.http_socket import HttpSocket, HttpSocketConfig, HttpSocketStatus
from dify_job.schedulers.model import Scope
from dify_job.schedulers.systemd import Systemd
from tests.support.fixes import command_in
from tests.support.statuses import host

CONFIG = HttpSocketConfig(
    listen="127.0.0.1:8000",
    jobs=("daily",),
    config_path=Path("/etc/dify-job/config.toml"),
    python=Path(sys.executable),
)
HEALTHY = HttpSocketStatus(
    scope=Scope.SYSTEM, config=CONFIG, jobs=("daily",), current=True, edited=(), listening=True, enabled=True
)
Check = Callable[[HttpSocketStatus | None], Finding | None]


def context(scheduler: Systemd | UserCrontab) -> HostContext:
    job = Job(name="daily", base_url="http://localhost/v1", key=KeySource())
    now = datetime(2026, 11, 24, tzinfo=UTC)
    return HostContext(job=job, config=Config(path=None, files=(), jobs={}), scheduler=scheduler, now=now)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """Function that returns the finding about an interface in a state."""

    def checked(status: HttpSocketStatus | None) -> Finding | None:
        monkeypatch.setattr(HttpSocket, "state", lambda _: status)
        return http_socket.check_http_socket(context(Systemd(Scope.SYSTEM)))

    return checked


def test_healthy_interface_names_address_and_callers(check: Check) -> None:
    found = check(HEALTHY)
    assert found is not None
    assert found.severity is Severity.OK
    assert (
        found.message == "systemd listens on 127.0.0.1:8000; requests are allowed from root on this machine"
    )
    unknown = check(replace(HEALTHY, listening=None))
    assert unknown is not None
    assert (unknown.severity, "is configured to listen" in unknown.message) == (Severity.OK, True)


def test_job_without_an_interface_has_no_finding(check: Check) -> None:
    assert check(None) is None
    assert check(replace(HEALTHY, jobs=("weekly",))) is None
    assert http_socket.check_http_socket(context(UserCrontab(Scope.USER))) is None


@pytest.mark.parametrize(
    ("status", "severity", "message", "fix"),
    [
        (
            replace(HEALTHY, edited=(Path("/etc/systemd/system/dify-job-http.socket"),)),
            Severity.WARN,
            "edited by hand",
            "sudo rm /etc/systemd/system/dify-job-http.socket && ",
        ),
        (
            replace(HEALTHY, config=None),
            Severity.FAIL,
            "one of the two units of the HTTP interface is missing",
            "install daily --http",
        ),
        (replace(HEALTHY, current=False), Severity.WARN, "another version", "--http-listen 127.0.0.1:8000"),
        (
            replace(HEALTHY, config=replace(CONFIG, python=Path("/nowhere/python"))),
            Severity.FAIL,
            "its Python interpreter /nowhere/python is missing",
            "--http-listen 127.0.0.1:8000",
        ),
        (
            replace(HEALTHY, listening=False),
            Severity.FAIL,
            "does not listen on 127.0.0.1:8000",
            "systemctl enable --now dify-job-http.socket",
        ),
        (
            replace(HEALTHY, enabled=False),
            Severity.WARN,
            "will not listen after the next boot",
            "systemctl enable dify-job-http.socket",
        ),
    ],
    ids=["edited", "half", "old", "interpreter", "silent", "disabled"],
)
def test_fault_of_the_interface_has_a_fix(
    check: Check, status: HttpSocketStatus, severity: Severity, message: str, fix: str
) -> None:
    found = check(status)
    assert found is not None
    assert (found.severity, message in found.message) == (severity, True), found.message
    assert fix.removeprefix("sudo ") in str(found.fix)


@pytest.mark.parametrize(("uid", "severity"), [(0, Severity.FAIL), (1000, Severity.OK)])
def test_interpreter_that_the_caller_cannot_see_is_no_fault_of_a_system_interface(
    check: Check, monkeypatch: pytest.MonkeyPatch, uid: int, severity: Severity
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    found = check(HEALTHY)
    assert found is not None
    assert found.severity is severity


def test_missing_or_bad_token_refuses_everybody(check: Check, tmp_path: Path) -> None:
    token = tmp_path / "token"
    status = replace(HEALTHY, config=replace(CONFIG, token_file=token))
    missing = check(status)
    assert missing is not None
    assert (missing.severity, "rejects every request" in missing.message) == (Severity.FAIL, True)
    assert f"install -m 600 /dev/null {token} && openssl rand -hex 32 >{token}" in command_in(
        str(missing.fix)
    )
    token.write_text("0123456789abcdef0123456789abcdef\n")
    token.chmod(0o644)
    readable = check(status)
    assert readable is not None
    assert readable.severity is Severity.FAIL
    token.chmod(0o600)
    good = check(status)
    assert good is not None
    assert (
        good.message
        == "systemd listens on 127.0.0.1:8000; requests are allowed from everybody who has the token in "
        f"{token}"
    )


def test_reinstallation_has_the_same_address_token_and_caller(
    check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)
    found = check(replace(HEALTHY, config=replace(CONFIG, uid=1000), current=False))
    assert found is not None
    assert "env SUDO_UID=1000 dify-job --config /etc/dify-job/config.toml install daily" in str(found.fix)
    token = replace(CONFIG, token_file=tmp_path / "token")
    found = check(replace(HEALTHY, config=token, current=False))
    assert found is not None
    assert f"--http-token-file {tmp_path / 'token'}" in str(found.fix)


@pytest.mark.parametrize("change", [{"listening": False}, {"enabled": False}, {"current": False}])
def test_status_reports_the_interface_in_the_words_of_doctor(check: Check, change: dict[str, Any]) -> None:
    socket = replace(HEALTHY, **change)
    found = check(socket)
    assert found is not None
    status = replace(host(0), http=((socket, http_socket.http_finding(socket)),))
    assert not status.healthy
    text = " ".join(" ".join(status_lines(status, Terminal(columns=80), Reader())).split())
    assert f"http: {found.message}: {found.fix}" in text
    assert status.as_json()["http"][0]["problems"] == [f"{found.message}: {found.fix}"]


def test_status_names_a_healthy_interface() -> None:
    status = replace(host(0), http=((HEALTHY, http_socket.http_finding(HEALTHY)),))
    assert status.healthy
    assert "http: 127.0.0.1:8000 serves daily" in status_lines(status, Terminal(columns=80), Reader())
    assert status.as_json()["http"][0]["problems"] == []

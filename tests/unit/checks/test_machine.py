"""Checks of the machine, for faults that a test cannot create."""

import socket
from pathlib import Path

import pytest

from dify_job.checks import machine
from dify_job.checks.finding import Severity
from dify_job.dify.app_info import AppProbe
from tests.support.host_contexts import context_of, make_job


@pytest.mark.parametrize(
    ("synchronised", "ahead", "level"),
    [
        (True, None, Severity.OK),
        (None, 5.0, Severity.OK),
        (None, None, Severity.OK),
        (False, 1.0, Severity.WARN),
        (True, 61.0, Severity.WARN),
        (True, -3600.0, Severity.WARN),
    ],
)
def test_unsynchronised_or_different_clock_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, synchronised: bool | None, ahead: float | None, level: Severity
) -> None:
    monkeypatch.setattr(machine, "_synchronised", lambda: synchronised)
    assert machine.check_clock(context_of(make_job(), AppProbe(clock_ahead=ahead))).severity is level


def test_cron_job_without_journal_and_syslog_needs_a_log_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_JOURNAL", tmp_path / "none")
    monkeypatch.setattr(machine, "_SYSLOG", tmp_path / "none")

    def check(log_file: Path | None) -> Severity:
        return machine.check_journal(context_of(make_job(log_file=log_file))).severity

    assert check(None) is Severity.WARN
    assert check(tmp_path / "log") is Severity.OK
    assert check(tmp_path / "nowhere" / "log") is Severity.WARN
    monkeypatch.setattr(machine, "_SYSLOG", tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        assert check(None) is Severity.OK
    assert check(None) is Severity.WARN, "only the socket of an ended daemon is left"

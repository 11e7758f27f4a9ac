"""Checks of the machine, for faults that a test cannot create."""

import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from dify_job.checks import machine
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Severity
from dify_job.config.model import Config
from dify_job.dify.app_info import AppProbe
from dify_job.schedulers import systemctl
from dify_job.schedulers.model import Scope
from dify_job.schedulers.systemd import Systemd
from tests.support.host_contexts import NOW, context_of, make_job


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


@pytest.mark.parametrize(
    ("link", "to", "run_as", "message"),
    [
        ("lib/dify-job/daily", "disk/daily", None, "status 238"),
        ("lib/dify-job/daily", "disk/daily", "root", "status 238"),
        ("lib/dify-job/daily", "lib/private/dify-job/daily", None, None),
        ("lib/dify-job", "disk", None, "is a symbolic link, and systemd gives"),
        ("lib/dify-job", "disk", "root", None),
        ("lib/dify-job", "lib/other", None, None),
        ("lib/private/dify-job", "disk", None, None),
    ],
)
def test_link_with_which_systemd_cannot_create_the_state_is_reported(
    link: str,
    to: str,
    run_as: str | None,
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Measured with systemd 252."""
    monkeypatch.setattr("dify_job.state.directories.SYSTEM_BASE", tmp_path / "lib/dify-job")
    monkeypatch.setattr(systemctl, "version", lambda: 252)
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / to).mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / to)
    scheduler = Systemd(Scope.SYSTEM)
    config = Config(path=None, files=(), jobs={})
    context = HostContext(job=make_job(run_as=run_as), config=config, scheduler=scheduler, now=NOW)
    problem = machine.check_state_links(context)
    assert (problem is None) == (message is None)
    if problem is not None:
        assert message is not None
        assert message in problem.message
        for words in (
            str(problem.fix)
            .rpartition("run: " if "run: " in str(problem.fix) else "fstab): ")[2]
            .split(" && ")
        ):
            if not words.removeprefix("sudo ").startswith("mount"):  # needs the rights of root
                subprocess.run(shlex.split(words.removeprefix("sudo ")), check=True)
        assert (tmp_path / link).is_dir()
        assert not (tmp_path / link).is_symlink()

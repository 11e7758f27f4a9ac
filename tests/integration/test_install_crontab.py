"""Installing for cron into crontabs and directories with any content."""

import errno
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dify_job.checks.context import HostContext
from dify_job.checks.service import check_backend
from dify_job.config.model import Config, Job, KeySource
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.schedulers import crond
from dify_job.schedulers.cron import CronFiles
from tests.support.fake_manager import install_programs
from tests.support.home import Home
from tests.support.job_specs import install, job_spec, pause, uninstall


@pytest.mark.parametrize(
    "table",
    [
        b"0 0 * * * a\r\nMAILTO=x\r\n",
        b"0 0 * * * a",
        b"0 0 * * * \0 b\n",
        b"# \xff\xfe\n\xe9 0 * * *\n",
        b"".join(b"%d 1 * * * x\n" % (number % 60) for number in range(10_000)),
        b"SHELL=/usr/bin/fish\nPATH=/x\nMAILTO=me\n0 0 * * * a\n",
        b"CRON_TZ=Asia/Tokyo\n0 0 * * * a\n",
        b'SHELL=/bin/false\nMAILTO=""\n0 0 * * * a\n',
    ],
    ids=["crlf", "no-last-newline", "nul", "not-utf8", "long", "fish", "cron-tz", "no-shell"],
)
def test_unusual_crontab_survives_install_and_uninstall_byte_for_byte(table: bytes, cron_home: Home) -> None:
    cron_home.table.write_bytes(table)
    done = cron_home("install", "--user")
    assert done.code == 0, done.stderr
    installed = cron_home.table.read_bytes()
    block = re.search(rb"# Managed by dify-job.*# End of dify-job job daily\.\n", installed, re.DOTALL)
    assert block is not None
    end = b"" if table.endswith(b"\n") else b"\n"
    assert installed.replace(block[0], b"") == table + end
    if b"CRON_TZ" in table or b"/bin/false" in table:
        assert installed.startswith(block[0])
    assert cron_home("uninstall", "--all", "--user").code == 0
    assert cron_home.table.read_bytes() == table + end


@pytest.mark.parametrize("damage", ["doubled", "half deleted", "of another program"])
def test_damaged_markers_and_crontabs_of_other_programs_are_refused(damage: str, cron_home: Home) -> None:
    cron_home("install", "--user")
    table = cron_home.table.read_bytes()
    match damage:
        case "doubled":
            table += table
        case "half deleted":
            table = b"".join(table.splitlines(keepends=True)[:-1])
        case "of another program":
            table = b"# DO NOT EDIT: written by ansible\n0 0 * * * a\n"
    cron_home.table.write_bytes(table)
    done = cron_home("install", "--user", "--every", "3h")
    assert done.code == 78
    assert "crontab" in done.stderr
    assert cron_home.table.read_bytes() == table


def test_forbidden_crontab_is_not_treated_as_empty(cron_home: Home) -> None:
    home = cron_home
    home.table.write_bytes(b"0 0 * * * mine\n")
    install_programs(
        home.path,
        home.path / "bin",
        crontab_error="You (maria) are not allowed to use this program (crontab)",
    )
    for command in (("install", "--user"), ("pause", "daily", "--user"), ("uninstall", "daily", "--user")):
        done = home(*command)
        assert done.code in (0, 78)
        assert home.table.read_bytes() == b"0 0 * * * mine\n"
    assert "cron.allow and cron.deny" in home("install", "--user").stderr


@pytest.fixture
def cron_d(tmp_path: Path) -> tuple[CronFiles, Path]:
    directory = tmp_path / "cron.d"
    directory.mkdir(mode=0o755)
    scheduler = CronFiles(directory)
    scheduler.base = tmp_path / "state"
    return scheduler, directory


def test_file_in_cron_d_has_a_name_that_every_cron_reads(cron_d: tuple[CronFiles, Path]) -> None:
    scheduler, directory = cron_d
    install(scheduler, job_spec("daily-report_2"))
    (file,) = directory.iterdir()
    assert re.fullmatch("[A-Za-z0-9_-]+", file.name)  # Debian's rule, the strictest (cron(8))
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.read_bytes().endswith(b"\n")


def test_world_writable_cron_d_and_stopped_cron_are_reported(
    cron_d: tuple[CronFiles, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, directory = cron_d
    monkeypatch.setattr("dify_job.schedulers.crond.is_running", lambda: False)
    directory.chmod(0o775)
    (change,) = install(scheduler, job_spec())
    assert any("chmod go-w /etc/cron.d" in note for note in change.notes)
    assert any("the cron daemon does not run" in note for note in change.notes)
    (one,) = scheduler.status()
    assert (one.enabled, one.paused) == (False, False)
    job = Job(name="daily", base_url="", key=KeySource())
    config = Config(path=None, files=(), jobs={})
    found = check_backend(
        HostContext(
            job=job,
            config=config,
            scheduler=scheduler,
            now=datetime.now(UTC),
            installed=((scheduler, one),),
        )
    )
    assert (found.message, found.fix) == ("the cron daemon does not run", crond.start_command())
    assert (change.enabled, change.enable_commands) == (False, (crond.start_command(),))
    pause(scheduler, "daily", paused=True)
    resumed = pause(scheduler, "daily", paused=False)
    assert (resumed.enabled, resumed.enable_commands) == (False, (crond.start_command(),))


@pytest.mark.parametrize(
    ("existing", "booted", "command"),
    [
        ((), True, "apt-get install cron"),
        (("cron", "service"), False, "service cron start"),
        (("cron", "service"), True, "systemctl enable --now cron"),
        (("crond",), True, "systemctl enable --now crond"),
        (("crond",), False, "crond"),
    ],
)
def test_stopped_cron_is_reported_with_the_start_command_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: tuple[str, ...], booted: bool, command: str
) -> None:
    for name in existing:
        (tmp_path / name).touch()
    monkeypatch.setattr(crond, "_SBIN", (tmp_path,))
    monkeypatch.setattr("dify_job.system.subprocesses.found", lambda _: False)
    monkeypatch.setattr("dify_job.schedulers.systemctl.is_booted", lambda: booted)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert crond.start_command() == command
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert crond.start_command() == f"sudo {command}"


def test_pause_and_uninstall_report_a_read_only_cron_d_and_change_nothing(
    cron_d: tuple[CronFiles, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cron, directory = cron_d
    install(cron, job_spec("daily"), job_spec("weekly"))
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    real = os.unlink

    def refuse(*words: Any, **named: Any) -> None:
        if "daily" in str(words[0]):
            return real(*words, **named)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(words[0]))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(JobError, match="Read-only file system; nothing was changed") as refused:
        pause(cron, "weekly", paused=True)
    assert refused.value.outcome is Outcome.CANNOT_WRITE
    monkeypatch.undo()
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(JobError, match="Read-only file system; nothing was changed"):
        uninstall(cron, "daily", "weekly")
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before


def test_symlink_in_cron_d_is_neither_followed_nor_replaced(cron_d: tuple[CronFiles, Path]) -> None:
    scheduler, directory = cron_d
    target = directory.parent / "precious"
    target.write_text("precious")
    (directory / "dify-job-daily").symlink_to(target)
    with pytest.raises(JobError, match="exists and is not dify-job's"):
        install(scheduler, job_spec())
    uninstall(scheduler, "daily")
    assert target.read_text() == "precious"
    assert (directory / "dify-job-daily").is_symlink()

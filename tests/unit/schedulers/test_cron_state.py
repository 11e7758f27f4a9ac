"""The state that cron's install gives to the user of a job, and takes back when the install fails."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from dify_job.config.model import Config
from dify_job.messages.errors import JobError
from dify_job.schedulers import cron, detect, installation, systemctl
from dify_job.schedulers.backend import InstallOptions
from dify_job.schedulers.cron import CronFiles, UserCrontab, _chown_step
from dify_job.schedulers.model import Scope, Unit
from dify_job.schedulers.reconcile import Plan, StateChange, Step, execute
from tests.support.job_specs import job_spec
from tests.support.patience import wait_until
from tests.support.statuses import installed

OWN = pwd.getpwuid(os.geteuid())


def execute_and_fail(job: str) -> None:
    """Execute a plan that gives the state of a job away, and then fails."""

    def fail() -> None:
        raise OSError(28, "No space left on device", "x")

    with pytest.raises(JobError, match="nothing was changed"):
        execute(Plan(steps=(_chown_step(job, OWN.pw_name), Step("fail", fail))), Path("/"))


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lib/dify-job"
    monkeypatch.setattr("dify_job.state.directories.SYSTEM_BASE", path)
    return path


def test_failed_install_removes_the_state_that_it_made(base: Path) -> None:
    execute_and_fail("daily")
    assert list(base.iterdir()) == []


def test_failed_install_puts_the_state_of_a_dynamic_user_back(base: Path) -> None:
    private = base.parent / "private/dify-job/daily"
    private.mkdir(parents=True)
    (private / "last-result.json").touch()
    base.mkdir()
    (base / "daily").symlink_to(Path("../private/dify-job/daily"))
    execute_and_fail("daily")
    assert (base / "daily").readlink() == Path("../private/dify-job/daily")
    assert (private / "last-result.json").exists()


def test_link_without_the_directory_of_the_dynamic_user_is_replaced(base: Path) -> None:
    base.mkdir(parents=True)  # as a restore of only BASE leaves it
    (base / "daily").symlink_to(Path("../private/dify-job/daily"))
    execute_and_fail("daily")
    assert (base / "daily").is_symlink()
    execute(Plan(steps=(_chown_step("daily", OWN.pw_name),)), Path("/"))
    assert (base / "daily").is_dir()
    assert not (base / "daily").is_symlink()


def test_state_of_a_dynamic_user_is_found_after_a_kill_between_two_steps(base: Path) -> None:
    private = base.parent / "private/dify-job/daily"
    private.mkdir(parents=True)
    (private / "in-flight.json").touch()
    base.mkdir()  # the link is removed, and the directory is not moved yet
    execute(Plan(steps=(_chown_step("daily", OWN.pw_name),)), Path("/"))
    assert (base / "daily/in-flight.json").exists(), "a run in progress may be on record"


def test_failed_install_gives_the_state_back_to_its_owner(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "daily").mkdir(parents=True)
    (base / "daily/history.jsonl").touch()
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd((*OWN[:2], 4242, 4243, *OWN[4:])))
    monkeypatch.setattr(os, "chown", lambda name, user, group, **_: given.append((name, user, group)))
    monkeypatch.setattr(os, "fchown", lambda _, user, group: given.append((".", user, group)))
    execute_and_fail("daily")
    mine = OWN.pw_uid, (base / "daily").stat().st_gid
    assert given == [
        ("history.jsonl", 4242, 4243), (".", 4242, 4243), ("history.jsonl", *mine), (".", *mine)
    ]  # fmt: skip


def test_plan_shows_a_state_directory_that_install_gives_to_the_user_of_a_job(
    base: Path, tmp_path: Path
) -> None:
    (tmp_path / "cron.d").mkdir()
    scheduler = CronFiles(tmp_path / "cron.d")
    specs = [job_spec(run_as=OWN.pw_name)]
    shown = StateChange(base / "daily", OWN.pw_name)
    assert shown in scheduler.plan_install(specs, InstallOptions()).changes()
    execute(scheduler.plan_install(specs, InstallOptions()), tmp_path)
    assert (base / "daily").is_dir()
    assert scheduler.plan_install(specs, InstallOptions()).steps == ()


@pytest.mark.parametrize("depth", [1, 3])
def test_new_user_of_a_job_owns_the_directories_of_earlier_outputs(
    base: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = (base / "daily").joinpath(*"abc"[:depth])
    below.mkdir(parents=True)
    (below / "out.json").touch()
    (below / "link").symlink_to("/etc/passwd")
    os.link(below / "out.json", below / "hard-link")
    (below / "second.json").touch()
    given: list[str] = []
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd((*OWN[:2], 4242, 4243, *OWN[4:])))
    monkeypatch.setattr(os, "chown", lambda name, *_, **__: given.append(name))
    monkeypatch.setattr(os, "fchown", lambda *_: given.append("."))
    _chown_step("daily", OWN.pw_name).do()
    assert given == ["second.json", *"." * (depth + 1)]


def test_state_on_another_disk_is_given_to_the_user_of_the_job(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk/daily").mkdir(parents=True)
    base.mkdir(parents=True)
    (base / "daily").symlink_to(tmp_path / "disk/daily")
    given: list[str] = []
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd((*OWN[:2], 4242, 4243, *OWN[4:])))
    monkeypatch.setattr(
        os, "fchown", lambda fd, *_: given.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
    )
    _chown_step("daily", OWN.pw_name).do()
    assert given == [str(tmp_path / "disk/daily")]
    assert (base / "daily").is_symlink()


def test_crontab_of_root_is_one_installation_for_both_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /etc/cron.d, as under busybox; otherwise no job could be installed again."""
    spec = job_spec()
    there = installed(spec.job, scope=Scope.SYSTEM, files={}, source=str(spec.config_path))
    monkeypatch.setattr(installation, "visible", lambda _, scope: (UserCrontab(Scope(scope)),))
    monkeypatch.setattr(
        installation, "find_jobs", lambda backends, _: ([(one, there) for one in backends], None)
    )
    assert list(installation._other_installation_errors(UserCrontab(Scope.SYSTEM), [spec])) == []
    assert list(installation._other_installation_errors(CronFiles(), [spec])) != []


@pytest.mark.parametrize(
    ("directory", "target", "read"),
    [
        (True, None, True),
        (True, "cronie", True),
        (True, "busybox", False),
        (True, "busybox.nosuid", False),
        (False, None, False),
    ],
)
def test_cron_d_is_not_used_with_busybox(
    directory: bool, target: str | None, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "CRON_D", tmp_path / "cron.d")
    monkeypatch.setattr(cron, "_SBIN", (str(tmp_path),))
    if directory:
        (tmp_path / "cron.d").mkdir()
    if target is not None:
        (tmp_path / target).touch()
        (tmp_path / "crond").symlink_to(target)
    assert cron.has_cron_d() is read


def test_daemon_of_bcron_starts_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = tuple(name for name in cron._DAEMONS if name not in cron._PROGRAMS)
    monkeypatch.setattr(cron, "_DAEMONS", others)  # not a cron daemon of this machine
    assert not cron._daemon_runs()
    (tmp_path / "bcron-sched").symlink_to("/bin/sleep")
    daemon = subprocess.Popen([tmp_path / "bcron-sched", "60"])
    try:
        wait_until(cron._daemon_runs)  # the kernel names a process at the end of execve(2)
    finally:
        daemon.kill()
        daemon.wait()


@pytest.mark.parametrize(("state", "runs"), [("active", True), ("inactive", False)])
def test_systemd_cron_starts_jobs_without_a_daemon(
    state: str, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = Unit({"Id": "cron.target", "ActiveState": state})
    monkeypatch.setattr(cron, "_DAEMONS", ())
    monkeypatch.setattr(systemctl, "_BOOTED", tmp_path)
    monkeypatch.setattr("dify_job.system.subprocesses.is_on_path", lambda _: True)
    monkeypatch.setattr(systemctl.Manager, "show", lambda _, names: dict.fromkeys(names, unit))
    assert cron.is_running() is runs


@pytest.mark.parametrize(
    ("user", "path", "cron_d", "hidden"),
    [
        (1000, "/etc/dify-job/config.toml", False, True),
        (1000, "/etc/dify-job/config.toml", True, False),
        (1000, "/home/maria/.config/dify-job/config.toml", False, False),
        (0, "/etc/dify-job/config.toml", False, False),
    ],
)
def test_user_without_access_to_roots_crontab_cannot_see_whether_a_job_is_installed(
    user: int, path: str, cron_d: bool, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(detect, "has_cron_d", lambda: cron_d)
    monkeypatch.setattr("dify_job.system.subprocesses.is_on_path", lambda _: True)
    error = detect.hidden_jobs_error(Config(path=Path(path), files=(), jobs={}))
    assert (error is not None) is hidden

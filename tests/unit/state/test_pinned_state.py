import os
from dataclasses import replace
from pathlib import Path

import pytest

from dify_job.messages.errors import JobError
from dify_job.schedulers import installation
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.model import Scope
from dify_job.schedulers.reconcile import Step, execute
from dify_job.state import directories
from dify_job.system import subprocesses, user
from tests.support.statuses import installed


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(user, "account_home", lambda: tmp_path / "home")
    return tmp_path / "home"


def test_state_of_an_installed_job_does_not_follow_the_shell(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories.pin("daily")
    place = home / ".local/state/dify-job/daily"
    assert directories.directory_of("daily", None) == place
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "elsewhere"))
    assert directories.directory_of("daily", None) == directories.pinned_elsewhere("daily") == place
    assert directories.directory_of("other", None) == home / "elsewhere/dify-job/other"
    directories.unpin("daily")
    assert directories.directory_of("daily", None) == home / "elsewhere/dify-job/daily"


def test_unit_finds_the_state_that_the_installing_shell_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "mine"))
    directories.pin("daily")
    here = directories.directory_of("daily", None)
    assert directories.pinned_elsewhere("daily") is None
    monkeypatch.delenv("XDG_STATE_HOME")
    assert directories.directory_of("daily", None).samefile(here)
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "third"))
    assert directories.directory_of("daily", None).samefile(here)
    monkeypatch.setenv("HOME", "/nonexistent")
    assert directories.directory_of("daily", None).samefile(here)
    for place in directories.directories_of("daily", directories.base_of(system=False)):
        assert place.is_relative_to(home) or not place.exists()
    assert here.resolve() in directories.directories_of("daily", directories.base_of(system=False))


def test_earlier_state_directory_is_still_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = home / ".local/state/dify-job/daily"
    plain.mkdir(parents=True)
    (plain / "history.jsonl").write_text("{}\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "mine"))
    directories.pin("daily")
    assert (directories.directory_of("daily", None) / "history.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize("value", ["relative", "~/state", "", "."])
def test_relative_values_are_ignored(home: Path, value: str) -> None:
    assert user.state_home({"XDG_STATE_HOME": value}) == home / ".local/state"
    assert user.config_home({"XDG_CONFIG_HOME": value}) == home / ".config"


@pytest.mark.usefixtures("home")
def test_failed_uninstall_leaves_the_state_of_the_job_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    directories.pin("daily")
    monkeypatch.setattr(subprocesses, "is_on_path", lambda _: False)
    scheduler = UserCrontab(Scope.USER)
    jobs = [installed(name, scope=Scope.USER, files={}, source="") for name in ("daily", "other")]
    plan = installation.plan_uninstall(scheduler, jobs)
    assert [step.name for step in plan.steps][:1] == ["unpin the state"]
    assert [step.name for step in plan.steps].count("unpin the state") == 1, "other is not pinned"

    def fail() -> None:
        assert not directories.is_pinned("daily")
        raise OSError(30, "Read-only file system", "x")

    with pytest.raises(JobError, match="nothing was changed"):
        execute(replace(plan, steps=(*plan.steps, Step("fail", fail))), Path("/"))
    assert directories.is_pinned("daily")
    execute(plan, Path("/"))
    assert not directories.is_pinned("daily")


def test_home_in_which_the_state_cannot_be_pinned_fails_the_install(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A scheduled run has no XDG_STATE_HOME, and would find no state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    monkeypatch.setattr(user, "account_home", lambda: Path("/dev/null/nowhere"))
    directories.pin("daily")  # of an account without a home, which may be that of a service manager
    monkeypatch.setattr(user, "account_home", lambda: home)
    (home / ".local/state/dify-job/daily").unlink()
    (home / ".local/state/dify-job").rmdir()
    (home / ".local/state/dify-job").touch()
    with pytest.raises(FileExistsError):
        directories.pin("weekly")

"""Simultaneous installs and uninstalls."""

import subprocess
import sys
from pathlib import Path

import pytest

from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.system import transaction
from tests.support.home import Home


def test_simultaneous_installs_and_uninstalls_leave_all_files_or_none(home: Home) -> None:
    home.first = "from dify_job.system import transaction; transaction._LOCK_WAIT = 110.0"
    words = [["install", "--user", "--every", f"{hours}h"] for hours in (1, 2, 3, 4)]
    words += [["uninstall", "--all", "--user"], ["uninstall", "--all", "--user"], ["install", "--user"]]
    started = [subprocess.Popen([*home.command, *each], env=home.environ, cwd=home.path) for each in words]
    assert {process.wait() for process in started} <= {0, 78}
    kind = {path.suffix for path in home.manager.units.glob("dify-job-*")}
    assert kind in (set(), {".service", ".timer"})
    assert home.manager.active() == ({"dify-job-daily.timer"} if kind else set())
    assert home("install", "--user", "--every", "2h", "--start").code == 0
    assert home("install", "--user", "--check").code == 0
    assert home("status", "--user", "--json").result["jobs"][0]["sync"] == "as configured"
    assert home.manager.runs() == []
    assert not list(home.path.rglob(".*.new"))


def test_second_install_waits_and_then_reports_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "_LOCK_WAIT", 0.2)
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import sys, pathlib; from dify_job.system import transaction\n"
                "with transaction.locked(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
            ),
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    held.stdout.readline()
    with (
        pytest.raises(JobError, match="another install or uninstall is in progress") as busy,
        transaction.locked(tmp_path),
    ):
        pass
    assert busy.value.outcome is Outcome.BUSY
    held.communicate(b"")
    with transaction.locked(tmp_path):
        pass


def test_simultaneous_locks_create_and_remove_the_lock_directory(
    tmp_path: Path,
) -> None:
    program = (
        "import sys, pathlib; from dify_job.system import transaction\n"
        "for _ in range(200):\n"
        "    with transaction.locked(pathlib.Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "base")]
    many = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    assert [error for one in many if (error := one.communicate()[1])] == []
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_path_that_is_no_directory_is_reported_without_waiting(kind: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.touch() if kind == "file" else base.symlink_to("nowhere")
    with pytest.raises(JobError, match=r"install\.lock cannot be opened"), transaction.locked(base):
        pass


def test_file_system_without_new_directories_is_reported(home: Home) -> None:
    """In procfs, mkdir answers like a directory that was just removed."""
    env = {"XDG_STATE_HOME": "/proc", "HOME": "/proc"}
    home.first = "from dify_job.state import directories; directories.SYSTEM_BASE = Path('/proc/dify-job')"
    done = home("install", "--user", env=env)
    assert done.code == 73, done.stderr
    assert "No such file or directory" in done.stderr

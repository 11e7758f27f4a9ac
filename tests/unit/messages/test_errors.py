"""Hints about what stands in the place of a directory can be followed without harm."""

import errno
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from dify_job.messages.command import Reader, for_reader
from dify_job.messages.errors import obstacle_hint


def hint_for(path: Path) -> str:
    try:
        path.mkdir(parents=True)
    except OSError as error:
        return str(for_reader(obstacle_hint(error, path, "otherwise"), Reader(lacks_root=True)))
    raise AssertionError("nothing is in the way")


def test_device_is_never_moved() -> None:
    assert hint_for(Path("/dev/null/.local/state")) == "otherwise"
    assert hint_for(Path("/dev/null")) == "otherwise"


def test_file_that_the_caller_cannot_move_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != Path("/etc"))
    assert hint_for(Path("/etc/passwd/.local/state")) == "otherwise"


@pytest.mark.parametrize("kind", ["file", "fifo", "link to a file", "dangling link"])
def test_hint_makes_room(kind: str, tmp_path: Path) -> None:
    obstacle, wanted = tmp_path / "a b", tmp_path / "a b/state"
    match kind:
        case "file":
            obstacle.touch()
        case "fifo":
            os.mkfifo(obstacle)
        case "link to a file":
            obstacle.symlink_to("/etc/passwd")
        case _:
            obstacle.symlink_to(tmp_path / "unmounted/disk")
    hint = hint_for(wanted)
    if kind == "dangling link":
        assert hint.startswith(
            f"{obstacle} is a symbolic link to {tmp_path}/unmounted/disk, which does not exist"
        )
    subprocess.run(shlex.split(hint.rpartition("it: ")[2]), check=True)
    wanted.mkdir(parents=True)


def test_hint_for_a_read_only_file_system_names_the_path_that_was_not_written(tmp_path: Path) -> None:
    (tmp_path / "config.d").mkdir()
    error = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "config.d/daily.toml"))
    assert str(obstacle_hint(error, Path("/var/spool/cron"), "")).endswith(f"findmnt -T {tmp_path}/config.d")

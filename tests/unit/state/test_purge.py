"""Purging removes all state of a job, and nothing else."""

import os
from pathlib import Path

import pytest

from dify_job.messages.errors import JobError
from dify_job.state.purge import purge_state

_DEPTH = 1500  # beyond the recursion limit


def purge(base: Path, *jobs: str) -> list[str]:
    lines: list[str] = []
    purge_state(base, jobs, (), lines.append)
    return lines


def nest(directory: Path, depth: int) -> None:
    """Create directories in directories, by descriptor: the path becomes too long."""
    at = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(at)
        at = below
    os.close(at)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "lib/dify-job"
    (path / "daily").mkdir(parents=True)
    (path / "daily/history.jsonl").touch()
    return path


def test_state_with_deeply_nested_directories_is_removed(base: Path, tmp_path: Path) -> None:
    nest(base / "daily", _DEPTH)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (base / "daily/link").symlink_to(elsewhere)
    assert purge(base, "daily") == [f"  removed {base / 'daily'}"]
    assert not (base / "daily").exists()
    assert (elsewhere / "file").exists()


def test_entry_that_cannot_be_removed_is_named_and_the_others_are_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "stays", "z"):
        (base / "daily" / name).touch()
    plain = os.unlink

    def unlink(name: str, *, dir_fd: int | None = None) -> None:
        if name == "stays":
            raise PermissionError(1, "Operation not permitted", name)
        plain(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(JobError, match=r"daily/stays could not be removed: Operation not permitted"):
        purge(base, "daily")
    assert [path.name for path in (base / "daily").iterdir()] == ["stays"]


def test_other_files_of_a_directory_that_an_administrator_linked_to_stay(base: Path, tmp_path: Path) -> None:
    shared, big = tmp_path / "shared", tmp_path / "big"
    (base / "daily").rename(shared)
    (base / "daily").symlink_to(shared)
    (shared / "mine.txt").touch()
    big.mkdir()
    (big / "lock").touch()
    (base / "weekly").symlink_to(big)
    assert purge(base, "daily", "weekly")[-1] == f"  removed {big}"
    assert [path.name for path in shared.iterdir()] == ["mine.txt"]
    assert not os.path.lexists(base / "daily")
    assert not big.exists()


def test_state_of_a_dynamic_user_is_removed_with_its_link(base: Path) -> None:
    private = base.parent / "private/dify-job"
    private.mkdir(parents=True)
    (base / "daily").rename(private / "daily")
    (base / "daily").symlink_to(Path("../private/dify-job/daily"))
    (private / "daily/out").mkdir()
    purge(base, "daily")
    assert not private.exists()
    assert not os.path.lexists(base / "daily")


def test_state_of_dynamic_users_on_another_disk_is_removed(base: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (base.parent / "private").mkdir()
    (base.parent / "private/dify-job").symlink_to(tmp_path / "disk")
    (base / "daily").rename(tmp_path / "disk/daily")
    (base / "daily").symlink_to(Path("../private/dify-job/daily"))
    purge(base, "daily")
    assert list((tmp_path / "disk").iterdir()) == []
    assert not os.path.lexists(base / "daily")

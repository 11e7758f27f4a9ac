"""Atomic writes in an opened directory, with the right permissions at any time."""

import contextlib
import errno
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dify_job.state.store import JobState
from dify_job.system.secure_dir import Directory, open_path
from dify_job.system.transaction import FileChange, FileTransaction

USER = 1234


def test_new_file_is_never_more_readable_than_its_final_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = []
    fchmod = os.fchmod

    def seen(fd: int, mode: int) -> None:
        before.append(stat.S_IMODE(os.fstat(fd).st_mode))
        fchmod(fd, mode)

    monkeypatch.setattr(os, "fchmod", seen)
    with contextlib.closing(Directory(tmp_path)) as directory, directory.replacing("x", 0o600) as file:
        file.write(b"private")
    assert [mode & 0o077 for mode in before] == [0]
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["x" * 255, "报" * 85])
def test_file_with_the_longest_possible_name_can_be_replaced(name: str, tmp_path: Path) -> None:
    for text in (b"old", b"new"):
        with contextlib.closing(Directory(tmp_path)) as directory, directory.replacing(name) as file:
            file.write(text)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"new")]


def test_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with contextlib.closing(Directory(tmp_path)) as directory:
        writing = directory.replacing("x")
        with pytest.raises(TypeError), writing as file:
            file.writelines([b"half", "then it breaks"])  # type: ignore[list-item] # raises the error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


def test_simultaneous_writes_leave_one_complete_file(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: state.write("x.json", json.dumps([n] * 500)), range(200)))
    assert len(set(json.loads((tmp_path / "x.json").read_text()))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_error_names_the_file_and_not_its_temporary_name() -> None:
    path = Path("/proc/dify-job")
    with pytest.raises(OSError, match="Errno") as refused:
        FileTransaction().put(path, b"")
    assert refused.value.filename == str(path)
    with pytest.raises(OSError, match="Errno") as refused:
        FileTransaction().apply([FileChange(path=path, before=None, after=b"")])
    assert refused.value.filename == str(path)
    with pytest.raises(OSError, match="Errno") as refused:
        FileTransaction().remove(Path("/proc/version"))
    assert refused.value.filename == "/proc/version"


@pytest.mark.parametrize(
    ("target", "replaceable"),
    [
        ("/proc/self/fd/1", False),  # /dev/stdout
        ("/proc/self/fd/99", False),
        ("/dev/null", False),
        ("pipe", False),
        ("file", True),
        (".", True),
        ("nowhere", True),
    ],
)
def test_link_is_replaced_unless_it_leads_to_a_device_or_a_descriptor(
    target: str, replaceable: bool, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(target)
    with contextlib.closing(Directory(tmp_path)) as directory:
        if replaceable:
            with directory.replacing("link") as file:
                file.write(b"new")
            assert not (tmp_path / "link").is_symlink()
        else:
            with pytest.raises(OSError, match="not a regular file"), directory.replacing("link"):
                pass
            assert str((tmp_path / "link").readlink()) == target
    assert (tmp_path / "file").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "pipe", "link"}


def test_owner_of_a_file_is_changed_only_if_it_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit of a job that runs as root may not call chown, not even without a change."""
    calls: list[int] = []
    monkeypatch.setattr("os.fchown", lambda *call: calls.append(call[0]))
    with contextlib.closing(Directory(tmp_path, untrusted_owner=True)) as directory:
        directory.enter("below")
        with directory.replacing("file") as file:
            file.write(b"new")
    assert calls == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_root_follows_a_link_of_another_user_only_to_what_belongs_to_that_user(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private/shadow").write_text("secret")
    (tmp_path / "other").mkdir()
    os.chown(tmp_path / "other", USER, USER)
    (tmp_path / "of-root").symlink_to("private")
    for name, target in (("of-user", "private"), ("nested", "of-user"), ("to-other", "other")):
        (tmp_path / name).symlink_to(tmp_path / target)
        os.chown(tmp_path / name, USER, USER, follow_symlinks=False)
    for name in ("of-root", "of-root/../private", "to-other"):
        Directory(tmp_path / name).close()
    os.close(open_path(tmp_path / "of-root/shadow", os.O_RDONLY))
    for name in ("of-user", "nested", "of-user/shadow", "to-other/../private"):
        link = tmp_path / name.split("/")[0]
        with pytest.raises(PermissionError, match=f"{link} is a symbolic link of user 1234") as refused:
            open_path(tmp_path / name, os.O_RDONLY)
        assert refused.value.filename == str(tmp_path / name)
    (tmp_path / "loop").symlink_to("loop")
    for name, number in (("loop", errno.ELOOP), ("of-root/shadow/x", errno.ENOTDIR), ("x", errno.ENOENT)):
        with pytest.raises(OSError, match="Errno") as failed:
            open_path(tmp_path / name, os.O_RDONLY)
        assert failed.value.errno == number

"""Access of a service user, tested as that user, including access control lists."""

import errno
import os
import pwd
import stat
import struct
import time
from pathlib import Path

import pytest

from dify_job.schedulers import access

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
SERVICE_USER = pwd.getpwnam("daemon")
USER = access.Account("daemon", SERVICE_USER.pw_uid, frozenset({SERVICE_USER.pw_gid}))
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 1, 2, 4, 16, 32  # <linux/posix_acl.h>
_NO_ID = 0xFFFFFFFF


def give_acl(path: Path, uid: int, mode: int) -> None:
    """Set an access control list like `setfacl -m u:UID:MODE` (acl(5))."""
    own = path.stat().st_mode
    entries = [
        (_USER_OBJ, own >> 6 & 7, _NO_ID),
        (_USER, mode, uid),
        (_GROUP_OBJ, own >> 3 & 7, _NO_ID),
        (_MASK, 7, _NO_ID),
        (_OTHER, own & 7, _NO_ID),
    ]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip(f"the file system has no access control lists: {error.strerror}")


def test_access_control_list_can_grant_access(open_directory: Path) -> None:
    file = open_directory / "input.pdf"
    file.touch(0o600)
    why = access.access_error(file, USER, os.R_OK)
    assert why == f"{file} has mode 0600 and belongs to root"
    give_acl(file, SERVICE_USER.pw_uid, 4)
    assert access.access_error(file, USER, os.R_OK) is None
    assert access.access_error(file, USER, os.W_OK) is not None
    assert access.access_error(file, access.DYNAMIC, os.R_OK) is not None


def test_access_control_list_can_deny_access(open_directory: Path) -> None:
    below = open_directory / "closed"
    below.mkdir(0o755)
    file = below / "input.pdf"
    file.touch(0o644)
    assert access.access_error(file, USER, os.R_OK) is None
    give_acl(below, SERVICE_USER.pw_uid, 0)
    why = access.access_error(file, USER, os.R_OK)
    assert why == f"the access control list (ACL) or the file system denies access to {below}"


def own_access_error(path: Path, need: int) -> str | None:
    """Return access_error of the service user about itself, in a process of this user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(SERVICE_USER.pw_gid)
        os.setuid(SERVICE_USER.pw_uid)
        os.write(writer, str(access.access_error(path, access.calling_account(), need) or "").encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as answer:
        return answer.read() or None


def test_access_control_list_counts_for_the_calling_user(open_directory: Path) -> None:
    file = open_directory / "input.pdf"
    file.touch(0o600)
    assert own_access_error(file, os.R_OK) == f"{file} has mode 0600 and belongs to root"
    give_acl(file, SERVICE_USER.pw_uid, 4)
    assert own_access_error(file, os.R_OK) is None
    assert own_access_error(file, os.W_OK) is not None
    closed = open_directory / "closed"
    closed.mkdir(0o755)
    give_acl(closed, SERVICE_USER.pw_uid, 0)
    why = own_access_error(closed / "x", os.R_OK)
    assert why == f"the access control list (ACL) or the file system denies access to {closed}"


def test_symlink_into_a_closed_directory_names_that_directory(open_directory: Path) -> None:
    closed = open_directory / "closed"
    closed.mkdir(0o700)
    (closed / "python").touch(0o755)
    link = open_directory / "python"
    link.symlink_to(closed / "python")
    assert access.access_error(link, USER, os.X_OK) == f"{closed} has mode 0700 and belongs to root"
    (open_directory / "venv").symlink_to(closed)
    why = access.access_error(open_directory / "venv/python", USER, os.X_OK)
    assert why == f"{closed} has mode 0700 and belongs to root"


def test_dynamic_user_is_in_no_group_and_owns_nothing(open_directory: Path) -> None:
    file = open_directory / "input.pdf"
    file.touch(0o640)
    os.chown(file, 0, SERVICE_USER.pw_gid)
    assert access.access_error(file, USER, os.R_OK) is None
    assert access.access_error(file, access.Account("dynamic", None), os.R_OK) is not None
    file.chmod(0o644)
    assert access.access_error(file, access.Account("dynamic", None), os.R_OK) is None


def test_checks_of_a_session_use_one_process_per_user(open_directory: Path) -> None:
    file = open_directory / "input.pdf"
    file.touch(0o644)
    other = access.Account("dynamic", None)
    before = set(Path("/proc/self/fd").iterdir())
    began = time.process_time()
    with access.shared_probes() as children:
        for _ in range(500):
            assert access.access_error(file, USER, os.R_OK) is None
            assert access.access_error(file, other, os.W_OK) is not None
        pids = [child._pid for child in children.values()]
        assert len(pids) == 2
    assert time.process_time() - began < 5
    assert set(Path("/proc/self/fd").iterdir()) == before
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_modes_are_compared_if_the_user_cannot_be_switched(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_groups: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setgroups", refuse)
    file = open_directory / "input.pdf"
    file.touch(0o600)
    assert access.access_error(file, USER, os.R_OK) == f"{file} has mode 0600 and belongs to root"
    file.chmod(stat.S_IRUSR | stat.S_IROTH)
    assert access.access_error(file, USER, os.R_OK) is None


def test_modes_are_compared_if_no_process_can_be_started(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", full)
    file = open_directory / "input.pdf"
    file.touch(0o600)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    assert access.access_error(file, USER, os.R_OK) == f"{file} has mode 0600 and belongs to root"
    file.chmod(0o604)
    assert access.access_error(file, USER, os.R_OK) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors

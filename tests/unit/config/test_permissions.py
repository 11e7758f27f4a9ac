"""Files that others can write: a group without other members does not count as others."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from dify_job.config.permissions import check_secret_path, directories_error, file_error
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError

OWNER, OTHER, GROUP = 61000, 61001, 62000


class Accounts:
    """Fake users and groups of the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.users = {"dana": (OWNER, GROUP), "eve": (OTHER, OTHER), "root": (0, 0)}
        self.group, self.members = "dana", list[str]()
        monkeypatch.setattr(grp, "getgrgid", self._group)
        monkeypatch.setattr(pwd, "getpwnam", self._user)
        monkeypatch.setattr(pwd, "getpwall", lambda: [self._user(name) for name in self.users])
        monkeypatch.setattr(
            pwd, "getpwuid", lambda uid: next(one for one in pwd.getpwall() if one.pw_uid == uid)
        )

    def _group(self, gid: int) -> grp.struct_group:
        if gid != GROUP:
            raise KeyError(gid)
        return grp.struct_group((self.group, "x", gid, self.members))

    def _user(self, name: str) -> pwd.struct_passwd:
        uid, gid = self.users[name]
        return pwd.struct_passwd((name, "x", uid, gid, "", "/home", "/bin/sh"))


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setattr(os, "geteuid", lambda: OWNER)
    return Accounts(monkeypatch)


def fault(tmp_path: Path, mode: int, *, private: bool = False) -> str | None:
    path = tmp_path / "file"
    path.touch()
    real = path.stat()
    values = list(real)
    values[0], values[4], values[5] = (real.st_mode & ~0o7777) | mode, OWNER, GROUP
    return file_error(path, os.stat_result(values), path, private=private)


@pytest.mark.parametrize("mode", [0o664, 0o660, 0o644])
def test_private_group_can_write(accounts: Accounts, tmp_path: Path, mode: int) -> None:
    accounts.members = ["dana", "root"]
    assert fault(tmp_path, mode) is None


def test_world_writable_is_rejected(accounts: Accounts, tmp_path: Path) -> None:
    assert accounts.members == []
    assert (fault(tmp_path, 0o666) or "").endswith("can be changed by other users")


def test_group_with_another_member_counts_as_others(accounts: Accounts, tmp_path: Path) -> None:
    accounts.members = ["eve"]
    assert (fault(tmp_path, 0o664) or "").endswith("can be changed by other users")
    accounts.members = ["unknown-user"]
    assert (fault(tmp_path, 0o664) or "").endswith("can be changed by other users")


def test_primary_group_of_another_user_counts_as_others(accounts: Accounts, tmp_path: Path) -> None:
    accounts.users["eve"] = (OTHER, GROUP)
    assert (fault(tmp_path, 0o664) or "").endswith("can be changed by other users")


def test_primary_group_of_another_name_counts_as_others(accounts: Accounts, tmp_path: Path) -> None:
    accounts.group = "domain users"
    assert (fault(tmp_path, 0o664) or "").endswith("can be changed by other users")
    accounts.users["dana"] = (OWNER, 61000)  # not the primary group, so /etc/group lists all members
    accounts.members = ["dana"]
    assert fault(tmp_path, 0o664) is None


def test_access_control_list_counts_as_others(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounts.members == []
    monkeypatch.setattr(os, "listxattr", lambda _: ["system.posix_acl_access"])
    assert (fault(tmp_path, 0o664) or "").endswith("can be changed by other users")


def test_private_file_must_not_be_group_readable(accounts: Accounts, tmp_path: Path) -> None:
    assert accounts.members == []
    assert (fault(tmp_path, 0o640, private=True) or "").endswith("can be read by other users")
    assert fault(tmp_path, 0o600, private=True) is None


def test_directory_in_which_a_key_can_be_replaced_is_rejected_with_a_fix(tmp_path: Path) -> None:
    place = tmp_path / "open dir"
    place.mkdir()
    place.chmod(0o777)
    key = place / "not yet there" / "a.key"
    assert "other users can change files" in str(directories_error(key))
    with pytest.raises(JobError) as raised:
        check_secret_path(key)
    assert raised.value.outcome is Outcome.CONFIG
    assert f"chmod go-w '{place}'" in str(raised.value.hint)
    place.chmod(0o1777)
    check_secret_path(key)

"""Fixes for files with wrong permissions never take a file from its owner."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dify_job.config import permissions
from dify_job.config.permissions import permission_fix
from dify_job.messages.command import Command, Reader, for_reader

DANA = 4242


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home directory of the user dana, who owns all files in it."""
    place = tmp_path / "dana"
    place.mkdir()
    plain = Path.stat

    def stat(path: Path, **options: Any) -> Any:
        found = plain(path, **options)
        if not path.is_relative_to(place):
            return SimpleNamespace(st_mode=found.st_mode, st_uid=0, st_gid=0)
        return SimpleNamespace(st_mode=found.st_mode, st_uid=DANA, st_gid=DANA)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(
        pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir=str(place if uid == DANA else "/"))
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return place


def test_fix_for_a_key_in_another_home_is_a_copy(home: Path) -> None:
    key = home / "k.key"
    key.write_text("app-x")
    fix = permission_fix(key, private=True)
    assert f"install -D -m 600 {key} /etc/dify-job/credentials/k.key" in fix
    assert "chown" not in fix
    assert "chmod" not in fix


def test_fix_never_changes_the_owner_of_a_home(home: Path) -> None:
    key = home / "k.key"
    key.write_text("app-x")
    key.chmod(0o600)
    assert "chown" not in permission_fix(key, private=True, user=DANA)


@pytest.mark.parametrize("private", [True, False])
def test_fix_for_a_mounted_secret_is_a_mount_option(
    private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "_SECRET_MOUNTS", (tmp_path,))
    secret = tmp_path / "api_key"
    secret.write_text("app-x")
    secret.chmod(0o644)
    fix = permission_fix(secret, private=private)
    assert "chmod" not in fix
    assert "mode 0400" in fix


def test_fix_for_an_own_file_is_one_chmod(tmp_path: Path) -> None:
    key = tmp_path / "a b.key"
    key.write_text("app-x")
    key.chmod(0o644)
    fix = permission_fix(key, private=True)
    assert isinstance(fix, Command)
    assert str(for_reader(fix, Reader(lacks_root=True))) == f"chmod 600 '{key}'"


@pytest.mark.parametrize(
    ("taken", "copy"),
    [
        (set(), "k.key"),
        ({"k.key"}, "k-2.key"),
        ({"k.key", "k-2.key"}, "k-3.key"),
    ],
)
def test_copy_replaces_no_file(
    taken: set[str], copy: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = "/etc/dify-job/credentials"
    monkeypatch.setattr(
        os.path, "lexists", lambda path: str(path) in {f"{directory}/{name}" for name in taken}
    )
    key = home / "k.key"
    key.write_text("app-x")
    assert f"install -D -m 600 {key} {directory}/{copy}" in permission_fix(key, private=True)


@pytest.mark.parametrize("private", [True, False])
def test_link_of_root_into_another_home_is_replaced_with_a_copy(
    private: bool, home: Path, tmp_path: Path
) -> None:
    file, link = home / "k", tmp_path / "daily.key"
    file.write_text("app-x")
    file.chmod(0o600)
    link.symlink_to(file)
    fix = permission_fix(link, private=private)
    assert f"cp --remove-destination {file} {link}" in fix
    assert "chown" not in fix

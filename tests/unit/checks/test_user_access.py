"""Access of a job's user to program, configuration and secrets."""

import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dify_job.checks.user_access import denied_access, grant_access_command
from dify_job.schedulers import access
from tests.support.job_specs import job_spec

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
SERVICE_USER = pwd.getpwnam("daemon")
USER = access.Account("daemon", SERVICE_USER.pw_uid, frozenset({SERVICE_USER.pw_gid}))


def test_config_that_install_will_write_counts_as_accessible(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "PRIVATE_TMP", ())
    python = Path("/usr/bin/env")  # exists on every machine, and is not this interpreter
    spec = job_spec(python=python, config_path=open_directory / "dify-job/config.toml")
    key = replace(spec, key_file=open_directory / "dify-job/credentials/daily.key")
    root = replace(access.ROOT, confined=True)
    assert denied_access(spec, access.DYNAMIC, key_by_manager=True) is None
    assert denied_access(key, access.DYNAMIC, key_by_manager=True) is None
    assert denied_access(key, root, key_by_manager=False) is None
    denied = denied_access(key, USER, key_by_manager=False)
    assert denied is not None
    assert denied.message.startswith("daemon has no access to the API key file")
    open_directory.chmod(0o700)
    denied = denied_access(spec, access.DYNAMIC, key_by_manager=True)
    assert denied is not None
    assert "has no access to the configuration file" in denied.message
    assert "chmod a+rx" in (denied.fix or "")


@pytest.mark.parametrize("named", ["ca_file", "secrets", "key_file"])
def test_unreadable_file_is_reported(
    named: str, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "PRIVATE_TMP", ())
    file = open_directory / "file"
    file.touch(0o600)
    spec = job_spec(python=Path("/usr/bin/env"), config_path=Path("/etc/hostname"))
    value: Any = (("notify-x", file),) if named == "secrets" else file
    spec = replace(spec, **{named: value})
    denied = denied_access(spec, USER, key_by_manager=False)
    assert denied is not None
    assert f"{file} has mode 0600 and belongs to root" in denied.message
    by_manager = denied_access(spec, USER, key_by_manager=True)
    assert (by_manager is None) == (named != "ca_file")
    file.chmod(0o644)
    assert denied_access(spec, USER, key_by_manager=False) is None


@pytest.mark.parametrize("named", ["secrets", "key_file"])
def test_file_that_systemd_reads_as_root_must_not_be_in_a_directory_of_the_jobs_user(
    named: str, open_directory: Path
) -> None:
    place = open_directory / "keys"
    place.mkdir()
    file = place / "daily.key"
    file.touch(0o600)
    spec = job_spec(python=Path("/usr/bin/env"), config_path=Path("/etc/hostname"))
    value: Any = (("notify-x", file),) if named == "secrets" else file
    spec = replace(spec, **{named: value})
    os.chown(file, SERVICE_USER.pw_uid, -1)
    assert denied_access(spec, USER, key_by_manager=True) is None
    os.chown(place, SERVICE_USER.pw_uid, -1)
    denied = denied_access(spec, USER, key_by_manager=True)
    assert denied is not None
    assert f"systemd reads {file} as root" in denied.message


def test_encrypted_key_is_only_for_root_and_systemd() -> None:
    spec = job_spec(
        python=Path("/usr/bin/env"), config_path=Path("/etc/hostname"), key_credential=Path("/etc/hostname")
    )
    assert denied_access(spec, access.ROOT, key_by_manager=False) is None
    assert denied_access(spec, USER, key_by_manager=True) is None
    denied = denied_access(spec, USER, key_by_manager=False)
    assert denied is not None
    assert "daemon cannot decrypt the API key" in denied.message


def test_command_grants_access_only_where_it_harms_nobody(open_directory: Path) -> None:
    place = open_directory / "jobs" / "daily"
    place.mkdir(parents=True)
    file = place / "input.txt"
    file.touch(0o600)
    assert str(grant_access_command(file, USER, os.R_OK)) == f"chmod a+r {file}"
    assert str(grant_access_command(place, USER, os.W_OK)) == f"chown daemon {place}"
    place.parent.chmod(0o700)
    assert str(grant_access_command(file, USER, os.R_OK)) == f"chmod a+x {place.parent}"
    assert grant_access_command(file, access.DYNAMIC, os.W_OK) is None, "another user at each run"
    assert grant_access_command(Path("/etc/shadow"), USER, os.R_OK) is None
    assert grant_access_command(Path("/srv"), USER, os.W_OK) is None, "it is everybody's"

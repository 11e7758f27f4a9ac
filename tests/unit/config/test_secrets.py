"""Sources of the API key, and permissions of key files."""

import os
import subprocess
from pathlib import Path

import pytest

from dify_job.config.loader import load_config
from dify_job.config.model import Job, KeySource, Secret
from dify_job.config.secrets import check_key, read_key
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "k.key"
    path.write_text("app-secret-canary-1\n")
    path.chmod(0o600)
    return path


def job_with(file: Path) -> Job:
    return Job(name="a", base_url="http://localhost/v1", key=KeySource(file=file))


def test_key_file_is_read(key_file: Path) -> None:
    assert read_key(job_with(key_file), {}) == Secret("app-secret-canary-1")


@pytest.mark.parametrize("place", ["file", "credential"])
def test_byte_order_mark_is_no_part_of_the_key(key_file: Path, place: str) -> None:
    content = "\ufeffapp-secret-canary-1\r\n".encode()
    key_file.write_bytes(content)
    environ = {}
    if place == "credential":
        (key_file.parent / "api_key").write_bytes(content)
        environ["CREDENTIALS_DIRECTORY"] = str(key_file.parent)
    assert read_key(job_with(key_file), environ) == Secret("app-secret-canary-1")


def test_credential_overrides_the_key_file_and_its_mode_is_not_checked(
    key_file: Path, tmp_path: Path
) -> None:
    credential = tmp_path / "credentials" / "dify-job.a.api_key"
    credential.parent.mkdir()
    credential.write_text("app-credential")
    credential.chmod(0o644)
    environ = {"CREDENTIALS_DIRECTORY": str(credential.parent)}
    assert read_key(job_with(key_file), environ).reveal() == "app-credential"


@pytest.mark.parametrize("name", ["dify-job.a.api_key", "api_key"])
def test_unreadable_credential_is_an_error_without_fallback(
    key_file: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "credentials" / name).mkdir(parents=True)
    with pytest.raises(JobError, match=f"credentials/{name} cannot be read: Is a directory"):
        read_key(job_with(key_file), {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})


def _readable(path: Path) -> None:
    path.chmod(0o644)


def _in_open_directory(path: Path) -> None:
    path.parent.chmod(0o777)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_readable, "can be read by other users"),
        (_in_open_directory, "other users can change files"),
        (_fifo, "not a regular file"),
        (_directory, "not a regular file"),
        (_missing, "No such file"),
    ],
)
def test_key_file_that_is_not_private_is_rejected(key_file: Path, spoil: object, words: str) -> None:
    assert callable(spoil)
    spoil(key_file)
    with pytest.raises(JobError, match=words) as raised:
        read_key(job_with(key_file), {})
    assert raised.value.outcome is Outcome.CONFIG
    assert raised.value.hint


def _given_away(path: Path) -> None:
    path.chmod(0o644)
    os.chown(path, 65534, 65534)


def _in_open_directory_of_another_user(path: Path) -> None:
    path.parent.chmod(0o757)
    os.chown(path.parent, 65534, 65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    "spoil", [_readable, _in_open_directory, _given_away, _in_open_directory_of_another_user]
)
def test_pasted_fix_makes_a_rejected_key_file_readable(key_file: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(key_file)
    with pytest.raises(JobError) as raised:
        read_key(job_with(key_file), {})
    subprocess.run(["sh", "-c", raised.value.hint or ""], check=True)
    assert read_key(job_with(key_file), {})


def test_sticky_directory_is_accepted(key_file: Path) -> None:
    key_file.parent.chmod(0o1777)
    assert read_key(job_with(key_file), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_key_file_of_another_user_is_rejected(key_file: Path) -> None:
    os.chown(key_file, 65534, 65534)
    with pytest.raises(JobError, match="belongs to user 65534"):
        read_key(job_with(key_file), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
@pytest.mark.parametrize("owner", [0, 65534])
def test_key_behind_a_link_in_a_directory_of_another_user_is_rejected(
    key_file: Path, tmp_path: Path, owner: int
) -> None:
    """Another key of root is no exception, because that user chooses which one is sent."""
    (tmp_path / "home").mkdir()
    link = tmp_path / "home/keys"
    link.symlink_to(key_file.parent)
    os.chown(link, owner, -1, follow_symlinks=False)
    os.chown(tmp_path / "home", 65534, 65534)
    with pytest.raises(JobError, match="user 65534"):
        read_key(job_with(link / key_file.name), {})


@pytest.mark.parametrize(
    "text", ["", "\n", "a b", "a\nb", "app-x\n\n", "app-é", "app-x\0", "Bearer app-secret-canary-1", " app-x"]
)
def test_key_that_would_break_the_header_is_rejected_and_not_shown(text: str) -> None:
    with pytest.raises(JobError) as raised:
        check_key(text, "a test")
    assert "canary" not in raised.value.message + (raised.value.hint or "")


def test_job_without_a_key_is_reported_with_the_settings_for_it() -> None:
    with pytest.raises(JobError, match="has no API key") as raised:
        read_key(load_config(environ={}).jobs["default"], {})
    assert "DIFY_API_KEY" in (raised.value.hint or "")
    # A variable has no effect on a job of a configuration file.
    with pytest.raises(JobError, match="has no API key") as raised:
        read_key(Job(name="a", base_url="", key=KeySource()), {})
    assert (raised.value.hint or "").endswith(": dify-job secret set a")


def test_secret_is_masked_when_printed() -> None:
    secret = Secret("app-secret-canary-1")
    job = Job(name="a", base_url="", key=KeySource(inline=secret))
    assert "canary" not in f"{secret} {secret!r} {job!r} {secret:}"


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_key_file_readable_by_its_owner_is_accepted(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert read_key(job_with(key_file), {})


@pytest.mark.parametrize("mode", [0o440, 0o640, 0o604, 0o660, 0o666])
def test_key_file_readable_by_group_or_world_is_rejected(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(JobError, match="by other users"):
        read_key(job_with(key_file), {})


def test_symlink_to_a_key_file_is_checked_at_its_target(key_file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.key"
    link.symlink_to(key_file)
    assert read_key(job_with(link), {})
    open_directory = tmp_path / "open"
    open_directory.mkdir()
    elsewhere = open_directory / "k.key"
    elsewhere.write_text("app-x")
    elsewhere.chmod(0o600)
    open_directory.chmod(0o777)
    link.unlink()
    link.symlink_to(elsewhere)
    with pytest.raises(JobError, match="other users can change files"):
        read_key(job_with(link), {})


@pytest.mark.parametrize("source", ["file", "environment", "inline"])
def test_credential_overrides_every_other_source(key_file: Path, tmp_path: Path, source: str) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "api_key").write_text("app-credential\n")
    sources = {
        "file": KeySource(file=key_file),
        "environment": KeySource(env="K"),
        "inline": KeySource(inline=Secret("app-inline")),
    }
    job = Job(name="a", base_url="http://localhost/v1", key=sources[source])
    environ = {"CREDENTIALS_DIRECTORY": str(directory), "K": "app-env"}
    assert read_key(job, environ).reveal() == "app-credential"

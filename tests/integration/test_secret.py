"""secret set: replaces the key of a job in a private file."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import KEY, Command
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify

NEW = "app-new-0123456789abcdefghij"
APPS = (
    App(KEY, "Echo"),
    App(NEW, "Echo"),
    App("app-chat-0123456789abcdef", mode="advanced-chat"),
    App("app-unpublished-0123456789", published=False),
)


@pytest.fixture
def server() -> Iterator[FakeDify]:
    with FakeDify(APPS) as made:
        yield made


@pytest.fixture
def job(dify_job: Command, server: FakeDify) -> Command:
    made = dify_job("init", "daily", "--user", "--base-url", server.base_url, input=KEY)
    assert made.code == 0, made.stderr
    return dify_job


def key_of(job: Command) -> Path:
    return job.home / ".config/dify-job/credentials/daily.key"


def test_new_key_is_checked_and_replaces_the_old_one(job: Command, server: FakeDify) -> None:
    done = job("secret", "set", "daily", input=NEW)
    assert (done.code, done.stderr) == (0, "")
    assert key_of(job).read_text() == f"{NEW}\n"
    assert stat.S_IMODE(key_of(job).stat().st_mode) == 0o600
    assert NEW not in done.stdout
    assert "app-…ghij" in done.stdout
    assert "dify-job install" not in done.stdout  # the unit reads the same file
    assert server.runs == []
    assert job("run", "daily").code == 0


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("app-wrong-0123456789abcdef", 77, "does not accept the API key"),
        ("app-chat-0123456789abcdef", 78, "not a workflow: its mode is advanced-chat"),
        (f"Bearer {NEW}", 78, "must not begin with 'Bearer '"),
        (f"{NEW}\n\nmore", 78, "contains a space, a line break or another character"),
        ("app-ключ", 78, "another character that an API key cannot contain"),
        ("\n", 78, "standard input contains no API key"),
    ],
)
def test_invalid_key_is_reported_and_the_old_one_stays(
    job: Command, key: str, code: int, message: str
) -> None:
    done = job("secret", "set", input=key)
    assert done.code == code
    assert message in done.stderr
    assert key_of(job).read_text() == f"{KEY}\n"


def test_invalid_key_is_stored_with_no_check(job: Command) -> None:
    refused = job("secret", "set", "daily", input="app-wrong-0123456789abcdef")
    assert "store this one unchecked with --no-check" in refused.stderr
    done = job("secret", "set", "daily", "--no-check", input="app-wrong-0123456789abcdef")
    assert done.code == 0
    assert key_of(job).read_text() == "app-wrong-0123456789abcdef\n"
    assert job("run", "daily").code == 77


@pytest.mark.parametrize("why", ["unreachable", "unpublished"])
def test_unchecked_key_is_stored_with_a_warning(job: Command, server: FakeDify, why: str) -> None:
    new = NEW if why == "unreachable" else "app-unpublished-0123456789"
    if why == "unreachable":
        config = job.home / ".config/dify-job/config.toml"
        config.write_text(config.read_text().replace(server.base_url, "http://127.0.0.1:9/v1"))
    done = job("secret", "set", "daily", input=new)
    assert done.code == 0
    assert "the API key is stored, but could not be checked" in done.stderr
    assert key_of(job).read_text() == f"{new}\n"


def test_job_with_api_key_env_gets_a_key_file_and_a_managed_file(dify_job: Command, server: FakeDify) -> None:
    config = dify_job.home / ".config/dify-job/config.toml"
    config.parent.mkdir(parents=True)
    mine = f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "NOT_SET"\n'
    config.write_text(mine)
    done = dify_job("secret", "set", input=NEW)
    assert done.code == 0, done.stderr
    assert "dify-job install daily" in done.stdout
    assert config.read_text() == mine
    assert "Managed by dify-job for job daily" in (config.parent / "config.d/daily.settings.toml").read_text()
    assert dify_job("run", "daily").code == 0


def test_other_file_that_sets_the_key_is_reported_and_nothing_changes(
    dify_job: Command, server: FakeDify
) -> None:
    config = dify_job.home / ".config/dify-job/config.toml"
    (config.parent / "config.d").mkdir(parents=True)
    config.write_text(f'[jobs.daily]\nbase_url = "{server.base_url}"\n')
    (config.parent / "config.d/zz.toml").write_text('[jobs.daily]\napi_key_env = "DAILY_KEY"\n')
    done = dify_job("secret", "set", input=NEW, env={"DAILY_KEY": KEY})
    assert done.code == 78
    assert "sets a different API key for job daily" in done.stderr
    assert sorted(path.name for path in config.parent.rglob("*")) == ["config.d", "config.toml", "zz.toml"]


def test_key_file_is_never_readable_by_others_or_partial(job: Command) -> None:
    """Read the file in a loop during the replacement, with umask 0."""
    process = job.start("secret", "set", "daily", "--no-check", stdin=-1, umask=0)
    seen: set[tuple[int, str]] = set()
    assert process.stdin is not None
    process.stdin.write(NEW)
    process.stdin.close()
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        for path in key_of(job).parent.iterdir():
            try:
                seen.add((stat.S_IMODE(path.stat().st_mode), key_of(job).read_text()))
            except FileNotFoundError:
                continue
    assert process.returncode == 0
    assert {mode for mode, _ in seen} == {0o600}
    assert {text for _, text in seen} <= {f"{KEY}\n", f"{NEW}\n"}
    assert list(key_of(job).parent.iterdir()) == [key_of(job)]


def test_key_is_not_stored_in_a_directory_writable_by_others(job: Command) -> None:
    key_of(job).parent.chmod(0o777)
    done = job("secret", "set", "daily", input=NEW)
    assert done.code == 78
    assert "the API key was not stored, because it would not be safe in " in done.stderr
    assert key_of(job).read_text() == f"{KEY}\n"


def test_symlink_stays_and_its_target_changes(job: Command) -> None:
    real = job.home / "vault"
    real.mkdir(mode=0o700)
    (real / "daily").write_text(f"{KEY}\n")
    (real / "daily").chmod(0o600)
    key_of(job).unlink()
    key_of(job).symlink_to(real / "daily")
    assert job("secret", "set", "daily", input=NEW).code == 0
    assert key_of(job).is_symlink()
    assert (real / "daily").read_text() == f"{NEW}\n"


def test_shared_key_file_is_reported_with_the_other_jobs(job: Command) -> None:
    config = job.home / ".config/dify-job/config.toml"
    config.write_text(config.read_text() + f'[jobs.weekly]\napi_key_file = "{key_of(job)}"\n')
    assert "the same file holds the API key of: weekly" in job("secret", "set", "daily", input=NEW).stdout


def test_secret_set_needs_a_config_file(dify_job: Command) -> None:
    done = dify_job("secret", "set", input=NEW, env={"DIFY_API_KEY": KEY})
    assert done.code == 78
    assert "dify-job init" in done.stderr


def test_unavailable_encryption_is_reported_before_the_prompt(job: Command) -> None:
    tools = job.home / "no-tools"
    tools.mkdir()
    done = job("secret", "set", "daily", "--encrypt", input=NEW, env={"PATH": str(tools)})
    assert done.code == 78
    assert "--encrypt needs systemd-creds of systemd 250 or newer" in done.stderr
    assert key_of(job).read_text() == f"{KEY}\n"


def test_link_in_a_directory_of_another_user_is_not_followed(job: Command, tmp_path: Path) -> None:
    """Root stores the key of a job whose user has the key file in the own home."""
    victim, shared, key = tmp_path / "victim", tmp_path / "shared", key_of(job)
    victim.write_text("mine")
    shared.mkdir()
    (shared / "key").symlink_to(victim)
    shared.chmod(0o777)
    key.unlink()
    key.symlink_to(shared / "key")
    done = job("secret", "set", "daily", "--no-check", input=NEW)
    assert done.code == 78, done.stderr
    assert f"other users can change files in the directory {shared}" in done.stderr
    assert f"chmod go-w {shared}" in done.stderr
    assert victim.read_text() == "mine"
    shared.chmod(0o755)
    assert job("secret", "set", "daily", "--no-check", input=NEW).code == 0
    assert victim.read_text() == f"{NEW}\n"


def test_loop_of_links_in_place_of_a_key_is_reported(job: Command) -> None:
    key = key_of(job)
    key.unlink()
    key.symlink_to(key.name)
    for words in (("secret", "set", "daily", "--no-check"), ("run", "daily")):
        done = job(*words, input=NEW)
        assert done.code in (73, 78), done.stderr
        assert "Too many levels of symbolic links" in done.stderr
    key.unlink()
    key.parent.rmdir()
    key.parent.symlink_to(key.parent.name)
    done = job("secret", "set", "daily", "--no-check", input=NEW)
    assert done.code in (73, 78), done.stderr
    assert "Too many levels of symbolic links" in done.stderr or "File exists" in done.stderr

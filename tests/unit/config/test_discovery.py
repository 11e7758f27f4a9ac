"""Search order and precedence of config, environment and env file."""

import os
from pathlib import Path

import pytest

from dify_job.config import discovery
from dify_job.config.discovery import find_config
from dify_job.config.loader import load_config
from dify_job.config.model import Config, Job, KeySource
from dify_job.config.permissions import file_error
from dify_job.config.secrets import read_key
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from tests.support.config_files import config, default


def test_config_is_searched_for_in_order(tmp_path: Path) -> None:
    named, by_variable, users = (tmp_path / name for name in ("named.toml", "variable.toml", "dify-job"))
    users.mkdir()
    for path in (named, by_variable, users / "config.toml"):
        path.write_text(f'[jobs.a]\ndescription = "{path.name}"\n')
    environ = {"DIFY_JOB_CONFIG": str(by_variable), "XDG_CONFIG_HOME": str(tmp_path)}
    assert load_config(named, environ=environ).path == named
    assert load_config(environ=environ).path == by_variable
    assert load_config(environ={"XDG_CONFIG_HOME": str(tmp_path)}).path == users / "config.toml"
    with pytest.raises(JobError, match="does not exist"):
        load_config(environ={"DIFY_JOB_CONFIG": str(tmp_path / "gone")})


def key_of(job: Job) -> str:
    return read_key(job, {}).reveal()


def test_environment_variables_define_a_job() -> None:
    job = default({"DIFY_API_KEY": "app-1", "DIFY_INPUTS": '{"a": 1}', "DIFY_END_USER": "me"})
    assert (key_of(job), job.base_url, job.inputs, job.end_user) == (
        "app-1",
        "http://localhost/v1",
        {"a": 1},
        "me",
    )


def test_env_file_of_the_original_system_is_read() -> None:
    Path(".env").write_text(
        "# Dify\nDIFY_API_KEY='app-2'\nexport DIFY_BASE_URL=\"http://d/v1\"  # comment\r\n"
        "SCHEDULER_INTERVAL_HOURS=2\nAUTO_START_SCHEDULER=false\n"
    )
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere"})
    job = loaded.jobs["default"]
    assert (key_of(job), job.base_url, job.schedule.every) == ("app-2", "http://d/v1", 7200)
    assert loaded.auto_start is False


def test_env_file_cannot_redirect_the_key_of_the_environment() -> None:
    Path(".env").write_text("DIFY_BASE_URL=http://evil.example/v1\n")
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere", "DIFY_API_KEY": "app-1"})
    assert loaded.jobs["default"].base_url == "http://localhost/v1"
    assert "evil.example" not in loaded.jobs["default"].base_url
    assert "is ignored" in loaded.warnings[0]


def test_base_url_of_the_environment_does_not_get_the_key_of_the_env_file() -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    assert default({"DIFY_BASE_URL": "http://evil.example"}).base_url == "http://localhost/v1"


def test_configured_key_is_not_sent_to_a_base_url_of_the_environment(tmp_path: Path) -> None:
    path = config(tmp_path, '[jobs.a]\napi_key_env = "K"\n')
    job = load_config(path, environ={"DIFY_BASE_URL": "http://evil.example", "K": "k"}).jobs["a"]
    assert job.base_url == "http://localhost/v1"


def test_env_file_writable_by_others_is_not_read() -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    Path(".env").chmod(0o666)
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere"})
    assert loaded.jobs["default"].key.inline is None
    assert "can be changed by other users" in loaded.warnings[0]


def test_env_file_is_not_read_if_a_config_exists(tmp_path: Path) -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    assert load_config(config(tmp_path, "[jobs.a]\n"), environ={}).jobs["a"].key == KeySource()


def test_named_env_file_overrides_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "x.env"
    file.write_text("DIFY_API_KEY=app-file\nDIFY_BASE_URL=http://file\n")
    job = default({"DIFY_API_KEY": "app-env", "DIFY_BASE_URL": "http://env"}, env_file=file)
    assert (key_of(job), job.base_url) == ("app-file", "http://file/v1")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DIFY_INPUTS": "{"}, "is not JSON"),
        ({"DIFY_INPUTS": "[1]"}, "must be a table"),
        ({"SCHEDULER_INTERVAL_HOURS": "often"}, "must be a number of hours"),
        ({"AUTO_START_SCHEDULER": "maybe"}, "must be true or false"),
        ({"DIFY_BASE_URL": "localhost"}, "is not an http"),
    ],
)
def test_invalid_environment_variable_is_reported(environ: dict[str, str], words: str) -> None:
    with pytest.raises(JobError, match=words):
        default(environ)


def load_default() -> Config:
    return load_config(environ={"XDG_CONFIG_HOME": "nowhere"})


def test_fifo_as_env_file_does_not_block() -> None:
    os.mkfifo(".env", 0o600)
    loaded = load_default()
    assert loaded.jobs["default"].key.inline is None
    assert "is not a regular file" in loaded.warnings[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("link", [False, True])
def test_env_file_created_or_linked_by_another_user_is_not_read(tmp_path: Path, link: bool) -> None:
    own = tmp_path / "own.env"
    own.write_text("DIFY_API_KEY=app-2\nDIFY_BASE_URL=http://evil.example\n")
    own.chmod(0o600)
    if link:
        Path(".env").symlink_to(own)
    else:
        own.rename(".env")
    assert load_default().jobs["default"].base_url == "http://evil.example/v1"
    os.chown(".env", 65534, 65534, follow_symlinks=False)
    loaded = load_default()
    assert loaded.jobs["default"].key.inline is None
    assert "is ignored" in loaded.warnings[0]


def test_env_file_is_checked_and_read_through_one_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it could be replaced between check and read."""
    Path(".env").write_text("DIFY_API_KEY=app-good\n")

    def exchange(path: Path, opened: os.stat_result, place: int | Path, *, private: bool) -> str | None:
        fault = file_error(path, opened, place, private=private)
        Path(".env").unlink()
        Path(".env").write_text("DIFY_API_KEY=app-evil\n")
        return fault

    monkeypatch.setattr("dify_job.config.environment.file_error", exchange)
    assert key_of(load_default().jobs["default"]) == "app-good"


def test_configured_key_is_only_sent_to_the_base_url_of_its_config(tmp_path: Path) -> None:
    """Neither a .env file in the same directory nor a variable can redirect it."""
    Path(".env").write_text("DIFY_BASE_URL=http://evil.example\n")
    path = config(tmp_path, '[defaults]\nbase_url = "http://good"\n[jobs.a]\napi_key_env = "K"\n')
    environ = {"DIFY_BASE_URL": "http://evil.example", "DIFY_API_KEY": "app-other", "K": "app-own"}
    job = load_config(path, environ=environ).jobs["a"]
    assert (job.base_url, read_key(job, environ).reveal()) == ("http://good/v1", "app-own")


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user here")
@pytest.mark.parametrize("where", ["directory", "file", "config.d"])
def test_unreadable_config_is_reported_as_a_configuration_error(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dify-job" / "config.toml"
    path.parent.mkdir()
    path.write_text("[jobs.a]\n")
    (path.parent / "config.d").mkdir()
    {"directory": path.parent, "file": path, "config.d": path.parent / "config.d"}[where].chmod(0o600)
    for parent in tmp_path.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    monkeypatch.setattr("dify_job.config.discovery._SYSTEM_CONFIG", path)
    os.seteuid(65534)
    try:
        with pytest.raises(JobError, match="cannot be read: Permission denied") as raised:
            load_config(environ={"XDG_CONFIG_HOME": str(tmp_path / "other")})
    finally:
        os.seteuid(0)
    assert raised.value.outcome is Outcome.CONFIG


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user here")
def test_home_of_another_user_is_ignored(tmp_path: Path) -> None:
    home = tmp_path / "dify-job"
    home.mkdir(0o700)
    (home / "config.toml").write_text("[jobs.a]\n")
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        assert load_config(environ={"XDG_CONFIG_HOME": str(tmp_path)}).path is None
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("caller", "owner", "system", "found"),
    [
        (0, 1000, True, "system"),
        (0, 1000, False, "own"),
        (0, 0, True, "own"),
        (1000, 1000, True, "own"),
    ],
)
def test_root_under_the_home_of_another_user_uses_the_config_of_the_system(
    caller: int, owner: int, system: bool, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, systems = tmp_path / "dify-job/config.toml", tmp_path / "etc/config.toml"
    for path in (own, systems):
        path.parent.mkdir()
        path.touch()
    if not system:
        systems.unlink()
    plain = Path.stat
    monkeypatch.setattr(discovery, "_SYSTEM_CONFIG", systems)
    monkeypatch.setattr(os, "geteuid", lambda: caller)
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path, **options: os.stat_result((*plain(path, **options)[:4], owner, owner, 0, 0, 0, 0)),
    )
    assert find_config(None, {"XDG_CONFIG_HOME": str(tmp_path)}) == {"own": own, "system": systems}[found]

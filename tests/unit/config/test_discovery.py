"""Where the config, the environment and the env file are found, and which wins."""

import os
from pathlib import Path

import pytest

from dify_job.config.loader import load_config
from dify_job.config.model import Config, Job, KeySource
from dify_job.config.permissions import fault_of_file
from dify_job.config.secrets import read_key
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from tests.support.config_files import config, default


def test_search_order(tmp_path: Path) -> None:
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


def test_job_of_the_environment() -> None:
    job = default({"DIFY_API_KEY": "app-1", "DIFY_INPUTS": '{"a": 1}', "DIFY_END_USER": "me"})
    assert (key_of(job), job.base_url, job.inputs, job.end_user) == (
        "app-1",
        "http://localhost/v1",
        {"a": 1},
        "me",
    )


def test_env_file_of_the_original_system() -> None:
    Path(".env").write_text(
        "# Dify\nDIFY_API_KEY='app-2'\nexport DIFY_BASE_URL=\"http://d/v1\"  # ours\r\n"
        "SCHEDULER_INTERVAL_HOURS=2\nAUTO_START_SCHEDULER=false\n"
    )
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere"})
    job = loaded.jobs["default"]
    assert (key_of(job), job.base_url, job.schedule.every) == ("app-2", "http://d/v1", 7200)
    assert loaded.auto_start is False


def test_hostile_env_file_does_not_redirect_the_key_of_the_environment() -> None:
    Path(".env").write_text("DIFY_BASE_URL=http://evil.example/v1\n")
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere", "DIFY_API_KEY": "app-1"})
    assert loaded.jobs["default"].base_url == "http://localhost/v1"
    assert "evil.example" not in loaded.jobs["default"].base_url
    assert "is ignored" in loaded.warnings[0]


def test_address_of_the_environment_does_not_get_the_key_of_the_env_file() -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    assert default({"DIFY_BASE_URL": "http://evil.example"}).base_url == "http://localhost/v1"


def test_configured_key_does_not_go_to_an_address_of_the_environment(tmp_path: Path) -> None:
    path = config(tmp_path, '[jobs.a]\napi_key_env = "K"\n')
    job = load_config(path, environ={"DIFY_BASE_URL": "http://evil.example", "K": "k"}).jobs["a"]
    assert job.base_url == "http://localhost/v1"


def test_env_file_that_others_can_write_is_not_read() -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    Path(".env").chmod(0o666)
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere"})
    assert loaded.jobs["default"].key.inline is None
    assert "is not read: it can be written by others" in loaded.warnings[0]


def test_env_file_is_not_read_beside_a_config(tmp_path: Path) -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    assert load_config(config(tmp_path, "[jobs.a]\n"), environ={}).jobs["a"].key == KeySource()


def test_named_env_file_wins_over_the_environment(tmp_path: Path) -> None:
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
        ({"AUTO_START_SCHEDULER": "maybe"}, "neither true nor false"),
        ({"DIFY_BASE_URL": "localhost"}, "is not an http"),
    ],
)
def test_mistakes_in_the_environment(environ: dict[str, str], words: str) -> None:
    with pytest.raises(JobError, match=words):
        default(environ)


def as_it_is_read() -> Config:
    return load_config(environ={"XDG_CONFIG_HOME": "nowhere"})


def test_fifo_for_an_env_file_blocks_nothing() -> None:
    os.mkfifo(".env", 0o600)
    loaded = as_it_is_read()
    assert loaded.jobs["default"].key.inline is None
    assert "is not a regular file" in loaded.warnings[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("link", [False, True])
def test_env_file_that_another_user_made_or_linked_is_not_read(tmp_path: Path, link: bool) -> None:
    own = tmp_path / "own.env"
    own.write_text("DIFY_API_KEY=app-2\nDIFY_BASE_URL=http://evil.example\n")
    own.chmod(0o600)
    if link:
        Path(".env").symlink_to(own)
    else:
        own.rename(".env")
    assert as_it_is_read().jobs["default"].base_url == "http://evil.example/v1"
    os.chown(".env", 65534, 65534, follow_symlinks=False)
    loaded = as_it_is_read()
    assert loaded.jobs["default"].key.inline is None
    assert "is not read" in loaded.warnings[0]


def test_env_file_is_judged_and_read_through_one_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it could be exchanged between the two."""
    Path(".env").write_text("DIFY_API_KEY=app-good\n")

    def exchange(opened: os.stat_result, place: int | Path, *, private: bool) -> str | None:
        fault = fault_of_file(opened, place, private=private)
        Path(".env").unlink()
        Path(".env").write_text("DIFY_API_KEY=app-evil\n")
        return fault

    monkeypatch.setattr("dify_job.config.environment.fault_of_file", exchange)
    assert key_of(as_it_is_read().jobs["default"]) == "app-good"


def test_configured_key_stays_with_the_address_of_its_own_config(tmp_path: Path) -> None:
    """Neither a hostile .env beside it nor a variable takes it elsewhere."""
    Path(".env").write_text("DIFY_BASE_URL=http://evil.example\n")
    path = config(tmp_path, '[defaults]\nbase_url = "http://good"\n[jobs.a]\napi_key_env = "K"\n')
    environ = {"DIFY_BASE_URL": "http://evil.example", "DIFY_API_KEY": "app-other", "K": "app-own"}
    job = load_config(path, environ=environ).jobs["a"]
    assert (job.base_url, read_key(job, environ).reveal()) == ("http://good/v1", "app-own")


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user here")
@pytest.mark.parametrize("where", ["directory", "file", "config.d"])
def test_config_that_a_user_may_not_read_is_named_and_no_fault_of_ours(
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
def test_home_of_another_user_is_passed_over(tmp_path: Path) -> None:
    home = tmp_path / "dify-job"
    home.mkdir(0o700)
    (home / "config.toml").write_text("[jobs.a]\n")
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        assert load_config(environ={"XDG_CONFIG_HOME": str(tmp_path)}).path is None
    finally:
        os.seteuid(0)

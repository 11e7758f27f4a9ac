"""The managed settings file of a job: migration of earlier files, and uninstall."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from dify_job.config import managed
from dify_job.config.loader import load_config
from dify_job.messages.errors import JobError
from dify_job.system.managed_files import with_header
from dify_job.system.transaction import FileTransaction


@pytest.fixture
def main_config(tmp_path: Path) -> Path:
    config = tmp_path / "config.toml"
    config.write_text('[jobs.daily]\nbase_url = "http://localhost/v1"\n')
    (tmp_path / "config.d").mkdir()
    return config


def earlier(main_config: Path, kind: str, body: str) -> Path:
    path = main_config.parent / f"config.d/daily.{kind}.toml"
    path.write_text(with_header("daily", "0" * 16, str(main_config), f"[jobs.daily]\n{body}\n"))
    return path


def settings(main_config: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(managed.settings_path(main_config, "daily").read_text())["jobs"][
        "daily"
    ]
    return table


def test_files_of_earlier_versions_are_merged(main_config: Path) -> None:
    earlier(main_config, "schedule", 'every = "2h"\nrun_as = "reports"')
    earlier(main_config, "key", 'api_key_file = "/etc/a.key"')
    before = load_config(main_config, environ={}).jobs["daily"]
    FileTransaction().apply(managed.settings_files(main_config, "daily", {}))
    assert [path.name for path in (main_config.parent / "config.d").iterdir()] == ["daily.settings.toml"]
    assert settings(main_config) == {"every": "2h", "run_as": "reports", "api_key_file": "/etc/a.key"}
    after = load_config(main_config, environ={}).jobs["daily"]
    assert after._replace(origins={}, key=before.key) == before._replace(origins={})
    assert managed.settings_files(main_config, "daily", {}) == ()


def test_new_settings_override_and_another_schedule_replaces(main_config: Path) -> None:
    FileTransaction().apply(
        managed.settings_files(main_config, "daily", {"every": "2h", "run_as": "reports"})
    )
    FileTransaction().apply(managed.settings_files(main_config, "daily", {"cron": "5 7 * * *"}))
    assert settings(main_config) == {"run_as": "reports", "cron": "5 7 * * *"}


def test_uninstall_leaves_only_the_key_of_secret_set(main_config: Path) -> None:
    values = {"api_key_file": "/etc/a.key"}
    FileTransaction().apply(managed.settings_files(main_config, "daily", values, stored=True))
    FileTransaction().apply(managed.settings_files(main_config, "daily", {"every": "2h"}))
    FileTransaction().apply(managed.removals(main_config, "daily"))
    assert settings(main_config) == values
    assert managed.removals(main_config, "daily") == ()


def test_uninstall_removes_the_key_that_install_stored(main_config: Path) -> None:
    key = managed.key_path(main_config, "daily")
    key.parent.mkdir()
    key.write_text("app-x\n")
    FileTransaction().apply(managed.settings_files(main_config, "daily", {"api_key_file": str(key)}))
    FileTransaction().apply(managed.removals(main_config, "daily"))
    assert not key.exists()
    assert not managed.settings_path(main_config, "daily").exists()


def test_edited_file_of_an_earlier_version_is_not_replaced(main_config: Path) -> None:
    path = earlier(main_config, "schedule", 'every = "2h"')
    path.write_text(path.read_text() + "# mine\n")
    assert managed.settings_files(main_config, "daily", {}) == ()
    with pytest.raises(JobError, match="was edited by hand"):
        managed.settings_files(main_config, "daily", {"every": "3h"})


def test_managed_file_alone_declares_no_job_unless_it_is_the_whole_job(main_config: Path) -> None:
    main_config.write_text("[jobs.other]\n")
    FileTransaction().apply(managed.settings_files(main_config, "daily", {"every": "2h"}))
    assert load_config(main_config, environ={}).names == ("other",)
    FileTransaction().apply(managed.settings_files(main_config, "daily", {"base_url": "http://localhost/v1"}))
    assert load_config(main_config, environ={}).names == ("other", "daily")

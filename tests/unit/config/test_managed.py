"""One managed settings file per job: what it takes from earlier files, and what uninstall leaves."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from dify_job.config import managed
from dify_job.config.loader import load_config
from dify_job.messages.errors import JobError
from dify_job.system.managed_files import marked
from dify_job.system.transaction import FileTransaction


@pytest.fixture
def place(tmp_path: Path) -> Path:
    config = tmp_path / "config.toml"
    config.write_text('[jobs.daily]\nbase_url = "http://localhost/v1"\n')
    (tmp_path / "config.d").mkdir()
    return config


def earlier(place: Path, kind: str, body: str) -> Path:
    path = place.parent / f"config.d/daily.{kind}.toml"
    path.write_text(marked("daily", "0" * 16, str(place), f"[jobs.daily]\n{body}\n"))
    return path


def settings(place: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(managed.settings_path(place, "daily").read_text())["jobs"]["daily"]
    return table


def test_files_of_earlier_versions_become_one(place: Path) -> None:
    earlier(place, "schedule", 'every = "2h"\nrun_as = "reports"')
    earlier(place, "key", 'api_key_file = "/etc/a.key"')
    before = load_config(place, environ={}).jobs["daily"]
    FileTransaction().apply(managed.settings_files(place, "daily", {}))
    assert [path.name for path in (place.parent / "config.d").iterdir()] == ["daily.settings.toml"]
    assert settings(place) == {"every": "2h", "run_as": "reports", "api_key_file": "/etc/a.key"}
    after = load_config(place, environ={}).jobs["daily"]
    assert after._replace(origins={}, key=before.key) == before._replace(origins={})
    assert managed.settings_files(place, "daily", {}) == ()


def test_new_settings_override_and_another_schedule_replaces(place: Path) -> None:
    FileTransaction().apply(managed.settings_files(place, "daily", {"every": "2h", "run_as": "reports"}))
    FileTransaction().apply(managed.settings_files(place, "daily", {"cron": "5 7 * * *"}))
    assert settings(place) == {"run_as": "reports", "cron": "5 7 * * *"}


def test_uninstall_leaves_the_key_of_secret_set_and_nothing_else(place: Path) -> None:
    values = {"api_key_file": "/etc/a.key"}
    FileTransaction().apply(managed.settings_files(place, "daily", values, stored=True))
    FileTransaction().apply(managed.settings_files(place, "daily", {"every": "2h"}))
    FileTransaction().apply(managed.removals(place, "daily"))
    assert settings(place) == values
    assert managed.removals(place, "daily") == ()


def test_uninstall_removes_the_key_that_install_stored(place: Path) -> None:
    key = managed.key_path(place, "daily")
    key.parent.mkdir()
    key.write_text("app-x\n")
    FileTransaction().apply(managed.settings_files(place, "daily", {"api_key_file": str(key)}))
    FileTransaction().apply(managed.removals(place, "daily"))
    assert not key.exists()
    assert not managed.settings_path(place, "daily").exists()


def test_edited_file_of_an_earlier_version_is_not_replaced(place: Path) -> None:
    path = earlier(place, "schedule", 'every = "2h"')
    path.write_text(path.read_text() + "# mine\n")
    assert managed.settings_files(place, "daily", {}) == ()
    with pytest.raises(JobError, match="was edited by hand"):
        managed.settings_files(place, "daily", {"every": "3h"})


def test_managed_file_alone_declares_no_job_unless_it_is_the_whole_job(place: Path) -> None:
    place.write_text("[jobs.other]\n")
    FileTransaction().apply(managed.settings_files(place, "daily", {"every": "2h"}))
    assert load_config(place, environ={}).names == ("other",)
    FileTransaction().apply(managed.settings_files(place, "daily", {"base_url": "http://localhost/v1"}))
    assert load_config(place, environ={}).names == ("other", "daily")

"""Everything generated from the settings table agrees with it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from dify_job.config.loader import load_config
from dify_job.config.model import Job, ScheduleConfig
from dify_job.config.schema import FIELDS, KEY_KINDS, SETTINGS, Setting, job_document
from dify_job.config.toml_writer import toml
from dify_job.schedulers.job_spec import job_spec

VALUES: dict[str, Any] = {
    "base_url": "https://other.example/v1",
    "api_key_file": "/etc/other.key",
    "api_key_credential": "/etc/credstore.encrypted/x",
    "api_key_env": "OTHER",
    "mode": "blocking",
    "workflow_id": "one",
    "end_user": "me",
    "timeout": "7min",
    "connect_timeout": "7s",
    "idle_timeout": "7min",
    "wait_network": "7s",
    "queue_time": "7min",
    "ca_file": "/etc/ca.pem",
    "inputs": {"a": 1},
    "files": {"a": "/srv/a"},
    "headers": {"X-A": {"file": "/etc/header"}},
    "env": ["REGION"],
    "overlap": "skip",
    "partial": "success",
    "retry": {"attempts": 7, "max_wait": "90s"},
    "output": {"file": "/srv/out/x", "mode": "0640"},
    "expect": {"outputs.x": {"regex": "^OK", "type": "string"}},
    "notify": {"healthchecks": "https://hc.example/1"},
    "metrics": {"textfile": "/srv/x.prom"},
    "console_url": "https://dify.example/app/1",
    "state": "none",
    "log_outputs": "2kB",
    "log_file": "/srv/x.log",
    "run_as": "reports",
    "description": "Another title",
    "every": "90min",
    "calendar": ["07:00"],
    "cron": "5 7 * * *",
    "timezone": "Asia/Shanghai",
    "jitter": "90s",
    "catch_up": True,
    "max_late": "90s",
}


def job_with(tmp_path: Path, text: str = "") -> Job:
    (tmp_path / "config.toml").write_text(f"[jobs.a]\n{text}\n")
    return load_config(tmp_path / "config.toml", environ={}).jobs["a"]


def given(setting: Setting) -> str:
    return f"{setting.name} = {toml(VALUES[setting.name])}"


def test_every_key_has_a_test_value_and_a_field_of_the_job() -> None:
    assert list(VALUES) == [setting.name for setting in SETTINGS] == list(FIELDS)
    places = {*Job._fields} - {"name", "key", "schedule", "origins"}
    places |= {*ScheduleConfig._fields} | set(KEY_KINDS)
    assert set(VALUES) == places


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_only_keys_of_installed_files_change_the_fingerprint(setting: Setting, tmp_path: Path) -> None:
    plain = job_spec(job_with(tmp_path), Path("/c")).fingerprint
    other = job_spec(job_with(tmp_path, given(setting)), Path("/c")).fingerprint
    assert (plain != other) is bool(setting.installed)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_written_value_is_read_back(setting: Setting, tmp_path: Path) -> None:
    job = job_with(tmp_path, given(setting))
    value = setting.value(job)
    written = tomllib.loads(f"value = {toml(setting.write(value))}")["value"]
    assert setting.read(written) == value
    if setting.in_pod:
        path = tmp_path / "pod.toml"
        path.write_text(job_document(job))
        assert setting.value(load_config(path, environ={}).jobs["a"]) == value
    else:
        assert f"\n{setting.name} = " not in job_document(job)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_manual_has_the_effective_default(setting: Setting, tmp_path: Path) -> None:
    default = setting.value(job_with(tmp_path))
    if isinstance(default, (str, float)) and not isinstance(default, bool) and default:
        assert f"`{setting.write(default)}`" in setting.text

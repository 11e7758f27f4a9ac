"""Unusable state files: exit code 73 before the call; damaged history is bounded."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dify_job.cli.main import cli
from dify_job.cli.options import Globals
from tests.support.command import Command
from tests.support.fake_dify.server import FakeDify

NAMES = ("in-flight.json", "lock")


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def symlink_loop(path: Path) -> None:
    path.symlink_to(path)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def hard_link(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("{}")
    os.link(other, path)


@pytest.mark.parametrize("place", [link, symlink_loop, fifo, directory, hard_link])
@pytest.mark.parametrize("name", NAMES)
def test_path_that_is_no_file_is_73_before_the_call(
    dify_job: Command, server: FakeDify, environ: dict[str, str], place: Callable[[Path], None], name: str
) -> None:
    state = dify_job.home / "state"
    state.mkdir()
    place(state / name)
    done = dify_job("run", env=environ)
    assert done.code == 73, done.stderr
    assert name in done.result["message"]
    assert str(state / name) in done.result["hint"]
    assert not server.runs
    assert Path("/etc/passwd").read_text()


@pytest.mark.parametrize("place", [link, fifo, directory])
def test_template_with_last_success_is_rejected(
    dify_job: Command, server: FakeDify, place: Callable[[Path], None]
) -> None:
    config = dify_job.home / "c.toml"
    config.write_text(
        f'[jobs.d]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n'
        'inputs = { a = "{{ last_success }}" }\n'
    )
    (dify_job.home / "state").mkdir()
    place(dify_job.home / "state/last-success.json")
    done = dify_job("run", "--config", str(config), env={"K": "app-k"})
    assert done.code == 73
    assert not server.runs


@pytest.mark.parametrize("place", [link, fifo, directory])
@pytest.mark.parametrize("name", ["history.jsonl", "last.json", "last-success.json"])
def test_outcome_is_unchanged_if_the_result_cannot_be_stored(
    dify_job: Command, environ: dict[str, str], place: Callable[[Path], None], name: str
) -> None:
    (dify_job.home / "state").mkdir()
    place(dify_job.home / "state" / name)
    assert dify_job("run", env=environ).code == 0
    for command in ("history", "status", "doctor"):
        assert "Traceback" not in dify_job(command, env=environ).stderr


def test_history_without_line_ends_is_truncated(dify_job: Command, environ: dict[str, str]) -> None:
    history = dify_job.home / "state/history.jsonl"
    history.parent.mkdir()
    with history.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    assert dify_job("run", env=environ).code == 0
    assert history.stat().st_size < 10_000
    [line] = history.read_text().splitlines()
    assert json.loads(line)["outcome"] == "succeeded"


def test_temporary_files_of_a_killed_process_are_removed(dify_job: Command, environ: dict[str, str]) -> None:
    state = dify_job.home / "state"
    state.mkdir()
    for name in ("in-flight.json", "last.json", "history.jsonl"):
        (state / f".{name}.0123456789ab.new").write_text("{")
    (state / ".tick.json.0123456789ab.new").write_text("{")
    os.utime(state / ".tick.json.0123456789ab.new", (1, 1))
    (state / ".mine.0123456789ab.new").write_text("{")
    assert dify_job("run", env=environ).code == 0
    assert [entry.name for entry in state.glob(".*.new")] == [".mine.0123456789ab.new"]


@pytest.mark.parametrize("command", ["history", "status"])
@pytest.mark.parametrize("is_installed", [True, False])
def test_overviews_warn_of_a_state_directory_other_than_the_variables(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    is_installed: bool,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    state = tmp_path / ".local/state/dify-job/only-in-this-test"
    state.mkdir(parents=True)
    if is_installed:
        (state / "installed").touch()
    config = tmp_path / "c.toml"
    config.write_text('[jobs.only-in-this-test]\napi_key_env = "K"\n')
    cli.main(["--config", str(config), command], standalone_mode=False, obj=Globals())
    assert (str(state) in capsys.readouterr().err) == is_installed


def test_history_that_is_a_pipe_is_no_permission_error(dify_job: Command, environ: dict[str, str]) -> None:
    (dify_job.home / "state").mkdir()
    os.mkfifo(dify_job.home / "state/history.jsonl")
    done = dify_job("history", "default", env=environ)
    assert done.code != 0
    assert "not a regular file" in done.stderr
    assert "permission" not in done.stderr

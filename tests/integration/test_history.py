"""`dify-job history` on the records of real runs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import APPS, Command
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until

SPARKS = frozenset("▁▂▃▄▅▆▇█")


@pytest.fixture(scope="module")
def server() -> Iterator[FakeDify]:
    with FakeDify(APPS) as made:
        yield made


@pytest.fixture(scope="module")
def recorded(server: FakeDify, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State directory of a job after three runs."""
    command = Command(tmp_path_factory.mktemp("recorded"))
    for key in ("app-canary-0123456789abcdef", "app-fails", "app-two-seconds"):
        command("run", env={"DIFY_API_KEY": key, "DIFY_BASE_URL": server.base_url})
    return command.home / "state"


@pytest.fixture
def past(dify_job: Command, server: FakeDify, recorded: Path, tmp_path: Path) -> Command:
    (tmp_path / "c.toml").write_text(
        f'[defaults]\nbase_url = "{server.base_url}"\napi_key_env = "KEY"\nretry = {{ attempts = 1 }}\n'
        '[jobs.daily]\nconsole_url = "https://dify.example.com/app/1/logs"\n'
        "[jobs.other]\n"
    )
    dify_job.env |= {"DIFY_JOB_CONFIG": str(tmp_path / "c.toml")}
    shutil.copytree(recorded, tmp_path / "state")
    return dify_job


def test_history_lists_newest_first_with_all_columns(past: Command) -> None:
    lines = past("history", "daily", env={"LC_ALL": "C.UTF-8"}).stdout.splitlines()
    assert lines[0].split() == ["WHEN", "OUTCOME", "(EXIT)", "DURATION", "TOKENS", "RUN", "MESSAGE"]
    assert "succeeded" in lines[1]
    assert "2." in lines[1]
    assert "failed (80)" in lines[2]
    assert "Connection refused" in lines[2]
    assert "succeeded" in lines[3]
    assert lines[4].startswith("durations  ")
    assert len(lines[4].split()[1]) == 3
    assert set(lines[4].split()[1]) <= SPARKS
    assert lines[4].split()[1].endswith("█")
    assert lines[5] == "console    https://dify.example.com/app/1/logs"


def test_json_has_every_run_in_full(past: Command, server: FakeDify) -> None:
    data = past("history", "daily", "--json").result
    assert data.keys() == {"schema", "job", "console", "runs"}
    assert [run["outcome"] for run in data["runs"]] == ["succeeded", "failed", "succeeded"]
    assert {run["workflow_run_id"] for run in data["runs"]} == {run.run_id for run in server.runs[:3]}
    newest = data["runs"][0]
    assert newest["exit_code"] == 0
    assert newest["duration_s"] >= 2
    assert newest["total_tokens"] is not None
    assert past("history", "daily", "--json", "-n", "1").result["runs"] == [newest]


def test_without_utf8_the_sparkline_is_ascii(past: Command) -> None:
    done = past("history", "daily", env={"LC_ALL": "C"})
    assert done.code == 0
    assert done.stdout.isascii()
    assert done.stdout.splitlines()[4].split()[1].endswith("#")


def test_skipped_run_is_listed_but_not_in_the_sparkline(past: Command, server: FakeDify) -> None:
    slow = past.start("run", "daily", env={"KEY": "app-slow"})
    log = past.home / "state" / "in-flight.json"
    wait_until(log.exists)
    past("run", "daily", "--overlap", "skip", env={"KEY": "app-slow"})
    server.engine.released.set()
    slow.communicate()
    server.engine.released.clear()
    lines = past("history", "daily", env={"LC_ALL": "C"}).stdout.splitlines()
    assert [line.split()[4] for line in lines[1:6]] == [
        "skipped",  # it was started while the other ran
        "succeeded",
        "succeeded",
        "failed",
        "succeeded",
    ]
    assert len(lines[6].split()[1]) == 4


def test_named_job_needs_no_config(past: Command) -> None:
    assert past("history", env={"DIFY_JOB_CONFIG": str(past.home / "c.toml")}).code == 0  # of both jobs
    (past.home / "c.toml").write_text("[[[")
    assert len(past("history", "daily", "--json").result["runs"]) == 3
    assert past("history").code == 78


def test_job_without_history_is_reported(dify_job: Command) -> None:
    done = dify_job("history", "new", env={"STATE_DIRECTORY": str(dify_job.home / "none")})
    assert done.code == 0
    assert "no run of new is on record" in done.stdout
    assert "to see the next runs, run: dify-job status" in done.stdout
    assert json.loads(dify_job("history", "new", "--json").stdout)["runs"] == []


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_unknown_job_name_is_answered_with_the_known_ones(past: Command, flags: tuple[str, ...]) -> None:
    config = {"DIFY_JOB_CONFIG": str(past.home / "c.toml"), "STATE_DIRECTORY": str(past.home / "none")}
    slip = past("history", "dayly", *flags, env=config)
    assert (slip.code, slip.stdout) == (78, "")
    assert "did you mean daily" in slip.stderr
    assert "contains these jobs: daily" in slip.stderr


def test_scope_option_selects_the_runs(past: Command) -> None:
    lines = (past.home / "state/history.jsonl").read_text().splitlines()
    own = past.home / ".local/state/dify-job/daily"
    own.mkdir(parents=True)
    (own / "history.jsonl").write_text(lines[0] + "\n")
    assert len(past("history", "daily", "--json").result["runs"]) == 3
    assert len(past("history", "daily", "--json", "--user").result["runs"]) == 1
    assert past("history", "no-such-job", "--json", "--system").result["runs"] == []

"""Install and uninstall ended at each operation: old or new stands whole, and the next one ends the job."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # on a loaded machine
ROOT = Path(__file__).parents[2]
BACKENDS = ["systemd", "cron.d", "crontab"]


def ended_everywhere(backend: str, scenario: str, fault: str, directory: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.integration.kills", backend, scenario, fault, str(directory)]
    environ = {**os.environ, "TZ": "UTC"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found[-1]["code"] == 99, "the last one met no operation"
    return found


def named(world: dict[str, Any]) -> dict[str, str]:
    """The files that a scheduler reads; what a killed writer left has a name that none of them takes."""
    return {path: text for path, text in world["files"].items() if not is_left_over(path)}


def is_left_over(path: str) -> bool:
    name = Path(path).name
    return (name.startswith(".") and name.endswith(".new")) or name == "install-unfinished.json"


@pytest.mark.parametrize(
    ("backend", "scenario"),
    [
        *((backend, each) for backend in BACKENDS for each in ("fresh", "change", "paused", "uninstall")),
        ("systemd", "service"),
        ("systemd", "start"),
        ("systemd", "env-file"),
        ("crontab", "env-file"),
    ],
)
def test_killed_at_each_operation_old_or_new_stands_whole_and_the_next_one_ends_the_job(
    backend: str, scenario: str, tmp_path: Path
) -> None:
    found = ended_everywhere(backend, scenario, "kill", tmp_path)
    old, new = named(found[0]["before"]), named(found[-1]["end"])
    assert old != new
    for each in found:
        for path, text in named(each["after"]).items():
            assert text in (old.get(path), new.get(path)), f"{path} is neither old nor new at {each['aim']}"
        for path in set(old) & set(new):
            assert path in each["after"]["files"], f"{path} is gone at {each['aim']}"
        assert each["end"] == found[-1]["end"], each["aim"]
        assert each["runs"] == [], f"a run was started at {each['aim']}"
    assert not [path for path in found[-1]["end"]["files"] if is_left_over(path)]
    assert found[-1]["end"]["unread"] == []
    assert len(found) > 4


@pytest.mark.parametrize("fault", ["full", "failing"])
@pytest.mark.parametrize("scenario", ["fresh", "change", "start", "env-file"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_disk_or_a_failing_program_at_any_point_is_taken_back_and_said(
    backend: str, scenario: str, fault: str, tmp_path: Path
) -> None:
    found = ended_everywhere(backend, scenario, fault, tmp_path)
    for each in found:
        if each["code"] == 3:
            assert each["after"] == each["before"], (each["aim"], each["error"])
            assert each["error"].startswith(("cannot-write", "config")), each["error"]
        else:
            assert each["after"] == each["end"], each["aim"]
        assert each["end"] == found[-1]["end"], each["aim"]
        assert each["runs"] == [], each["aim"]

"""An install or uninstall killed at any operation leaves whole files, and the next one completes it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaign import Campaign

pytestmark = pytest.mark.timeout(600)  # on a loaded machine
ROOT = Path(__file__).parents[2]
BACKENDS = ["systemd", "cron.d", "crontab"]
SAMPLE = 12  # a sample tries one of so many operations


def results_of_all_operations(
    backend: str, scenario: str, fault: str, directory: Path, campaign: Campaign
) -> list[dict[str, Any]]:
    """Interrupt each operation of the campaign; return the results, and one without a fault."""
    first, step = (1, 1) if campaign.whole else (1 + campaign.seed % SAMPLE, SAMPLE)
    what = [backend, scenario, fault, str(directory), str(first), str(step)]
    command = [sys.executable, "-m", "tests.integration.kills", *what]
    temporary = directory / "tmp"  # a killed process leaves its temporary files
    temporary.mkdir(exist_ok=True)
    environ = {**os.environ, "TZ": "UTC", "TMPDIR": str(temporary)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert found[-1]["code"] == 99, "the last one met no operation"
    return found


def scheduler_files(world: dict[str, Any]) -> dict[str, str]:
    """Files that a scheduler reads: it ignores the temporary files of a killed process."""
    return {path: text for path, text in world["files"].items() if not is_temporary(path)}


def is_temporary(path: str) -> bool:
    name = Path(path).name
    return (name.startswith(".") and name.endswith(".new")) or name == "install-unfinished.json"


@pytest.mark.parametrize(
    ("backend", "scenario"),
    [
        ("systemd", "change"),
        ("crontab", "fresh"),
        *(
            pytest.param(backend, each, marks=pytest.mark.slow)
            for backend in BACKENDS
            for each in ("fresh", "change", "paused", "uninstall", "pause", "resume")
            if (backend, each) not in {("systemd", "change"), ("crontab", "fresh")}
        ),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("systemd", "service"),
                ("systemd", "start"),
                ("systemd", "env-file"),
                ("crontab", "env-file"),
            )
        ),
    ],
)
def test_install_killed_anywhere_leaves_whole_files_and_the_next_completes_it(
    backend: str, scenario: str, tmp_path: Path, campaign: Campaign
) -> None:
    found = results_of_all_operations(backend, scenario, "kill", tmp_path, campaign)
    old, new = scheduler_files(found[0]["before"]), scheduler_files(found[-1]["end"])
    assert found[0]["before"] != found[-1]["end"]  # a pause changes no file, only what is enabled
    for each in found:
        for path, text in scheduler_files(each["after"]).items():
            assert text in (old.get(path), new.get(path)), f"{path} is neither old nor new at {each['aim']}"
        for path in set(old) & set(new):
            assert path in each["after"]["files"], f"{path} is missing at {each['aim']}"
        assert each["end"] == found[-1]["end"], each["aim"]
        assert each["runs"] == [], f"a run was started at {each['aim']}"
        same = all(
            scheduler_files(each["after"]) == scheduler_files(each["end"])
            and each["after"][what] == each["end"][what]
            for what in ("active", "enabled", "unread")
        )
        assert each["shown"] is not same, f"--check disagrees at {each['aim']}"
    assert not [path for path in found[-1]["end"]["files"] if is_temporary(path)]
    assert found[-1]["end"]["unread"] == []
    assert len(found) > (4 if campaign.whole else 1)


@pytest.mark.parametrize(
    ("backend", "scenario", "fault"),
    [
        ("systemd", "change", "full"),
        ("crontab", "change", "failing"),
        *(
            pytest.param(backend, scenario, fault, marks=pytest.mark.slow)
            for backend in BACKENDS
            for scenario in ("fresh", "change", "start", "env-file")
            for fault in ("full", "failing")
            if (backend, scenario, fault)
            not in {("systemd", "change", "full"), ("crontab", "change", "failing")}
        ),
    ],
)
def test_full_disk_or_failing_program_at_any_operation_is_rolled_back_and_reported(
    backend: str, scenario: str, fault: str, tmp_path: Path, campaign: Campaign
) -> None:
    found = results_of_all_operations(backend, scenario, fault, tmp_path, campaign)
    for each in found:
        if each["code"] == 3:
            assert each["after"] == each["before"], (each["aim"], each["error"])
            assert each["error"].startswith(("cannot-write", "config")), each["error"]
        else:
            assert each["after"] == each["end"], each["aim"]
        assert each["end"] == found[-1]["end"], each["aim"]
        assert each["runs"] == [], each["aim"]

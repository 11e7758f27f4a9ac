"""Many jobs in one call: number of systemctl calls and writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCALE = Path(__file__).parents[2] / "bench/scale.py"
JOBS = 30


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Results of the benchmark: calls and writes of install, install again and status for all jobs."""
    done = subprocess.run([sys.executable, str(SCALE), str(JOBS)], capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def test_install_of_many_jobs_is_one_reload_one_enable_and_one_start(measured: dict[str, Any]) -> None:
    calls = measured["install"]["calls"]
    assert calls.pop("systemctl show") == 3  # unit path, units before, units after
    assert calls == {"systemctl enable": 1, "systemctl daemon-reload": 1, "systemctl start": 1}
    units = {
        line for line in measured["install"]["writes"] if line.startswith("os.rename") and ".timer." in line
    }
    assert len(units) == JOBS


def test_unchanged_install_writes_nothing_and_does_not_reload(measured: dict[str, Any]) -> None:
    assert measured["install, unchanged"]["calls"] == {"systemctl show": 1}
    written = [
        line
        for line in measured["install, unchanged"]["writes"]
        if not line.startswith(("os.rmdir", "os.remove")) and not line.endswith(("/dify-job", "install.lock"))
    ]
    assert written == []


def test_status_of_many_jobs_is_one_systemctl_call(measured: dict[str, Any]) -> None:
    assert measured["status"]["calls"] == {"systemctl show": 1}
    assert measured["status"]["writes"] == []

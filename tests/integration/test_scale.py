"""Many jobs in one call: number of systemctl calls and writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.environment import bare_environ

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


COUNT_CALLS = """
import sys, tempfile
from pathlib import Path
import scale
calls = 0
def count(frame, event, argument):
    global calls
    calls += event == "call"
with tempfile.TemporaryDirectory() as directory:
    sys.setprofile(count)
    scale.main(int(sys.argv[1]), Path(directory))
    sys.setprofile(None)
print("", calls, file=sys.__stdout__)
"""


def calls_for(jobs: int) -> int:
    """Return the number of Python functions that install, install again, status and uninstall call."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_CALLS, str(jobs)],
        env=bare_environ(PYTHONPATH=str(SCALE.parent)),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def test_work_grows_linearly_with_the_number_of_jobs() -> None:
    few, more, many = (calls_for(jobs) for jobs in (20, 40, 80))
    assert (many - more) / (more - few) < 2.2  # 2 if linear, 4 if quadratic

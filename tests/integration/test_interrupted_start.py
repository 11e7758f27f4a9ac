"""Ctrl-C at any moment of the start of a command ends it without a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Sends SIGINT during the import of a module, like Ctrl-C within the first 200 ms.
INTERRUPT = """\
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize(
    ("words", "module"),
    [
        ("run daily", "dify_job.cli.main"),
        ("run daily", "click"),
        ("run daily", "dify_job.config.loader"),
        ("run daily", "dify_job.run.api"),
        ("status", "dify_job.cli.options"),
        ("status", "dify_job.report.status"),
        ("install", "dify_job.schedulers.installation"),
        ("--help", "dify_job.cli.main"),
    ],
)
def test_interrupt_during_the_imports_shows_no_traceback(tmp_path: Path, words: str, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    home = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "dify_job", *words.split()],
        env=home | {"PYTHONPATH": str(tmp_path), "INTERRUPT_AT": module},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    env = os.environ | {"PYTHONPATH": str(tmp_path), "INTERRUPT_AT": "click"}
    done = subprocess.run(
        [sys.executable, "-m", "dify_job", "exit-codes"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.returncode == 0, done.stderr

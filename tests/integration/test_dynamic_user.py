"""A scheduled run as a user without name and home, like a dynamic user without nss-systemd."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import KEY
from tests.support.directories import make_reachable
from tests.support.fake_dify.server import FakeDify
from tests.support.receivers import Receiver

UNNAMED_UID = 61_999  # of systemd's range for dynamic users

SETPRIV = [  # can read the interpreter of the tests in any directory
    "setpriv", f"--reuid={UNNAMED_UID}", f"--regid={UNNAMED_UID}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("key", [KEY, "app-off"])
def test_user_without_a_name_needs_no_home(server: FakeDify, tmp_path: Path, key: str) -> None:
    state, config = tmp_path / "state", tmp_path / "c.toml"
    state.mkdir()
    os.chown(state, UNNAMED_UID, UNNAMED_UID)
    make_reachable(tmp_path)
    with Receiver() as receiver:
        config.write_text(
            f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "KEY"\n'
            f'notify = {{ healthchecks = "{receiver.check}" }}\n'
        )
        done = subprocess.run(
            [
                *SETPRIV,
                sys.executable,
                "-m",
                "dify_job",
                "run",
                "--scheduled",
                "--config",
                str(config),
                "daily",
            ],
            env={"KEY": key, "STATE_DIRECTORY": str(state), "INVOCATION_ID": "0" * 32},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (0 if key == KEY else 78), done.stderr
        assert [ping.what for ping in receiver.pings] == ["start", str(done.returncode)]

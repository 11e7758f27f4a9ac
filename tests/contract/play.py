"""Runs dify-job so that its output does not depend on machine, user, paths or time."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.fake_manager import install_programs
from tests.support.fork_server import ForkResult, Forks

HERE = Path(__file__).parent
HOME = "/proc/self/cwd"  # the same text in each process, but a directory of its own
NOBODY = 65534  # user ID in place of root's
KEY = "app-canary-0123456789abcdef"
_TEXTS = {"message", "hint", "event", "warnings", "problems", "notes", "error", "config_errors"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?([+-]\d\d:\d\d|Z|UTC))?")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b")
_MEASURED = {"duration_s", "elapsed_time", "mean_duration_s", "elapsed_ms"}


class Player:
    """Runs commands in a home with a config."""

    def __init__(self, forks: Forks, home: Path, config: str = "") -> None:
        self._forks = forks
        self.home = home
        home.mkdir(parents=True)
        install_programs(home, home / "bin")
        (home / "run/systemd").mkdir(parents=True)
        if os.geteuid() == 0:
            for place in (home, home / "run", home / "run/systemd"):
                os.chown(place, NOBODY, NOBODY)
        (home / "config.toml").write_text(config)
        (home / "key").write_text(KEY + "\n")
        for file in (home / "config.toml", home / "key"):
            file.chmod(0o600)

    def __call__(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        patches: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> ForkResult:
        environ = {
            "PATH": str(self.home / "bin"),
            "HOME": HOME,
            "TZ": "UTC",
            "STATE_DIRECTORY": "",
            "XDG_CONFIG_HOME": str(self.home / "config"),  # read by the fake systemctl
            "XDG_STATE_HOME": f"{HOME}/state",
            "XDG_RUNTIME_DIR": f"{HOME}/run",
            "DIFY_JOB_CONFIG": f"{HOME}/config.toml",
            "HTTPS_PROXY": "http://proxy.example.com:3128",
            "COLUMNS": "100",
        }
        ended = self._forks.run(
            self.home,
            list(words),
            environ | dict(env or {}),
            limits or {},
            30.0,
            patches=_MACHINE | dict(patches or {}),
        )
        return replace(ended, stdout=ended.stdout.replace(str(self.home), HOME))


_MACHINE: dict[str, Any] = {
    "sys:executable": "/opt/dify-job/bin/python",
    "dify_job.schedule.zones:_LOCALTIME": {"path": f"{HOME}/no-localtime"},  # the zone is UTC
    "dify_job.schedulers.cron:is_running": {"returns": True},
    "dify_job.schedulers.cron:_SPOOLS": [],  # modification times of the machine's crontabs
    "dify_job.schedulers.systemctl:_BOOTED": {"path": "/"},
    "dify_job.state.directories:SYSTEM_BASE": {"path": f"{HOME}/no-system-state"},
}
if os.geteuid() == 0:
    _MACHINE |= {name: {"returns": NOBODY} for name in ("os:getuid", "os:geteuid")}


def shape(value: Any, key: str = "") -> Any:
    """Replace times, IDs, durations and texts in a JSON value by placeholders."""
    if isinstance(value, dict):
        return {name: shape(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item, key) for item in value]
    if isinstance(value, str):
        if key in _TEXTS:
            return "<text>"
        return _UUID.sub("<id>", _TIME.sub("<time>", value))
    if key in _MEASURED and value is not None:
        return "<number>"
    return value


def as_snapshot(ended: ForkResult) -> dict[str, Any]:
    """Return exit status and standard output of a command, with placeholders."""
    out = ended.stdout
    return {"exit": ended.code, "stdout": shape(json.loads(out)) if out[:1] in ("{", "[") else out}

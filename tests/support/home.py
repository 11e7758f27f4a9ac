"""A user's home on a host whose systemd and cron are stand-ins."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.fake_manager import FakeCrontab, FakeManager, install_programs

CONFIG = """
[jobs.daily]
base_url = "http://127.0.0.1:9"
api_key_file = "{home}/key"
every = "2h"
"""


@dataclass
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        return json.loads(self.stdout)


@dataclass
class Home:
    """dify-job as a process there. booted: with systemd. first: statements before it begins."""

    path: Path
    booted: bool = True
    env: dict[str, str] = field(default_factory=dict)
    first: str = ""

    def __post_init__(self) -> None:
        install_programs(self.path, self.path / "bin")
        (self.path / "run/systemd").mkdir(parents=True)
        (self.path / "key").write_text("app-canary-0123456789\n")
        (self.path / "key").chmod(0o600)
        self.configure(CONFIG)
        self.manager = FakeManager(self.path)
        self.table = FakeCrontab(self.path).table

    def configure(self, text: str, name: str = "config.toml") -> None:
        file = self.path / "config/dify-job" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{home}", str(self.path)))

    @property
    def command(self) -> list[str]:
        booted = "/" if self.booted else "/nowhere"
        code = (
            "import sys; from pathlib import Path; from dify_job.schedulers import systemctl\n"
            f"systemctl._BOOTED = Path({booted!r})\n{self.first}\n"
            "from dify_job.cli.main import main; main(sys.argv[1:])"
        )
        return [sys.executable, "-c", code]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": f"{self.path / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.path),
            "XDG_CONFIG_HOME": str(self.path / "config"),
            "XDG_DATA_HOME": str(self.path / "data"),
            "XDG_STATE_HOME": str(self.path / "state"),
            "XDG_RUNTIME_DIR": str(self.path / "run"),
            **self.env,
        }

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> Ran:
        environ = self.environ | dict(env or {})
        done = subprocess.run(
            [*self.command, *words], env=environ, cwd=self.path, capture_output=True, text=True, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def everything(self) -> dict[str, bytes]:
        """All files that are not the stand-ins' own."""
        ours = {
            path: path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not path.name.startswith("manager.") and "bin" not in path.parts
        }
        return {str(path.relative_to(self.path)): content for path, content in ours.items()}

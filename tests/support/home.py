"""A user's home on a host whose systemd and cron are stand-ins."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fake_manager import FakeCrontab, FakeManager, install_programs
from tests.support.forked import fork_server, starts_afresh
from tests.support.ran import Ran

CONFIG = """
[jobs.daily]
base_url = "http://127.0.0.1:9"
api_key_file = "{home}/key"
every = "2h"
"""


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
    def begin(self) -> str:
        """The statements that a command here begins with."""
        booted = "/" if self.booted else "/nowhere"
        return (
            "import sys; from pathlib import Path; from dify_job.schedulers import crond, systemctl\n"
            f"systemctl._BOOTED = Path({booted!r}); crond._SPOOLS = ()\n{self.first}\n"
        )

    @property
    def command(self) -> list[str]:
        """The beginning of a command line, for a process of its own."""
        return [sys.executable, "-c", self.begin + "from dify_job.cli.main import main; main(sys.argv[1:])"]

    @property
    def environ(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name.startswith("COV")},
            "PATH": f"{self.path / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.path),
            "XDG_CONFIG_HOME": str(self.path / "config"),
            "XDG_DATA_HOME": str(self.path / "data"),
            "XDG_STATE_HOME": str(self.path / "state"),
            "XDG_RUNTIME_DIR": str(self.path / "run"),
            **self.env,
        }

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> Ran:
        """Run a fork of a process that is ready, or a process of its own where Python must start afresh."""
        environ = self.environ | dict(env or {})
        if starts_afresh(environ):
            done = subprocess.run(
                [*self.command, *words],
                env=environ,
                cwd=self.path,
                capture_output=True,
                text=True,
                check=False,
            )
            return Ran(done.returncode, done.stdout, done.stderr)
        return fork_server().run({"args": words, "env": environ, "cwd": str(self.path), "first": self.begin})

    def all_files(self) -> dict[str, bytes]:
        """All files that are not the stand-ins' own."""
        ours = {
            path: path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not path.name.startswith("manager.") and "bin" not in path.parts
        }
        return {str(path.relative_to(self.path)): content for path, content in ours.items()}

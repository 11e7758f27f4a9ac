"""A user's home on a host with fake systemd and cron."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command_result import CommandResult
from tests.support.environment import bare_environ
from tests.support.fake_manager import FakeCrontab, FakeManager, install_programs
from tests.support.fork_server import fork_server, needs_new_process

CONFIG = """
[jobs.daily]
base_url = "http://127.0.0.1:9"
api_key_file = "{home}/key"
every = "2h"
"""


@dataclass
class Home:
    """Runs dify-job in a home with a config, and with fake systemctl and crontab.

    Attributes:
        path: The home directory.
        booted: True if the host runs systemd.
        env: Additional environment variables.
        first: Python statements that run before the command.
    """

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
        """Write a config file; `{home}` in it is replaced."""
        file = self.path / "config/dify-job" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{home}", str(self.path)))

    @property
    def prologue(self) -> str:
        """Python statements that run before the command."""
        booted = "/" if self.booted else "/nowhere"
        return (
            "import sys; from pathlib import Path; from dify_job.schedulers import cron, systemctl\n"
            "from dify_job.state import directories\n"
            f"systemctl._BOOTED = Path({booted!r}); cron._SPOOLS = ()\n"
            f"directories.SYSTEM_BASE = Path({str(self.path / 'state/dify-job')!r})\n"
            f"from dify_job.system import user; user.account_home = Path.home\n{self.first}\n"
        )

    @property
    def command(self) -> list[str]:
        """Start of a command line for a new process."""
        return [
            sys.executable,
            "-c",
            self.prologue + "from dify_job.cli.main import main; main(sys.argv[1:])",
        ]

    @property
    def environ(self) -> dict[str, str]:
        return {
            **bare_environ(),
            "PATH": f"{self.path / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.path),
            "XDG_CONFIG_HOME": str(self.path / "config"),
            "XDG_DATA_HOME": str(self.path / "data"),
            "XDG_STATE_HOME": str(self.path / "state"),
            "XDG_RUNTIME_DIR": str(self.path / "run"),
            **self.env,
        }

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> CommandResult:
        """Run a command as a fork, or as a new process if the environment affects the start of Python."""
        environ = self.environ | dict(env or {})
        if needs_new_process(environ):
            done = subprocess.run(
                [*self.command, *words],
                env=environ,
                cwd=self.path,
                capture_output=True,
                text=True,
                check=False,
            )
            return CommandResult(done.returncode, done.stdout, done.stderr)
        return fork_server().run(
            {"args": words, "env": environ, "cwd": str(self.path), "first": self.prologue}
        )

    def all_files(self) -> dict[str, bytes]:
        """Return path and content of all files but those of the fake programs."""
        contents = {
            path: path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not path.name.startswith("manager.") and "bin" not in path.parts
        }
        return {str(path.relative_to(self.path)): content for path, content in contents.items()}

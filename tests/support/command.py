"""Running dify-job in tests, and the apps of the fake server with their keys."""

import contextlib
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.command_result import CommandResult
from tests.support.environment import bare_environ
from tests.support.fake_dify.apps import App, Node
from tests.support.fake_dify.server import FakeDify
from tests.support.fork_server import NO_SYSTEM_CONFIG, ForkedProcess, fork_server, needs_new_process
from tests.support.patience import wait_until

Process = subprocess.Popen[str] | ForkedProcess
_FORK_SETTINGS = {"stdin", "stdout", "stderr", "umask"}

KEY = "app-canary-0123456789abcdef"

APPS = (
    App(KEY, "Echo"),
    App("app-fails", nodes=(Node("Start"), Node("Ask the service", error="[Errno 111] Connection refused"))),
    App("app-partial", nodes=(Node("Start"), Node("Ask", error="no", absorbed=True), Node("End"))),
    App("app-slow", nodes=(Node("Start"), Node("Think", 30.0), Node("End"))),
    App("app-two-seconds", nodes=(Node("Start"), Node("Think", 2.0), Node("End"))),
    App("app-human", nodes=(Node("Start"), Node("Ask a human", pauses=True))),
    App("app-unpublished", published=False),
    App("app-off", api_enabled=False),
    App("app-chat", mode="advanced-chat"),
    App("app-form", form=({"text-input": {"variable": "text", "required": True, "max_length": 48}},)),
)


# Pauses between attempts, and waits that are pointless with the servers of tests. Forked commands use them;
# shorter ones change no outcome.
PAUSES: dict[str, Any] = {
    "first_poll": 0.5,
    "recovery_polls": (0.05, 0.5),
    "stop_poll": 0.1,
    "turn_polls": (0.05, 0.5),
    "retry_pauses": (0.05, 0.5),
    "network_retry": 0.1,
    "stop_confirmation": 30.0,
    "first_ids": 30.0,
    "earlier_run": 30.0,
    "existing_run": 30.0,
    "delivery_retry": 0.05,
}


def program_with_limits(**limits: float) -> tuple[str, str]:
    """Return the arguments of Python for `-m dify_job` without a system configuration of the machine.

    Args:
        limits: Fields of RunLimits that differ.
    """
    text = (
        "import sys\n"
        "from dify_job.__main__ import main\n"
        "from pathlib import Path\n"
        "from dify_job.config import discovery\n"
        "from dify_job.run.call_options import RunLimits\n"
        f"discovery._SYSTEM_CONFIG = Path({str(NO_SYSTEM_CONFIG)!r})\n"
        f"main(sys.argv[1:], RunLimits(**{limits!r}))"
    )
    return "-c", text


# For servers that never send what a run waits for, so that the wait always ends by its limit.
SHORT_WAITS: dict[str, Any] = {"stop_confirmation": 1.0, "first_ids": 0.5}


@dataclass
class Command:
    """Runs dify-job in a temporary home.

    Attributes:
        home: Working directory and HOME.
        env: Additional environment variables.
        limits: Fields of RunLimits that differ, for forked commands.
        patches: Values by `module:name`, for forked commands.
        program: Arguments of Python that start the command as a new process.
        started: Started processes.
    """

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=PAUSES.copy)
    patches: dict[str, Any] = field(default_factory=dict)
    program: Sequence[str] = field(default_factory=program_with_limits)
    started: list[Process] = field(default_factory=list)

    def environ(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a command."""
        places = bare_environ(HOME=str(self.home), STATE_DIRECTORY=str(self.home / "state"))
        return {**places, **self.env, **(env or {})}

    def start(self, *args: str, env: Mapping[str, str] | None = None, **settings: Any) -> Process:
        """Start a command as a fork, or as a new process if the environment affects the start of Python.

        Args:
            args: Command line.
            env: Additional environment variables.
            settings: stdin, stdout and stderr of subprocess.Popen, and umask; others need a new process.
        """
        environ = self.environ(env)
        if settings.keys() - _FORK_SETTINGS or needs_new_process(environ):
            return self.start_process(*args, env=env, **settings)
        order: dict[str, Any] = {"args": args, "env": environ, "cwd": str(self.home)}
        order |= {"limits": self.limits, "patches": self.patches}
        if "umask" in settings:
            order["umask"] = settings.pop("umask")
        process = fork_server().start(order, **settings)
        self.started.append(process)
        return process

    def start_process(
        self, *args: str, env: Mapping[str, str] | None = None, **settings: Any
    ) -> "subprocess.Popen[str]":
        """Start a command as a new process; `settings` are those of subprocess.Popen."""
        standard = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(
            [sys.executable, *self.program, *args],
            env=self.environ(env),
            cwd=self.home,
            text=True,
            **standard | settings,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """Kill started processes, and close their pipes."""
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def __call__(self, *args: str, env: Mapping[str, str] | None = None, **settings: Any) -> CommandResult:
        """Run a command to its end; `settings` are those of `start`, and `input`, a text for stdin."""
        return self._ended(self.start, args, env, settings)

    def process(self, *args: str, env: Mapping[str, str] | None = None, **settings: Any) -> CommandResult:
        """Run a command to its end as a new process."""
        return self._ended(self.start_process, args, env, settings)

    @staticmethod
    def _ended(
        start: Callable[..., Process],
        args: Sequence[str],
        env: Mapping[str, str] | None,
        settings: dict[str, Any],
    ) -> CommandResult:
        given = settings.pop("input", None)
        if given is not None:
            settings["stdin"] = subprocess.PIPE
        process = start(*args, env=env, **settings)
        stdout, stderr = process.communicate(given)
        return CommandResult(process.wait(), stdout or "", stderr or "")

    def signal_when(self, process: Process, ready: Any, signum: int = signal.SIGTERM) -> CommandResult:
        wait_until(ready)
        process.send_signal(signum)
        stdout, stderr = process.communicate()
        return CommandResult(process.wait(), stdout, stderr)


def signal_again(process: "Process | subprocess.Popen[bytes]") -> None:
    """Send SIGTERM until the process has ended; one that follows another at once counts as the same."""

    def has_ended() -> bool:
        process.send_signal(signal.SIGTERM)
        return process.poll() is not None

    wait_until(has_ended)


def catches(process: Process, signum: int) -> bool:
    """True if the process has a handler for the signal: SigCgt in proc_pid_status(5)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> signum - 1 & 1)


def children(process: Process) -> list[int]:
    """Return the IDs of child processes of the main thread."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def tls(server: FakeDify, certificate: tuple[Path, Path]) -> FakeDify:
    """Make a server use TLS; return it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return server

"""Run commands as forks of a server process that has imported dify-job, without the start time of Python.

Each fork has its own exit status, descriptors, environment and working directory, and runs the complete
command. Run as a module, this is the server: it receives an order and descriptors as one message on stdin,
and writes process ID and exit code to the last descriptor.
"""

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

from dify_job.config import discovery
from dify_job.system import lazy_import, subprocesses, user
from tests.support import fake_manager
from tests.support.command_result import CommandResult
from tests.support.environment import bare_environ
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
HUNG = -9
_HANGS = 20.0  # seconds after its limit at which a process counts as hanging
_READY = (
    "dify_job.cli.run", "dify_job.cli.install", "dify_job.cli.status", "dify_job.cli.history",
    "dify_job.cli.doctor", "dify_job.cli.init", "dify_job.cli.secret", "dify_job.run.engine",
    "dify_job.run.notifications", "apprise",
    "requests", "jinja2.sandbox", "dify_job.log.pipeline", "oncalendar", "cronsim",
)  # fmt: skip
_STANDARD = {"stdin": "w", "stdout": "r", "stderr": "r"}  # and the mode of the test's end of a pipe
_LARGEST = 1024 * 1024  # bytes of a message
NO_SYSTEM_CONFIG = Path("/nonexistent/dify-job/config.toml")
_start_program = subprocesses.run
_START_VARIABLES = ("LD_", "PYTHON")  # read by Python at its start
_LOCALE_VARIABLES = ("LANG", "LC_")  # also read at the start; the server has a UTF-8 locale


def needs_new_process(environ: Mapping[str, str]) -> bool:
    """True if a command with this environment needs a new process."""
    return any(
        name.startswith(_START_VARIABLES)
        or (name.startswith(_LOCALE_VARIABLES) and name != "LANGUAGE" and not value.endswith("UTF-8"))
        for name, value in environ.items()
    )


@dataclass
class ForkResult(CommandResult):
    """Result of a forked command; code is HUNG if it did not end within its limit.

    Attributes:
        home: Home directory of the command.
    """

    home: Path


class ForkedProcess:
    """A running fork, with the part of subprocess.Popen (text mode) that tests use.

    Attributes:
        pid: Process ID.
        returncode: Exit code; None until `poll` or `wait` has seen it.
        stdin: Writable end of a pipe, or None.
        stdout: Readable end of a pipe, or None.
        stderr: Readable end of a pipe, or None.
    """

    def __init__(self, status: int, pipes: Mapping[str, IO[str]]) -> None:
        self._status = status
        self.pid: int = struct.unpack("<i", os.read(status, 4))[0]
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = (pipes.get(name) for name in _STANDARD)

    def poll(self) -> int | None:
        """Return the exit code; None if the fork is running."""
        with contextlib.suppress(TimeoutError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the exit code.

        Raises:
            TimeoutError: The fork is still running.
        """
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise TimeoutError(f"process {self.pid} runs after {timeout} s")
            self.returncode = struct.unpack("<i", os.read(self._status, 4))[0]
            os.close(self._status)
        return self.returncode

    def communicate(self, given: str | None = None, timeout: float = PATIENCE) -> tuple[str, str]:
        """Write to stdin, wait for the end, and return stdout and stderr.

        Raises:
            TimeoutError: The fork did not end in time, and was killed.
        """
        with ThreadPoolExecutor(3) as pool:
            pool.submit(_feed, self.stdin, given or "")
            out, err = pool.submit(_read, self.stdout), pool.submit(_read, self.stderr)
            try:
                self.wait(timeout)
            except TimeoutError:
                self.kill()
                raise
        return out.result(), err.result()

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless the fork has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # its end is not reported yet
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _feed(file: IO[str] | None, content: str) -> None:
    if file is not None:
        with contextlib.suppress(OSError, ValueError), file:
            file.write(content)


def _read(file: IO[str] | None) -> str:
    if file is None:
        return ""
    with file:
        return file.read()


class ForkServer:
    """Starts forks of a server process that has imported all modules of commands."""

    def __init__(self) -> None:
        own_end, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (own_end, server_end):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        self._socket = own_end
        self._lock = threading.Lock()
        with server_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=server_end.fileno(),
                env=bare_environ(),
                cwd=ROOT,
                start_new_session=True,
            )

    def close(self) -> None:
        """End the server; running forks continue."""
        self._socket.close()
        self._process.wait(30)

    def start(self, order: Mapping[str, Any], **standard: int | IO[Any]) -> ForkedProcess:
        """Start a fork.

        Args:
            order: args, env, cwd, and optionally umask, limits (of RunLimits), patches (values by
                `module:name`) and first (statements).
            standard: stdin, stdout, stderr: a descriptor or file, which stays open here, PIPE or DEVNULL. By
                default stdin is empty, and the others are pipes.
        """
        pipes: dict[str, IO[str]] = {}
        with contextlib.ExitStack() as opened:
            descriptors = []
            for name, way in _STANDARD.items():
                end = standard.get(name, subprocess.DEVNULL if name == "stdin" else subprocess.PIPE)
                if end == subprocess.DEVNULL:
                    end = opened.enter_context(Path(os.devnull).open("r+b"))
                elif end == subprocess.PIPE:
                    reader, writer = os.pipe()
                    end, own_end = (reader, writer) if name == "stdin" else (writer, reader)
                    opened.callback(os.close, end)
                    pipes[name] = os.fdopen(own_end, way, encoding="utf-8")
                descriptors.append(end if isinstance(end, int) else end.fileno())
            status, fork_end = os.pipe()
            opened.callback(os.close, fork_end)
            with self._lock:
                socket.send_fds(self._socket, [json.dumps({**order}).encode()], [*descriptors, fork_end])
        return ForkedProcess(status, pipes)

    def run(self, order: Mapping[str, Any], **standard: Any) -> CommandResult:
        """Run a fork to its end; `standard` is that of `start`, and `input`, a text for stdin."""
        given = standard.pop("input", None)
        if given is not None:
            standard["stdin"] = subprocess.PIPE
        process = self.start(order, **standard)
        out, err = process.communicate(given)
        return CommandResult(process.wait(), out, err)


@cache
def fork_server() -> ForkServer:
    """Return the server of this test process; it is started on first use."""
    server = ForkServer()
    atexit.register(server.close)
    return server


class Forks:
    """Runs many commands at once, each in a home and with limits of its own."""

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the server is shared."""

    def run(
        self,
        home: Path,
        args: list[str],
        env: Mapping[str, str],
        limits: Mapping[str, Any],
        limit: float,
        patches: Mapping[str, Any] | None = None,
    ) -> ForkResult:
        """Run a command in a home, which gets files with its output and process ID.

        Args:
            home: Working directory and HOME.
            args: Command line.
            env: Additional environment variables.
            limits: Fields of RunLimits that differ.
            limit: Seconds that the command may take.
            patches: Values by `module:name`; {"path": TEXT} stands for a Path, {"returns": VALUE} for a
                function that returns VALUE.
        """
        home.mkdir(parents=True, exist_ok=True)
        order = {
            "args": args,
            "env": bare_environ(HOME=str(home), STATE_DIRECTORY=str(home / "state")) | dict(env),
            "cwd": str(home),
            "limits": dict(limits),
            "patches": dict(patches or {}),
        }
        with (home / "stdout").open("wb") as out, (home / "stderr").open("wb") as err:
            process = fork_server().start(order, stdout=out, stderr=err)
            (home / "pid").write_text(str(process.pid))
            try:
                code = process.wait(limit + _HANGS)
            except TimeoutError:
                process.kill()
                code = process.wait()
        return ForkResult(code, (home / "stdout").read_text(), (home / "stderr").read_text(), home)


# The server process


def serve() -> None:
    """Fork for each order, and report each exit code."""
    for name in _READY:
        importlib.import_module(name)
    for module in list(sys.modules.values()):
        if module is not None:  # executed now, because the execution of a lazy module would undo a patch
            lazy_import.execute(module)
    orders = socket.socket(fileno=os.dup(0))
    children: dict[int, tuple[int, int]] = {}  # by pidfd: process ID, and descriptor for the exit code
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == orders.fileno():
                message, descriptors, _, _ = socket.recv_fds(orders, _LARGEST, 4)
                if not message:
                    os._exit(0)
                *standard, status = descriptors
                pid = os.fork()
                if pid == 0:
                    orders.close()
                    _run_order(json.loads(message), standard)
                for descriptor in standard:
                    os.close(descriptor)
                os.write(status, struct.pack("<i", pid))
                pidfd = os.pidfd_open(pid)
                children[pidfd] = (pid, status)
                poll.register(pidfd, select.POLLIN)
            else:
                poll.unregister(fd)
                pid, status = children.pop(fd)
                os.close(fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, struct.pack("<i", code))
                os.close(status)


def _run_order(order: dict[str, Any], standard: list[int]) -> NoReturn:
    try:
        # Only the server imports commands.
        from dify_job.cli import main, run  # noqa: PLC0415
        from dify_job.run.call_options import RunLimits  # noqa: PLC0415

        for fd, descriptor in enumerate(standard):
            os.dup2(descriptor, fd)
        os.closerange(3, 1024)
        os.setsid()
        os.chdir(order["cwd"])
        if "umask" in order:
            os.umask(order["umask"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.path.append(sys.path.pop(0))  # a command of a console script has no working directory there
        time.tzset()
        discovery._SYSTEM_CONFIG = NO_SYSTEM_CONFIG
        for where, value in order.get("patches", {}).items():
            module, _, name = where.partition(":")
            patched = importlib.import_module(module)
            lazy_import.execute(patched)
            getattr(patched, name)  # fails if the name no longer exists
            setattr(patched, name, _patch(value))
        user.account_home = Path.home  # of the order's HOME, and not of the account that runs the tests
        subprocesses.run = _run_program
        exec(order.get("first", ""), {})
        limits: dict[str, Any] = order.get("limits", {})
        run._STARTED = time.monotonic()
        sys.argv = ["dify-job", *order["args"]]
        main.main(order["args"], RunLimits(**{name: _patch(one) for name, one in limits.items()}))
    except BaseException:  # noqa: BLE001 - the fork must never run code of the server
        traceback.print_exc()
    finally:
        os._exit(1)


def _run_program(argv: Sequence[str], **settings: Any) -> subprocesses.Completed:
    """Run a program; call a fake one directly, which saves the 30 ms that Python takes to start."""
    answer = fake_manager.answer_in_process(argv)
    if answer is None:
        return _start_program(argv, **settings)
    code, out, err = answer
    return subprocesses.Completed(code, out, err.encode())


def _patch(value: Any) -> Any:
    if isinstance(value, dict):
        return Path(value["path"]) if "path" in value else lambda *_: value["returns"]
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    serve()

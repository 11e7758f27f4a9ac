"""dify-job as a process of its own without the time that Python takes to start: a fork of one that is ready.

Each has its own exit status, stdout and state directory, and goes the whole way of the command. Run as a
module it is the process that is ready: an order a line on stdin, an end a line on stdout.
"""

import importlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dify_job.cli import main
from dify_job.cli import run as command
from dify_job.run.run_spec import RunLimits
from tests.support.home import Ran

HUNG = -9
_HANGS = 20.0  # seconds beyond its deadline that no process may take


@dataclass
class Ended(Ran):
    """code is HUNG where it did not end within its limit."""

    home: Path


class Forks:
    """Starts processes; a context manager that ends them all."""

    def __enter__(self) -> "Forks":
        self._ready = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._waiting: dict[str, Future[int]] = {}
        self._lock = threading.Lock()
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._ready.stdin is not None
        self._ready.stdin.close()
        self._ready.wait(30)
        self._hearing.join(30)
        assert self._ready.stdout is not None
        self._ready.stdout.close()

    def run(
        self,
        home: Path,
        args: list[str],
        env: Mapping[str, str],
        limits: Mapping[str, Any],
        limit: float,
        patches: Mapping[str, Any] | None = None,
    ) -> Ended:
        """Run a command in a home; limit: seconds.

        limits: those of RunLimits that differ. patches: `module:name` -> value, set before it; {"path": TEXT}
        is a Path, {"returns": VALUE} is a function that returns VALUE.
        """
        home.mkdir(parents=True, exist_ok=True)
        order = {
            "home": str(home),
            "args": args,
            "env": dict(env),
            "limits": dict(limits),
            "patches": dict(patches or {}),
            "limit": limit + _HANGS,
        }
        end: Future[int] = Future()
        with self._lock:
            assert self._ready.stdin is not None
            self._waiting[str(home)] = end
            self._ready.stdin.write(json.dumps(order) + "\n")
            self._ready.stdin.flush()
        code = end.result(limit + 3 * _HANGS)
        return Ended(code, (home / "stdout").read_text(), (home / "stderr").read_text(), home)

    def _hear(self) -> None:
        assert self._ready.stdout is not None
        for line in self._ready.stdout:
            told = json.loads(line)
            self._waiting.pop(told["home"]).set_result(told["code"])


def serve() -> None:
    """Fork for each order, and tell each end."""
    children: dict[int, tuple[int, str, float]] = {}  # pidfd: pid, home, when it is over
    poll = select.poll()
    poll.register(0, select.POLLIN)
    orders = b""
    while True:
        for fd, _ in poll.poll(200):
            if fd == 0:
                received = os.read(0, 65536)
                if not received:
                    return
                *whole, orders = (orders + received).split(b"\n")
                for order in whole:
                    pid, pidfd, told = begin(json.loads(order))
                    children[pidfd] = (pid, told["home"], time.monotonic() + told["limit"])
                    poll.register(pidfd, select.POLLIN)
            else:
                poll.unregister(fd)
                pid, home, _ = children.pop(fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.close(fd)
                os.write(1, json.dumps({"home": home, "code": code}).encode() + b"\n")
        for pid, _, until in children.values():
            if time.monotonic() > until:
                os.kill(pid, 9)


def begin(order: dict[str, Any]) -> tuple[int, int, dict[str, Any]]:
    pid = os.fork()
    if pid == 0:
        become(order)
    return pid, os.pidfd_open(pid), order


def become(order: dict[str, Any]) -> NoReturn:
    home = Path(order["home"])
    for fd, name, flags in (
        (0, "/dev/null", os.O_RDONLY),
        (1, "stdout", os.O_WRONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        file = os.open(home / name, flags | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, fd)
        os.close(file)
    os.chdir(home)
    os.environ.clear()
    os.environ.update({"HOME": str(home), "STATE_DIRECTORY": str(home / "state"), **order["env"]})
    for where, value in order["patches"].items():
        module, _, name = where.partition(":")
        setattr(importlib.import_module(module), name, _patch(value))
    limits = {name: tuple(one) if isinstance(one, list) else one for name, one in order["limits"].items()}
    command._LIMITS = RunLimits(**limits)
    command._BEGAN = time.monotonic()
    (home / "pid").write_text(str(os.getpid()))
    main.main(order["args"])


def _patch(value: Any) -> Any:
    if isinstance(value, dict):
        return Path(value["path"]) if "path" in value else lambda *_: value["returns"]
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    serve()

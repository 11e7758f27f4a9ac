"""The only place that starts programs: no shell, no colour, no pager, no translation, and a time limit."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from ..messages.message import msg

_PLAIN = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_LOG_LEVEL": "warning"}


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended.

    Attributes:
        code: Its exit status; 127 where it could not be started, 124 where the limit ended it.
        stdout: What it wrote there.
        stderr: The same; why it gave no answer where `answered` is False.
        answered: It was started, and ended by itself: only then its exit status is an answer.
    """

    code: int
    stdout: bytes
    stderr: bytes
    answered: bool = True

    @property
    def text(self) -> str:
        """What it wrote to stdout."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """What it wrote to stderr, in one line."""
        return " ".join(self.stderr.decode(errors="replace").split())

    @property
    def reason(self) -> str:
        """Why it failed: what it said, else how it ended."""
        if said := self.complaint or " ".join(self.text.split()):
            return said
        if self.code < 0:
            return msg("signal {number} killed the process", number=-self.code)
        return msg("the process ended with exit status {code}", code=self.code)


def is_on_path(name: str) -> bool:
    """Return whether a program of that name is on PATH."""
    return shutil.which(name) is not None


def run(
    argv: Sequence[str],
    *,
    limit: float = 60.0,
    environ: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Completed:
    """Run a program to its end.

    Args:
        argv: The program, which is looked up on PATH, and its arguments.
        limit: Seconds after which it is killed.
        environ: Variables added to this process's environment.
        stdin: What it can read there.

    Returns:
        How it ended. A program that cannot be started raises nothing, whatever the reason: no such file, or
        no more processes (EAGAIN, ENOMEM).
    """
    try:
        done = subprocess.run(  # a list, no shell; every caller names the program itself
            list(argv),
            input=stdin,
            capture_output=True,
            timeout=limit,
            check=False,
            env={**os.environ, **_PLAIN, **(environ or {})},
        )
    except FileNotFoundError:
        return Completed(127, b"", f"{argv[0]} is not installed".encode(), answered=False)
    except OSError as error:
        why = f"{argv[0]} could not be started: {error.strerror}"
        return Completed(127, b"", why.encode(), answered=False)
    except subprocess.TimeoutExpired:
        why = f"{argv[0]} did not end within {limit:.0f} s"
        return Completed(124, b"", why.encode(), answered=False)
    return Completed(done.returncode, done.stdout, done.stderr)


def exec_program(argv: Sequence[str]) -> NoReturn:
    """Become another program. Raises OSError where it cannot be started."""
    os.execvp(argv[0], list(argv))  # no shell is meant

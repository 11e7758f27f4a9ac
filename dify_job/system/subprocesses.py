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
        code: The exit status; 127 if it could not be started, 124 if the limit ended it.
        stdout: The output.
        stderr: The error output; the reason if `answered` is False.
        answered: The program was started and exited by itself, so its exit status is meaningful.
    """

    code: int
    stdout: bytes
    stderr: bytes
    answered: bool = True

    @property
    def text(self) -> str:
        """The output as text."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The error output in one line."""
        return " ".join(self.stderr.decode(errors="replace").split())

    @property
    def reason(self) -> str:
        """The reason of a failure: the error output, otherwise the exit status."""
        if said := self.complaint or " ".join(self.text.split()):
            return said
        if self.code < 0:
            return msg("signal {number} killed the process", number=-self.code)
        return msg("the process ended with exit status {code}", code=self.code)


def is_on_path(name: str) -> bool:
    """Return whether a program is on PATH."""
    return shutil.which(name) is not None


def run(
    argv: Sequence[str],
    *,
    limit: float = 60.0,
    environ: Mapping[str, str] | None = None,
    bare: bool = False,
    stdin: bytes = b"",
) -> Completed:
    """Run a program to its end.

    Args:
        argv: The program, which is looked up on PATH, and its arguments.
        limit: Seconds after which it is killed.
        environ: Variables added to this process's environment.
        bare: Start without this process's environment, as a unit or cron does.
        stdin: The input.

    Returns:
        The result. A program that cannot be started (no such file, EAGAIN, ENOMEM) raises nothing.
    """
    try:
        done = subprocess.run(  # a list without a shell; the caller chooses the program
            list(argv),
            input=stdin,
            capture_output=True,
            timeout=limit,
            check=False,
            env={**({} if bare else os.environ), **_PLAIN, **(environ or {})},
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
    """Execute another program in this process. Raises OSError if it cannot be started."""
    os.execvp(argv[0], list(argv))  # no shell is meant

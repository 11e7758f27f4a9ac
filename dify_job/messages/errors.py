"""The error that ends a command."""

import errno
from pathlib import Path

from ..exit_codes import Outcome
from .message import msg
from .problem import Command, Problem, Severity


class JobError(Exception):
    """An error that ends the command.

    Args:
        outcome: The row of the table of exit codes that the command ends with.
        message: What happened and why: one sentence without a full stop at its end.
        hint: The command, edit or advice that fixes it; None where there is none.
    """

    def __init__(self, outcome: Outcome, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.hint = hint

    def problem(self, name: str) -> Problem:
        """Return the error as a problem.

        Args:
            name: What was looked at when it was raised.
        """
        return Problem(name, Severity.FAIL, self.message, self.hint, self.outcome)


def disk_error_hint(error: OSError, place: Path, otherwise: str) -> str:
    """Return what fixes a write that failed.

    Args:
        error: The error of the write.
        place: The file that could not be written.
        otherwise: The hint where the error is about neither space nor a read-only file system.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return otherwise
    there = str(next(path for path in (place, *place.parents) if path.exists()))
    if error.errno == errno.EROFS:
        return msg(
            "{command} names the file system; mount it for writing, or choose another place",
            command=Command(("findmnt", "-T", there)),
        )
    return msg("{space}; {inodes}", space=Command(("df", "-h", there)), inodes=Command(("df", "-i", there)))

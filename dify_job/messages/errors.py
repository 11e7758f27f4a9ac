"""The one family of errors that crosses rooms."""

import errno
from pathlib import Path

from ..exit_codes import Outcome
from .message import msg


class JobError(Exception):
    """Something that ends the command, told so that the reader can act on it.

    message: what happened and why, one sentence without a final full stop.
    hint: the command or the edit that mends it, or None where there is none.
    outcome: the row of the exit table that the command leaves with.
    """

    def __init__(self, outcome: Outcome, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.hint = hint


def disk_error_hint(error: OSError, place: Path, otherwise: str) -> str:
    """What mends a write that failed: room, a file system that can be written, or what the caller knows."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return otherwise
    from shlex import quote  # noqa: PLC0415 - after a fault only

    there = quote(str(next(path for path in (place, *place.parents) if path.exists())))
    if error.errno == errno.EROFS:
        return msg("findmnt -T {there}; mount it for writing, or choose another place", there=there)
    return f"df -h {there}; df -i {there}"

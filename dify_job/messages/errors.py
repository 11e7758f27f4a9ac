"""The error that ends a command."""

import errno
import os
import stat
from pathlib import Path

from ..exit_codes import Outcome
from .command import Command
from .message import msg


class JobError(Exception):
    """An error that ends the command.

    Args:
        outcome: The outcome, which determines the exit code.
        message: The event and its reason: one sentence without a full stop.
        hint: The command, edit or advice that fixes it, or None.
    """

    def __init__(self, outcome: Outcome, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.hint = hint


PROCESS_LIMIT_HINT = msg("raise the limit of processes and threads (ulimit -u, or TasksMax= of the unit)")
_BROKEN = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.ETIMEDOUT,
        errno.ENAMETOOLONG,
        errno.ENODEV,
    }
)
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP})
_OBSTACLES = frozenset({errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL})


def file_system_error(error: Exception) -> JobError | None:
    """Return the error of a path that the caller cannot use, such as one on NFS or FUSE; None for others.

    Args:
        error: An error that no caller expected.
    """
    if not isinstance(error, OSError) or error.errno not in _BROKEN | _DENIED or error.filename is None:
        return None
    path = os.fsdecode(error.filename)
    return JobError(
        Outcome.CANNOT_WRITE,
        msg("{path} cannot be used: {reason}", path=path, reason=error.strerror),
        msg("check the mount of the file system: {command}", command=Command(("df", "-h", path)))
        if error.errno in _BROKEN
        else msg("check the path and its permissions: {command}", command=Command(("ls", "-ld", path))),
    )


def no_thread(error: RuntimeError) -> JobError:
    """Return the error of a thread that could not be started; nothing was sent."""
    return JobError(
        Outcome.UNREACHABLE, msg("no thread can be started ({error})", error=error), PROCESS_LIMIT_HINT
    )


def obstacle_hint(error: OSError, place: Path, otherwise: str) -> str:
    """Return the hint for a failed write to one of dify-job's own paths.

    Args:
        error: The error of the write.
        place: The path; a relative file name in the error is below it.
        otherwise: The hint for errors other than lack of space, a read-only file system, or another kind of
            file at the path.
    """
    path = place / error.filename if isinstance(error.filename, str) else place
    if error.errno not in _OBSTACLES:
        return disk_error_hint(error, path, otherwise)
    for each in (path, *path.parents):
        if os.path.lexists(each) and (each == path or not each.is_dir()):
            is_directory = each != path or (error.errno == errno.EEXIST and error.filename != path.name)
            return _removal_hint(each, otherwise, is_directory=is_directory)
    return otherwise


def _removal_hint(obstacle: Path, otherwise: str, *, is_directory: bool) -> str:
    """Return how to make room; `otherwise` for a device, or a file that the caller cannot move.

    Args:
        obstacle: What is in the way.
        otherwise: The hint if nothing can be done about it.
        is_directory: dify-job needs a directory at this path.
    """
    mode = obstacle.lstat().st_mode
    if is_directory and stat.S_ISLNK(mode) and not obstacle.exists():
        return msg(
            "{link} is a symbolic link to {target}, which does not exist: mount its file system, or create "
            "it: {command}",
            link=obstacle,
            target=obstacle.readlink(),
            command=Command(("mkdir", "-p", os.path.realpath(obstacle))),
        )
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or not os.access(obstacle.parent, os.W_OK):
        return otherwise
    return Command(("mv", str(obstacle), f"{obstacle}.old"))


def disk_error_hint(error: OSError, place: Path, otherwise: str) -> str:
    """Return the hint for a failed write.

    Args:
        error: The error of the write.
        place: The file that could not be written.
        otherwise: The hint for errors other than lack of space or a read-only file system.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return otherwise
    there = str(next(path for path in (place, *place.parents) if path.exists()))
    if error.errno == errno.EROFS:
        return msg(
            "mount the file system read-write, or choose a path on another file system; to see "
            "the mount, run: {command}",
            command=Command(("findmnt", "-T", there)),
        )
    return msg(
        "delete some files; to see the free space and the free inodes, run: {space} && {inodes}",
        space=Command(("df", "-h", there)),
        inodes=Command(("df", "-i", there)),
    )

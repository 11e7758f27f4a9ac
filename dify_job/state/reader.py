"""Read-only access to a job's state directory: nothing is created, locked or written.

A service's user can write there, so no link is followed, a FIFO does not block, and only the end of a large
file is read.
"""

import contextlib
import errno
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

from ..messages.message import msg
from .store import InFlight, last_due_in, record_in, success_in

_MAX_SIZE = 4 * 1024 * 1024  # bytes; a thousand lines of history have about 500 kB


def read_state_file(path: Path) -> bytes:
    """Return the content of a file, or the end of a large file.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, msg("it is not a regular file"), str(path))
        file.seek(max(0, seen.st_size - _MAX_SIZE))
        return file.read(_MAX_SIZE)


def read_last(directory: Path) -> dict[str, Any] | None:
    """Return the last result; None if it cannot be read."""
    return read_record(directory / "last.json")


def due_record(directory: Path) -> Path:
    """Return the file with the last due time of --if-due."""
    return directory / "tick.json"


def read_last_due(directory: Path) -> float | None:
    """Return the recorded last due time of --if-due, in seconds since 1970."""
    return last_due_in(read_record(due_record(directory)))


def read_last_success(directory: Path) -> datetime | None:
    """Return the start of the last successful run."""
    return success_in(read_record(directory / "last-success.json"))


def read_metrics_files(directory: Path) -> tuple[Path, ...]:
    """Return the metrics files of a job, from its state."""
    listed = (read_record(directory / "metrics.json") or {}).get("paths")
    return tuple(map(Path, filter(_is_path, listed))) if isinstance(listed, list) else ()


def _is_path(claimed: object) -> bool:
    """Return whether a value is a valid absolute path, because the state can contain any value."""
    if not isinstance(claimed, str) or not claimed.startswith("/"):
        return False
    try:
        return b"\0" not in os.fsencode(claimed)
    except UnicodeEncodeError:
        return False


def read_in_flight(directory: Path) -> InFlight | None:
    """Return the run in flight."""
    return InFlight.of(read_record(directory / "in-flight.json"))


def read_abandoned(directory: Path, now: datetime) -> "InFlight | None":
    """Return the run whose process ended without a final outcome; None while a process holds the lock.

    Args:
        directory: The job's state directory.
        now: The current time, aware.
    """
    left = read_in_flight(directory)
    # A run that ends removes its record before it releases the lock.
    return left if lock_holder(directory, now) is None and read_in_flight(directory) == left else None


def lock_holder(directory: Path, now: datetime) -> tuple[str, float] | None:
    """Return the process that holds a job's lock, and for how many seconds, or None.

    It reads /proc/locks, so that it does not take the lock itself. The content of the lock file is ignored,
    because `dify-job stop` ends the returned process.

    Args:
        directory: The job's state directory.
        now: The current time, aware.
    """
    try:
        lock = (directory / "lock").lstat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        match line.split():  # 1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF
            case [_, "FLOCK", _, _, pid, place, *_] if place.rpartition(":")[2] == str(lock.st_ino):
                if _can_have_open(int(pid), lock):
                    who = f"process {pid}" if int(pid) > 0 else msg("process ID unknown")
                    return who, now.timestamp() - lock.st_mtime
    return None


def _can_have_open(pid: int, file: os.stat_result) -> bool:
    """Return False for a process that does not have a file open.

    Its lock is then on another file system's file with the same inode, or its PID was reused. The device in
    /proc/locks is useless: on btrfs and overlayfs, it differs from that of stat(2).
    """
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if os.path.samestat(descriptor.stat(), file):
                    return True
    except OSError:  # unknown for a process of another user or in another PID namespace
        return True
    return False


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record in a file; None if it is missing or unreadable."""
    try:
        return record_in(read_state_file(path).decode(errors="replace"))
    except OSError:
        return None

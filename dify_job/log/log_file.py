"""Read a log file of JSON lines, which runs write on a machine without a journal."""

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ..messages.message import msg
from ..system.opened_file import OpenedFile
from ..system.timestamps import read_time

_MAX_READ = 64 * 1024 * 1024  # bytes


class LogEntry(NamedTuple):
    """One line of a log file.

    Attributes:
        text: The event; the complete line if it is not from dify-job.
        job: The job; empty if the line names none.
        level: The name of the level.
        at: The time, aware, or None.
        hint: The fix, or None.
    """

    text: str
    job: str = ""
    level: str = ""
    at: datetime | None = None
    hint: str | None = None


class LogFile:
    """A log file and the earlier one, FILE.1; both can grow and be renamed while they are read."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet.

        Args:
            path: The file.
        """
        self._paths = (path.with_name(f"{path.name}.1"), path)
        self._read: dict[int, int] = {}  # bytes that were read, by inode

    def new_entries(self) -> list[LogEntry]:
        """Return the complete lines that were not returned before, oldest first.

        Raises:
            OSError: A file cannot be read, or is not a regular file.
        """
        found: list[LogEntry] = []
        before, self._read = self._read, {}
        for path in self._paths:
            try:
                with OpenedFile(path) as file:
                    if path.is_symlink() or not file.is_regular:  # runs follow no link, either
                        raise OSError(None, msg("it is not a regular file"), str(path))
                    inode, done = file.status.st_ino, before.get(file.status.st_ino, 0)
                    done = done if done <= file.status.st_size else 0
                    content = file.read(_MAX_READ) if done < file.status.st_size else b""
            except FileNotFoundError:
                continue
            end = content.rfind(b"\n") + 1
            found += map(_entry_of, content[done:end].decode(errors="replace").split("\n")[:-1])
            self._read[inode] = max(done, end)
        return found


def _entry_of(line: str) -> LogEntry:
    try:
        data = json.loads(line)
        at = read_time(data["timestamp"])
        event, job, level, hint = (data.get(key) for key in ("event", "job", "level", "hint"))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return LogEntry(line)
    if at is None:
        return LogEntry(line)
    return LogEntry(f"{event}", f"{job or ''}", f"{level or ''}", at, f"{hint}" if hint else None)

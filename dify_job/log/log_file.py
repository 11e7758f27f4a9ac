"""The log of a job under cron where neither journald nor syslog takes it: a file, kept short."""

import contextlib
import os
import stat
from pathlib import Path

from ..messages.message import msg

_LARGEST = 1_000_000  # bytes; as much again stands in FILE.1


class LogFile:
    """Lines appended to a file; the one before is kept as FILE.1. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = self._open()

    def write(self, text: str, /) -> int:
        """One write, so that lines of two processes stay apart."""
        os.write(self._fd, text.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """Nobody looks on."""
        return False

    def _open(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat(follow_symlinks=False).st_size > _LARGEST:
                self._path.rename(self._path.with_name(f"{self._path.name}.1"))
        # root may write where others can put a link or a pipe
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o640)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(None, msg("it is no plain file"), str(self._path))
        return fd

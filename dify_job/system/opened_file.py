"""Read a file that others can have written, through one descriptor, with limits on time and memory."""

import errno
import os
import select
import stat
from pathlib import Path
from types import TracebackType

from ..messages.message import msg
from .secure_dir import open_path

_CHUNK = 1024 * 1024
_READ_TIMEOUT = 10.0  # seconds for the next bytes of a pipe
_MAX_SIZE = 64 * 1024 * 1024  # bytes; no file that dify-job writes or reads whole is larger


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; a FIFO or device in its place does not block.

    Args:
        path: The file; a link is followed.

    Raises:
        OSError: EINVAL where it is no regular file, EFBIG where it is larger than 64 MiB, or as open(2).
    """
    with OpenedFile(path) as file:
        if stat.S_ISDIR(file.status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not file.is_regular:
            raise OSError(errno.EINVAL, msg("it is not a regular file"), str(path))
        return file.read(_MAX_SIZE)


class OpenedFile:
    """An opened file. Its methods raise OSError.

    Attributes:
        descriptor: Of the file; it does not block.
        status: What fstat gave when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = open_path(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
        self.status = os.fstat(self.descriptor)

    def __enter__(self) -> "OpenedFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    @property
    def is_regular(self) -> bool:
        """True if it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    def read(self, limit: int) -> bytes:
        """Read the complete file.

        Args:
            limit: The maximum size in bytes.

        Returns:
            The content. A pipe is read to its end, even if no process has opened it for writing yet.

        Raises:
            OSError: EFBIG above the limit, ETIMEDOUT where a pipe gives nothing for 10 s, or as read(2).
        """
        content = bytearray()
        while part := self._next(limit + 1 - len(content)):
            content += part
            if len(content) > limit:
                raise OSError(errno.EFBIG, msg("the file is larger than {limit} bytes", limit=limit))
        return bytes(content)

    def _next(self, most: int) -> bytes:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        while True:
            if not self.is_regular and not poll.poll(_READ_TIMEOUT * 1000):
                raise TimeoutError(errno.ETIMEDOUT, msg("the file is a pipe that no program writes to"))
            try:
                return os.read(self.descriptor, min(_CHUNK, most))
            except BlockingIOError:
                continue

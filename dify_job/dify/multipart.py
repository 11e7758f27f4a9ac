"""One file as multipart/form-data, read from the disk as it is sent: 100 MB are not in memory at once."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..messages.message import msg
from .transport import UnreadableFileError

_CHUNK = 65536
_REPLACED = dict.fromkeys(
    [*map(ord, '/\\:*?"<>|'), *range(32), 127], "_"
)  # `error-upload-bad-filename-chars`


class Body:
    """A request body that requests sends in pieces; its length is known, so nothing is chunked.

    Attributes:
        content_type: For the request's header.
    """

    def __init__(self, file: BinaryIO, name: str, mime_type: str, user: str) -> None:
        """Read nothing yet. The fields are written as browsers do (HTML, multipart/form-data encoding).

        Args:
            file: Opened for reading.
            name: Its name.
            mime_type: As the server is to take it.
            user: The end user of the run.
        """
        boundary = secrets.token_hex(16)
        one_line = user.replace("\r", " ").replace("\n", " ")
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._before = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="user"\r\n\r\n{one_line}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {mime_type}\r\n\r\n"
        ).encode(errors="replace")
        self._after = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._before) + self._size + len(self._after)

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces, each time from the beginning: a redirect has it sent again.

        Raises:
            UnreadableFileError: The file became shorter, or cannot be read any more.
        """
        yield self._before
        self._file.seek(0)
        left = self._size
        while left:
            try:
                piece = self._file.read(min(_CHUNK, left))
            except OSError as error:
                raise UnreadableFileError(error.strerror or str(error)) from None
            if not piece:
                raise UnreadableFileError(msg("the file became shorter while dify-job sent it"))
            left -= len(piece)
            yield piece
        yield self._after


@contextlib.contextmanager
def opened_body(path: Path, mime_type: str, user: str) -> Iterator[Body]:
    """Open a file and give the request body that has it, under a name that Dify takes.

    Args:
        path: The file.
        mime_type: As the server is to take it.
        user: The end user of the run.

    Raises:
        UnreadableFileError: The file cannot be read.
    """
    with open_plain(path) as file:
        name = os.fsencode(path.name).decode(errors="replace").translate(_REPLACED)
        yield Body(file, name, mime_type, user)


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading; a FIFO does not block.

    Raises:
        UnreadableFileError: It cannot be opened, or is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableFileError(msg("it is not a regular file"))
    return os.fdopen(descriptor, "rb")

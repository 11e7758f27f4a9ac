"""One file as multipart/form-data, read from disk while it is sent, so that memory holds only a part."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..messages.message import msg
from ..system.secure_dir import open_path
from .transport import UnreadableFileError

_CHUNK = 65536
_REPLACED = dict.fromkeys(
    [*map(ord, '/\\:*?"<>|'), *range(32), 127], "_"
)  # `error-upload-bad-filename-chars`


class Body:
    """A request body that requests sends in parts. Its length is known, so it is not chunked.

    Attributes:
        content_type: The Content-Type of the request.
    """

    def __init__(self, file: BinaryIO, name: str, mime_type: str, user: str) -> None:
        """Read nothing yet. The fields are written as browsers do (HTML, multipart/form-data encoding).

        Args:
            file: Opened for reading.
            name: Its name.
            mime_type: The MIME type for the server.
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
        """Yield the parts from the beginning at each call, because a redirect sends the body again.

        Raises:
            UnreadableFileError: The file became shorter or unreadable.
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
    """Open a file and yield its request body, with a file name that Dify accepts.

    Args:
        path: The file.
        mime_type: The MIME type for the server.
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
        UnreadableFileError: It cannot be opened, or is not a regular file.
    """
    try:
        descriptor = open_path(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableFileError(msg("it is not a regular file"))
    return os.fdopen(descriptor, "rb")

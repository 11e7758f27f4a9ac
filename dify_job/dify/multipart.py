"""One file as multipart/form-data, read from the disk as it is sent: 100 MB are not in memory at once."""

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..messages.message import msg
from .transport import UnreadableFileError

_REFUSED = dict.fromkeys([*map(ord, '/\\:*?"<>|'), *range(32), 127], "_")  # `error-upload-bad-filename-chars`


class Part(NamedTuple):
    """One local file to be sent, with the MIME type to declare."""

    path: Path
    mime_type: str

    @property
    def name(self) -> str:
        """The file's name with `_` for the characters that Dify rejects in one."""
        return os.fsencode(self.path.name).decode(errors="replace").translate(_REFUSED)

    @contextlib.contextmanager
    def opened(self, user: str) -> "Iterator[Body]":
        """Open the file and give the request body.

        Args:
            user: The end user of the run.

        Raises:
            UnreadableFileError: The file cannot be read.
        """
        with open_plain(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            yield Body(file, size, _fields(self.name, self.mime_type, user))


class Body:
    """A request body that requests reads in pieces; its length is known, so nothing is chunked."""

    def __init__(self, file: BinaryIO, size: int, before: bytes) -> None:
        boundary = secrets.token_hex(16).encode()
        self.content_type = f"multipart/form-data; boundary={boundary.decode()}"
        self._file = file
        self._size = size
        self._before = before.replace(b"--boundary", b"--" + boundary)
        self._after = b"\r\n--" + boundary + b"--\r\n"
        self.rewind()

    def __len__(self) -> int:
        return len(self._before) + self._size + len(self._after)

    def rewind(self) -> None:
        """Begin again, for a redirect."""
        self._file.seek(0)
        self._left = self._size
        self._head, self._tail = io.BytesIO(self._before), io.BytesIO(self._after)

    def read(self, size: int = -1) -> bytes:
        """Return the next piece, empty at the end.

        Raises:
            UnreadableFileError: The file became shorter, or cannot be read any more.
        """
        if size < 0:
            size = len(self)
        if piece := self._head.read(size):
            return piece
        if self._left:
            try:
                piece = self._file.read(min(size, self._left))
            except OSError as error:
                raise UnreadableFileError(error.strerror or str(error)) from None
            if not piece:
                raise UnreadableFileError(msg("it became shorter while it was sent"))
            self._left -= len(piece)
            return piece
        return self._tail.read(size)


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


def _fields(name: str, mime_type: str, user: str) -> bytes:
    """The fields as browsers write them (HTML, multipart/form-data encoding): names in UTF-8."""
    return (
        f'--boundary\r\nContent-Disposition: form-data; name="user"\r\n\r\n{_one_line(user)}\r\n'
        f'--boundary\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {mime_type}\r\n\r\n"
    ).encode(errors="replace")


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")

"""Sinks of log lines: stderr, syslog or a file. No sink waits for its reader; lost lines are counted."""

import contextlib
import fcntl
import io
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO

from ..messages.message import msg
from ..system.secure_dir import open_path

_MAX_PENDING = 256 * 1024  # bytes of log lines that wait for a reader
_SEND_TIMEOUT = 1.0  # seconds that a datagram waits for a daemon; no wait after the first timeout
_SYSLOG = "/dev/log"
_DAEMON_INFO = 3 * 8 + 6  # facility daemon, severity info (RFC 3164)
_MAX_FILE = 1_000_000  # bytes; a larger log file is renamed to FILE.1


class Stream(Protocol):
    """The methods of a text file that log lines need."""

    def write(self, text: str, /) -> int:
        """Write text."""

    def flush(self) -> None:
        """Write what is buffered."""

    def isatty(self) -> bool:
        """Return True on a terminal."""


class NonBlockingWriter(io.RawIOBase):
    """A writer to a file descriptor that never waits for the reader.

    Data that a full pipe or a stopped terminal does not accept is buffered up to a limit; further lines are
    lost.

    Attributes:
        lost: Dropped lines that were not reported yet.
    """

    def __init__(self, fd: int) -> None:
        """Write nothing yet.

        Raises:
            OSError: The descriptor is closed.
        """
        super().__init__()
        self.lost = 0
        self._fd = fd
        self._send, self._release = _non_blocking_write(fd)
        self._held = bytearray()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return True on a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Return True, as of every writer."""
        return True

    def close(self) -> None:
        """Close the writer's own descriptor; the given one stays open."""
        if not self.closed:
            self._release()
        super().close()

    def write(self, data: Any, /) -> int:
        """Write, buffer or drop the data; never waits and never fails."""
        data = bytes(data)
        with self._lock:
            self._push()
            if len(self._held) + len(data) > _MAX_PENDING:
                self.lost += max(1, data.count(b"\n"))
            else:
                self._held += data
                self._push()
        return len(data)

    def is_ready(self) -> bool:
        """Return True if the reader has read everything."""
        with self._lock:
            self._push()
            return not self._held

    def drain(self, seconds: float) -> None:
        """Wait until the reader has read the buffer, for at most this number of seconds."""
        until = time.monotonic() + seconds
        while not self.is_ready() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))

    def _push(self) -> None:
        while self._held:
            try:
                sent = self._send(bytes(self._held[:65536]))
            except BlockingIOError:
                return
            except OSError:  # a full disk or a closed reader
                self.lost += max(1, self._held.count(b"\n"))
                self._held.clear()
                return
            del self._held[:sent]


def _non_blocking_write(fd: int) -> tuple[Callable[[bytes], int], Callable[[], None]]:
    """Return a write function that raises BlockingIOError instead of waiting, and its close function.

    O_NONBLOCK belongs to the open file, which other processes share, so the file is opened a second time. If
    that fails, the flag is set only during one write.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(fd))
        return (
            lambda data: connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL),
            connection.close,
        )
    if not stat.S_ISFIFO(mode) and not os.isatty(fd):
        return lambda data: os.write(fd, data), lambda: None
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        own = os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return lambda data: _write_with_flag(fd, data), lambda: None
    return lambda data: os.write(own, data), lambda: os.close(own)


def _write_with_flag(fd: int, data: bytes) -> int:
    before = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, before | os.O_NONBLOCK)
    try:
        return os.write(fd, data)
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, before)


class DatagramSocket:
    """A connected socket of a logging daemon. A stuck daemon delays only the first message.

    Attributes:
        lost: Dropped messages that were not reported yet.
        stuck: True after a dropped message, until the daemon accepts one again.
    """

    def __init__(self, path: str) -> None:
        """Connect.

        Raises:
            OSError: no daemon listens there.
        """
        self.lost = 0
        self.stuck = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, message: bytes) -> bool:
        """Send one message; return False where it was dropped."""
        until = time.monotonic() + (0.0 if self.stuck else _SEND_TIMEOUT)
        self.stuck = False
        with contextlib.suppress(OSError):  # the daemon has ended
            while not self.stuck:
                with contextlib.suppress(BlockingIOError):
                    self._socket.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    return True
                # Another process can use the space that poll reports; then wait again.
                left = until - time.monotonic()
                self.stuck = left <= 0 or not self._wait(left)
        self.lost += 1
        return False

    def is_ready(self) -> bool:
        """Return True if the daemon accepts a message now."""
        return self._wait(0.0)

    def _wait(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))


class Syslog(DatagramSocket, io.TextIOBase):
    """A text stream that sends each line as a syslog message."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            OSError: no syslog daemon listens.
        """
        super().__init__(_SYSLOG)

    def write(self, text: str, /) -> int:
        """Send each line as one datagram."""
        for line in text.splitlines():
            self.send(f"<{_DAEMON_INFO}>dify-job[{os.getpid()}]: {line}".encode()[:8000])
        return len(text)


def open_log_file(path: Path) -> TextIO:
    """Open a file of limited size for appending; a full file is renamed to FILE.1.

    Raises:
        OSError: The file cannot be written, or is not a regular file.
    """
    directory = open_path(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # nobody need list it
    try:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path.name, dir_fd=directory, follow_symlinks=False).st_size > _MAX_FILE:
                os.rename(path.name, f"{path.name}.1", src_dir_fd=directory, dst_dir_fd=directory)
        # root may write to a directory where others can create a link or a pipe
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(path.name, flags, 0o640, dir_fd=directory)
    finally:
        os.close(directory)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise OSError(None, msg("it is not a regular file, or has more than one hard link"), str(path))
    writer: Any = NonBlockingWriter(fd)
    return io.TextIOWrapper(writer, "utf-8", "replace", write_through=True)

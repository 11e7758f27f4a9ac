"""Where the log of a run goes: terminal, journal, JSON lines; under cron the journal, syslog or log_file."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .. import log
from ..config.model import Job
from ..messages.message import msg
from .options import Globals
from .output import echo_err
from .schedule_guard import under_systemd

if TYPE_CHECKING:
    from .progress import LiveLine

_JOURNAL = Path("/run/systemd/journal/socket")
_SYSLOG = "/dev/log"
_DAEMON_INFO = 3 * 8 + 6  # facility daemon, severity info (RFC 3164)


def set_up(options: Globals, job: Job, *, scheduled: bool) -> LiveLine | None:
    """Choose the log's face; on a terminal give the live line, which is the log's stream then."""
    level = options.log_level
    if level is None:
        # DEBUG_INVOCATION: systemd.exec(5), RestartMode=debug
        debug = options.verbose or os.environ.get("DEBUG_INVOCATION") == "1"
        level = "debug" if debug else "warning" if options.quiet else "info"
    live: LiveLine | None = None
    stream: log.Stream = sys.stderr
    cron = is_cron(options, scheduled=scheduled)
    if stream.isatty() and options.log_format == "auto" and not options.quiet:
        from .progress import LiveLine  # noqa: PLC0415 - on a terminal alone

        live = LiveLine(sys.stderr)
    elif cron and not _JOURNAL.exists():
        stream = _Syslog.open() or _file_of(job) or _Silence()
    face = "journal" if cron and _JOURNAL.exists() else options.log_format
    log.set_up(face=face, level=log.level_of(level), stream=live or stream, job=job.name, journal=cron)
    return None if scheduled else live


def _file_of(job: Job) -> log.Stream | None:
    if job.log_file is None:
        return None
    from ..log.log_file import LogFile  # noqa: PLC0415 - on a machine without journald and syslog alone

    try:
        return LogFile(job.log_file)
    except OSError as error:  # it is cron's to mail, and changes no outcome
        echo_err(
            msg(
                "dify-job: log_file = {str!r} cannot be written: {strerror}",
                str=str(job.log_file),
                strerror=error.strerror,
            )
        )
        return None


def is_cron(options: Globals, *, scheduled: bool) -> bool:
    """True for a start by cron, which mails whatever is printed: only failures are.

    A cluster says how it wants the log.
    """
    return scheduled and options.log_format == "auto" and not under_systemd() and not sys.stderr.isatty()


class _Syslog:
    """Lines as syslog datagrams."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @classmethod
    def open(cls) -> _Syslog | None:
        """Where a syslog daemon listens."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            connection.connect(_SYSLOG)
        except OSError:
            connection.close()
            return None
        return cls(connection)

    def write(self, text: str, /) -> int:
        """One datagram a line."""
        for line in text.splitlines():
            with contextlib.suppress(OSError):
                self._socket.send(f"<{_DAEMON_INFO}>dify-job[{os.getpid()}]: {line}".encode()[:8000])
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """A program reads it."""
        return False


class _Silence:
    """No daemon takes the log: the result is in the state, and a failure is printed."""

    def write(self, text: str, /) -> int:
        return len(text)

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return False

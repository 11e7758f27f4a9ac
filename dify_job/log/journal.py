"""The journal's native protocol: one datagram an entry (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""

import contextlib
import fcntl
import re
import struct
import termios
import time
from collections.abc import Mapping
from functools import partialmethod
from typing import Any

from .sinks import DatagramSocket

_SOCKET = "/run/systemd/journal/socket"
# Bytes; a datagram of 300 KB fails with EMSGSIZE, and complete outputs are never logged.
_MAX_VALUE = 48 * 1024
_DRAIN = 1.0  # seconds at most

# Fixed ids of dify-job's messages: journalctl MESSAGE_ID=... finds every message of a kind.
MESSAGE_IDS: Mapping[str, str] = {
    "started": "0c6f4e3b5f0e4f7c9d3a6a2f3d1b7e01",
    "finished": "5b1c0d6e8a764c2f9f4e2b7d6c3a9e02",
    "failed": "d2a7f1c46b3e4b0a8e5d9c1f7a2b6e03",
    "skipped": "8f3e9b2d1c5a4d6fb7a0e4c2d9f1b604",
}


class Journal:
    """A logger for structlog that sends journal entries. Raises OSError without a journal."""

    def __init__(self) -> None:
        self.socket = DatagramSocket(_SOCKET)
        self._slow = False

    def _send(self, priority: int, /, **fields: Any) -> None:
        entry = {"PRIORITY": priority, "SYSLOG_IDENTIFIER": "dify-job"}
        for key, value in fields.items():
            match key:
                case "event":
                    entry["MESSAGE"] = value
                case "message_id":
                    entry["MESSAGE_ID"] = MESSAGE_IDS[value]
                case _:
                    entry[_field_name(key)] = value
        if self.socket.send(b"".join(_field(key, str(value)) for key, value in entry.items())):
            self._drain()

    def _drain(self) -> None:
        """Wait until journald has read the entries.

        journald finds the unit in /proc when it reads an entry, so it finds none after the process has
        exited. It reads in order and caches processes: when it reads the last entry, it has already cached
        this process (journald-context.c). TIOCOUTQ is SIOCOUTQ: bytes not yet read.
        """
        until = time.monotonic() + (0.0 if self._slow else _DRAIN)
        with contextlib.suppress(OSError):
            while struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0" * 4))[0]:
                self._slow = time.monotonic() >= until  # wait for a stuck daemon only once
                if self._slow:
                    return
                time.sleep(0.001)
            self._slow = False

    # The priorities of syslog(3).
    debug = partialmethod(_send, 7)
    info = partialmethod(_send, 6)
    warning = partialmethod(_send, 4)
    error = partialmethod(_send, 3)


def _field_name(key: str) -> str:
    """`workflow_run_id` -> `DIFY_WORKFLOW_RUN_ID`; capital letters, digits and underscores, at most 64."""
    return "DIFY_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:59]


def _field(key: str, value: str) -> bytes:
    raw = value.encode(errors="replace")[:_MAX_VALUE]
    if b"\n" in raw:
        return key.encode() + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n"
    return key.encode() + b"=" + raw + b"\n"

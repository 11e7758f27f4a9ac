"""The state of one job: the lock, the run in flight, the last result and the history.

BASE/JOB contains lock, in-flight.json, last.json, last-success.json and history.jsonl, for runs by hand,
timer and cron.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..exit_codes import Outcome
from ..messages.errors import JobError, obstacle_hint
from ..messages.message import Message, msg
from ..system.json_text import loads_answer
from ..system.secure_dir import Directory
from ..system.timestamps import END_OF_TIME, read_time
from . import directories
from .directories import link_to_private, make_base

STATE_FILES = frozenset(
    {
        "lock", "in-flight.json", "tick.json", "last.json", "last-success.json", "history.jsonl",
        "request.json", "downloads.json", "form.json", "metrics.json", "installed",
    }
)  # fmt: skip
_WRITTEN_UNDER_LOCK = frozenset({"in-flight.json", "last.json", "last-success.json", "history.jsonl"})
_LEFTOVER_AGE = 60.0  # seconds; no process writes a temporary file longer
_MAX_SIZE = 4 * 1024 * 1024  # bytes that are read; a thousand lines of history have about 500 kB
_MAX_DOWNLOADS = 10_000
_MAX_METRICS_FILES = 10
_HISTORY_LINES = 1000
_HISTORY_SLACK = 200  # extra lines before the file is rewritten, so that not each run does it


class InFlight(NamedTuple):
    """A run that was or will be submitted, without a recorded final outcome.

    Attributes:
        run: dify-job's id of the run.
        user: The end user.
        base_url: The server.
        started: The start, RFC 3339.
        deadline: The deadline by wall clock, in seconds since 1970.
        boot: The id of the boot in which the run began.
        boot_deadline: The deadline on CLOCK_BOOTTIME of that boot, independent of clock steps.
        stopped: The server accepted a stop.
        reported: The outcome that the run's process reported; None if it was killed before.
    """

    run: str
    user: str
    base_url: str
    started: str
    deadline: float
    boot: str
    boot_deadline: float
    task_id: str | None = None
    workflow_run_id: str | None = None
    stopped: bool = False
    reported: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "InFlight | None":
        """Parse a record; None for a damaged one. Fields of other versions are ignored."""
        kinds = cls.__annotations__
        data = (record or {}).items()
        try:
            return cls(**{key: value for key, value in data if isinstance(value, kinds.get(key, ()))})
        except TypeError:
            return None

    @property
    def began(self) -> datetime | None:
        """The start, aware; None if the record has none."""
        return read_time(self.started)

    @property
    def ended(self) -> Message:
        """Why the outcome is not recorded, as a part of a sentence."""
        if self.reported is None:
            return msg("the process of the earlier run ended without recording an outcome")
        return msg("dify-job reported {outcome} for the earlier run", outcome=self.reported)

    def overdue(self, grace: float) -> bool:
        """Return True if the deadline passed more than `grace` seconds ago."""
        if self.boot and self.boot == boot_id():  # empty under ProcSubset=pid
            return time.clock_gettime(time.CLOCK_BOOTTIME) > self.boot_deadline + grace
        return time.time() > self.deadline + grace

    def overdue_at(self, grace: float) -> datetime:
        """Return the local time at which the run is overdue; at most in the year 5138."""
        return datetime.fromtimestamp(max(0.0, min(self.deadline + grace, END_OF_TIME))).astimezone()


def boot_id() -> str:
    """Return the id of the current boot; empty if it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def record_in(text: str) -> dict[str, Any] | None:
    """Return the record in a file; None for a damaged one."""
    try:
        data = loads_answer(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def last_due_in(record: Mapping[str, Any] | None) -> float | None:
    """Return the time in a record of the last due time, in seconds since 1970; None for an invalid time."""
    at = (record or {}).get("at")
    return float(at) if isinstance(at, (int, float)) and 0 <= at < END_OF_TIME else None


def success_in(record: Mapping[str, Any] | None) -> datetime | None:
    """Return the time in a record of the last success; None for a damaged one."""
    return read_time((record or {}).get("at"))


class LockHeldError(Exception):
    """Another run of this job holds the lock. holder: its process, if known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class JobState:
    """The opened state directory of one job.

    Its methods raise OSError; the caller decides whether it is a warning or an error.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_base(directory.parent)
        link_to_private(directory)
        directory.mkdir(mode=0o700, exist_ok=True)
        self._files = Directory(directory, untrusted_owner=True)
        self._lock: int | None = None

    def close(self) -> None:
        """Release the lock, as the end of the process does."""
        if self._lock is not None:
            os.close(self._lock)
        self._files.close()

    def lock(self) -> None:
        """Take the job's lock and hold it until close.

        Raises:
            LockHeldError: Another process holds it.
        """
        if self._lock is not None:
            return
        fd = self._files.open("lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
            os.close(fd)
            raise LockHeldError(holder or msg("process ID unknown")) from None
        except OSError:
            os.close(fd)
            raise
        self._lock = fd
        self._files.remove_leftovers(_WRITTEN_UNDER_LOCK, older=0.0)
        self._files.remove_leftovers(STATE_FILES - _WRITTEN_UNDER_LOCK, older=_LEFTOVER_AGE)

    def in_flight(self) -> InFlight | None:
        """Return the run in flight of an earlier process; None for an unreadable record."""
        return InFlight.of(self.read("in-flight.json"))

    def put_in_flight(self, record: InFlight) -> None:
        """Store the run in flight, on disk before it returns (fsync of file and directory)."""
        self.write("in-flight.json", json.dumps(record._asdict()) + "\n", sync=True)

    def clear_in_flight(self) -> None:
        """Remove the run in flight, because its outcome is known."""
        self.remove("in-flight.json")

    def last_due(self) -> float | None:
        """Return the recorded last due time of --if-due, in seconds since 1970."""
        return last_due_in(self.read("tick.json"))

    def put_last_due(self, at: float) -> None:
        """Store the last due time, on disk before it returns."""
        self.write("tick.json", json.dumps({"at": at}) + "\n", sync=True)

    def last_success(self) -> datetime | None:
        """Return the start of the last successful run."""
        return success_in(self.read("last-success.json"))

    def downloads(self) -> dict[str, str]:
        """Return the files that the job saved, by path with the identities of `put_downloads`."""
        data = self.read("downloads.json") or {}
        return {path: identity for path, identity in data.items() if isinstance(identity, str)}

    def put_downloads(self, files: Mapping[str, str]) -> None:
        """Store which files the job saved; of more than the maximum number, the last."""
        last = dict(list(files.items())[-_MAX_DOWNLOADS:])
        self.write("downloads.json", json.dumps(last) + "\n")

    def add_metrics_file(self, path: str) -> None:
        """Record a metrics file of a run, so that it can be removed with the state."""
        paths = (self.read("metrics.json") or {}).get("paths")
        known = [one for one in paths if one != path] if isinstance(paths, list) else []
        if paths != [*known, path]:
            self.write("metrics.json", json.dumps({"paths": [*known, path][-_MAX_METRICS_FILES:]}) + "\n")

    def record_result(self, result: Mapping[str, Any]) -> None:
        """Store a result as a line of the history and as the last one; the caller holds the lock."""
        size = self.append_history(result)
        self.write("last.json", json.dumps(result, ensure_ascii=False) + "\n")
        stored = self._text("history.jsonl").split("\n")
        if len(stored) > _HISTORY_LINES + _HISTORY_SLACK or size > _MAX_SIZE:
            # If the file has no line ends, only the new line remains.
            self.write("history.jsonl", "\n".join(stored[1:][-_HISTORY_LINES - 1 :]))

    def append_history(self, result: Mapping[str, Any]) -> int:
        """Append a result to the history; a line that a full disk or a crash truncated affects no other line.

        Returns:
            The size of the history, in bytes.
        """
        line = (json.dumps(result, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        fd = self._files.open("history.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line
            if os.write(fd, line) < len(line):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "history.jsonl")
        finally:
            os.close(fd)
        if result.get("outcome") == Outcome.SUCCEEDED:
            self.write("last-success.json", json.dumps({"at": result["call_time"]}) + "\n")
        return size + len(line)

    def read(self, name: str, largest: int = _MAX_SIZE) -> dict[str, Any] | None:
        """Return a record; None if it is missing or damaged.

        Args:
            name: The name of the file.
            largest: The maximum size in bytes; the end of a larger file is read.
        """
        return record_in(self._text(name, largest))

    def _text(self, name: str, largest: int = _MAX_SIZE) -> str:
        """Return the text of a file, or the end of a larger file."""
        try:
            fd = self._files.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return ""
        with os.fdopen(fd, "rb") as file:
            file.seek(max(0, os.fstat(fd).st_size - largest))
            return file.read(largest).decode(errors="replace")

    def write(self, name: str, text: str, *, sync: bool = False) -> None:
        """Write a record atomically.

        Args:
            name: The name of the file.
            text: The content.
            sync: Wait until it is on disk.
        """
        with self._files.replacing(name, 0o600, sync=sync) as file:
            file.write(text.encode(errors="backslashreplace"))
        if sync:
            self._files.sync()

    def remove(self, name: str) -> None:
        """Remove a record if it exists."""
        self._files.remove(name)


@contextlib.contextmanager
def errors_as_cannot_write(state: JobState | None) -> Iterator[None]:
    """Raise errors of the state in the block as JobError (cannot-write), before anything is sent."""
    try:
        yield
    except OSError as error:
        if state is None:
            raise
        raise cannot_write(state.directory, error) from None


def cannot_write(directory: Path, error: OSError) -> JobError:
    """Return the error for a state directory in which the lock or a record cannot be written.

    Args:
        directory: The state directory.
        error: The error of the write.
    """
    if directory.is_relative_to(directories.SYSTEM_BASE) and error.errno in (errno.EACCES, errno.EPERM):
        otherwise = msg(
            "the directory belongs to a system job: run the command with sudo, or as the job's user"
        )
    elif directory.parent == directories.base_of(system=False) and not directories.is_pinned(directory.name):
        otherwise = msg(
            "give yourself write access to {directory}, or set the environment variable XDG_STATE_HOME to a "
            "directory that you can write to",
            directory=directory,
        )
    else:
        otherwise = msg("give yourself write access to {directory}", directory=directory)
    return JobError(
        Outcome.CANNOT_WRITE,
        msg(
            "the state directory {directory} cannot be used: {reason}",
            directory=directory,
            reason=error.strerror,
        ),
        obstacle_hint(error, directory, otherwise),
    )

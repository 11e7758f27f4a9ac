"""What the cron back end asks of the machine: the user's table through crontab(1), and whether cron runs."""

import contextlib
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system import subprocesses
from ..system.transaction import FileChange
from ..system.user import sudo
from . import access, systemctl
from .reconcile import StalePlanError, Step

_DAEMONS = ("cron", "crond")
_SBIN = ("/usr/sbin", "/sbin")  # not on the PATH of everybody
# Debian and busybox, cronie, Alpine's busybox
_SPOOLS = tuple(map(Path, ("/var/spool/cron/crontabs", "/var/spool/cron", "/etc/crontabs")))


def write_crontab(before: bytes, after: bytes) -> Step:
    """Return the step that replaces the caller's crontab.

    Args:
        before: The table as it was observed.
        after: The new table; an empty one is removed.

    Returns:
        A step that raises StalePlanError where somebody else wrote the table meanwhile, which then stays, and
        JobError where it cannot be read or written.
    """
    written = False

    def do() -> None:
        nonlocal written
        if read_table() != before:
            raise StalePlanError
        _write_table(after)
        try:
            written = read_table() == after
        except JobError:
            _write_table(before)
            raise
        if not written:
            raise StalePlanError

    def undo() -> None:
        if written and read_table() == after:
            _write_table(before)

    change = FileChange(path=Path("crontab"), before=before or None, after=after or None)
    return Step("write the crontab", do, undo, (change,))


def is_running() -> bool:
    """Return whether cron or crond runs; by its pid file where /proc hides others' processes."""
    with contextlib.suppress(OSError):
        for process_directory in Path("/proc").iterdir():
            if process_directory.name.isdigit():
                with contextlib.suppress(OSError):
                    if (process_directory / "comm").read_text().strip() in _DAEMONS:
                        return True
        if Path("/proc/1/comm").read_text():
            return False  # nothing is hidden, and Debian's cron leaves its pid file behind
    return any(Path(name).exists() for name in ("/run/crond.pid", "/run/cron.pid"))


def changed_at(path: Path) -> datetime | None:
    """Return when a file, or the entries of a directory, changed last; None where that is not known."""
    try:
        return datetime.fromtimestamp(path.stat().st_ctime, UTC)
    except OSError:
        return None


def table_changed_at() -> datetime | None:
    """Return when the caller's crontab was changed at the latest; None where no spool can be seen.

    Only root sees the table itself. The directory shows others when anybody's table was replaced last.
    """
    name = access.name_of(os.geteuid())
    found = [at for spool in _SPOOLS if (at := changed_at(spool / name) or changed_at(spool)) is not None]
    return found[0] if found else None


def start_command() -> str:
    """Return what starts the daemon of this machine, or installs one, as this caller has to give it."""
    there = [name for name in _DAEMONS if _in_sbin(name) or subprocesses.found(name)]
    if not there:
        start: str = "apt-get install cron"
    elif systemctl.is_booted():
        start = f"systemctl enable --now {there[0]}"
    else:
        start = f"service {there[0]} start" if _in_sbin("service") else there[0]
    return f"{sudo()}{start}"


def _in_sbin(name: str) -> bool:
    return any(Path(directory, name).exists() for directory in _SBIN)


def read_table() -> bytes:
    """Return the calling user's crontab; empty where there is none.

    Raises:
        JobError: cron does not give it (config), or cannot be asked (cannot-write). It must not be taken for
            empty then.
    """
    done = subprocesses.run(["crontab", "-l"])
    if done.code == 0:
        return _unescaped(done.stdout)
    # Debian and cronie: "no crontab for U", not translated; busybox: "can't open 'U': No such file ..."
    complaint = done.complaint.lower()
    busybox = "can't open" in complaint and "no such file" in complaint
    if not done.stdout and ("no crontab for" in complaint or busybox):
        return b""
    raise JobError(
        Outcome.CONFIG if done.answered else Outcome.CANNOT_WRITE,
        msg("your crontab cannot be read: {value}", value=done.reason),
        msg("crontab -l must work; see cron.allow and cron.deny in crontab(1)"),
    )


def _unescaped(listed: bytes) -> bytes:
    r"""The table itself, where `crontab -l` may have written CR as \r and BS as \b (Debian's 3.0pl1-162).

    `crontab -e` hands the table to an editor as it is, and cat leaves it so.
    """
    if b"\\r" not in listed and b"\\b" not in listed:
        return listed
    whole = subprocesses.run(["crontab", "-e"], environ={"VISUAL": "cat", "EDITOR": "cat"}).stdout
    return whole if whole.replace(b"\r", b"\\r").replace(b"\b", b"\\b") == listed else listed


def _write_table(table: bytes) -> None:
    """Give the table to cron; an empty one is removed, since it had nothing but managed blocks."""
    if not table:
        done = subprocesses.run(["crontab", "-r"])
    else:
        try:
            with tempfile.NamedTemporaryFile(prefix="dify-job-crontab-") as file:
                file.write(table)
                file.flush()
                done = subprocesses.run(
                    ["crontab", file.name]
                )  # never a pipe: an empty pipe empties the table
        except OSError as error:
            raise JobError(
                Outcome.CANNOT_WRITE,
                msg(
                    "the table could not be written in {gettempdir}: {strerror}",
                    gettempdir=tempfile.gettempdir(),
                    strerror=error.strerror,
                ),
                msg("your crontab is as it was; df {gettempdir}", gettempdir=tempfile.gettempdir()),
            ) from None
    if done.code != 0:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg("crontab refused the table: {complaint}", complaint=done.reason),
            msg("it is as it was: crontab -l"),
        )

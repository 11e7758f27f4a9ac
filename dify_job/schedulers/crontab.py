"""A user's crontab as bytes: the managed blocks in it, and every other byte as it was. Pure.

python-crontab is not used: it rewrites lines that it does not understand.
"""

import re
from dataclasses import dataclass

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.managed_files import FileState, FileStatus, Header, read_header

_BEGIN = re.compile(rb"(?m)^# Managed by dify-job for job ([a-z0-9][a-z0-9_-]{0,47})\.")
_END = re.compile(rb"(?m)^# End of dify-job job ([a-z0-9][a-z0-9_-]{0,47})\.\r?$")
_FOREIGN_HEADER = re.compile(
    # not cron's own, which `crontab -l` of some crons prints and a pipe then installs
    rb"\A(?:#[^\n]*\n)*#[^\n]*DO NOT EDIT(?! THIS FILE - edit the master and reinstall)"
)
_SETTING = re.compile(rb"(?m)^[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*([^\r\n]*)")
_SHELLS = frozenset({"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "tcsh", "yash", "zsh"})


@dataclass(frozen=True, slots=True)
class Block:
    """One job's block of a table.

    Attributes:
        job: The job.
        start: Offset of its first byte.
        end: Offset of the byte after its last line.
        header: Its first line.
        seen: Its lines, without the last.
    """

    job: str
    start: int
    end: int
    header: Header
    seen: FileStatus


def blocks(table: bytes) -> list[Block]:
    """Return the managed blocks of a table.

    Raises:
        JobError: A marker has no partner (config).
    """
    begins = [(found.start(), found[1].decode(), True) for found in _BEGIN.finditer(table)]
    ends = [(found.start(), found[1].decode(), False) for found in _END.finditer(table)]
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    for at, job, begins_here in sorted(begins + ends):
        if begins_here:
            if opened is not None:
                raise _unbalanced(opened[1])
            opened = at, job
            continue
        if opened is None or opened[1] != job or any(block.job == job for block in found):
            raise _unbalanced(job)
        start = opened[0]
        line_end = table.find(b"\n", at)
        end = len(table) if line_end < 0 else line_end + 1
        read = read_header(table[start:at])
        if read is None:
            raise _unbalanced(job)
        header, as_written = read
        seen = FileStatus(FileState.MANAGED if as_written else FileState.EDITED, header, table[start:at])
        found.append(Block(job, start, end, header, seen))
        opened = None
    if opened is not None:
        raise _unbalanced(opened[1])
    return found


def look(table: bytes, job: str) -> FileStatus:
    """Return a job's lines in a table, without the last, which ends its block.

    Args:
        table: The table.
        job: The job.
    """
    return next((block.seen for block in blocks(table) if block.job == job), FileStatus(FileState.ABSENT))


def with_block(table: bytes, job: str, lines: bytes) -> bytes:
    """Return a table with a job's lines, in their old place or at the end, but above hostile settings.

    Args:
        table: The table.
        job: The job.
        lines: The lines of its block, without the last.

    Raises:
        JobError: The table says that it must not be edited, or its markers are damaged (config).
    """
    block = lines + f"# End of dify-job job {job}.\n".encode()
    for old in blocks(table):
        if old.job != job:
            continue
        if hostile_above(table, old) is None:
            return table[: old.start] + block + table[old.end :]
        table = without_block(table, job)
    if _FOREIGN_HEADER.search(table):
        raise JobError(
            Outcome.CONFIG,
            msg("the crontab begins with DO NOT EDIT: another program manages it"),
            msg("install as root (a file in /etc/cron.d), or with --backend systemd"),
        )
    hostile = next((at for at, *setting in _settings(table) if _is_hostile(*setting)), None)
    if hostile is not None:
        return table[:hostile] + block + table[hostile:]
    if table and not table.endswith(b"\n"):  # busybox takes such a table; cron would read two lines as one
        table += b"\n"
    return table + block


def hostile_above(table: bytes, block: Block) -> str | None:
    """Return the first setting above a block that gives its lines another meaning.

    Args:
        table: The table.
        block: The block.

    Returns:
        For example `CRON_TZ=Asia/Tokyo`; None where there is none.
    """
    for at, name, value in _settings(table):
        if at < block.start and _is_hostile(name, value):
            return f"{name}={value}"
    return None


def is_mailed(table: bytes, block: Block) -> bool:
    """Return whether cron mails what the lines of a block print: MAILTO above them is not empty (crontab(5)).

    Args:
        table: The table.
        block: The block.
    """
    values = [value for at, name, value in _settings(table) if at < block.start and name == "MAILTO"]
    return not values or values[-1] != ""


def _settings(table: bytes) -> list[tuple[int, str, str]]:
    return [
        (found.start(), found[1].decode(), found[2].decode(errors="replace").strip().strip("\"'"))
        for found in _SETTING.finditer(table)
    ]


def _is_hostile(name: str, value: str) -> bool:
    """Cronie reads the times in CRON_TZ; the shell must know a plain command, and HOME has the state."""
    return name in ("CRON_TZ", "HOME") or (name == "SHELL" and value.rpartition("/")[2] not in _SHELLS)


def without_block(table: bytes, job: str) -> bytes:
    """Return a table without a job's block.

    Args:
        table: The table.
        job: The job.
    """
    for old in blocks(table):
        if old.job == job:
            return table[: old.start] + table[old.end :]
    return table


def _unbalanced(job: str) -> JobError:
    return JobError(
        Outcome.CONFIG,
        msg(
            "the markers of job {job} in the crontab are damaged, so its lines cannot be found",
            job=job,
        ),
        msg("repair or delete that block by hand: crontab -e"),
    )

"""A user's crontab as bytes: our marked blocks in it, and every other byte as it was. Pure.

python-crontab is not used: it rewrites lines that it does not understand.
"""

import re
from dataclasses import dataclass

from ..errors import JobError
from ..exits import Outcome
from ..ownership import Mark, read_mark

_BEGIN = re.compile(rb"(?m)^# Managed by dify-job for job ([a-z0-9][a-z0-9_-]{0,47})\.")
_END = re.compile(rb"(?m)^# End of dify-job job ([a-z0-9][a-z0-9_-]{0,47})\.\r?$")
_FOREIGN_HEADER = re.compile(rb"(?i)\A(?:#[^\n]*\n)*#[^\n]*do not edit", re.ASCII)


@dataclass(frozen=True, slots=True)
class Block:
    """One job's block: bytes [start, end) of the table, last line end included."""

    job: str
    start: int
    end: int
    mark: Mark
    edited: bool


def end_line(job: str) -> str:
    """The last line of a job's block."""
    return f"# End of dify-job job {job}.\n"


def blocks(table: bytes) -> list[Block]:
    """Our blocks. Raises JobError (config) where a marker has no partner: what is ours is unclear then."""
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
        read = read_mark(table[start:at])
        if read is None:
            raise _unbalanced(job)
        found.append(Block(job, start, end, read[0], not read[1]))
        opened = None
    if opened is not None:
        raise _unbalanced(opened[1])
    return found


def with_block(table: bytes, job: str, block: bytes) -> bytes:
    """The table with a job's block in its old place, or at the end.

    Raises JobError (config) for a table that says it must not be edited.
    """
    for old in blocks(table):
        if old.job == job:
            return table[: old.start] + block + table[old.end :]
    if _FOREIGN_HEADER.search(table):
        raise JobError(
            Outcome.CONFIG,
            "the crontab begins with DO NOT EDIT: another program manages it",
            "install as root (a file in /etc/cron.d), or with --backend systemd",
        )
    if table and not table.endswith(b"\n"):  # busybox takes such a table; cron would read two lines as one
        table += b"\n"
    return table + block


def without_block(table: bytes, job: str) -> bytes:
    """The table without a job's block."""
    for old in blocks(table):
        if old.job == job:
            return table[: old.start] + table[old.end :]
    return table


def _unbalanced(job: str) -> JobError:
    return JobError(
        Outcome.CONFIG,
        f"the marks of job {job} in the crontab are damaged, so that its lines cannot be told from others",
        "mend or delete that block by hand: crontab -e",
    )

"""A paused job under cron: its lines are commented, which lasts across reboots. Pure."""

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.managed_files import FileState, FileStatus, marked

MARK = "#paused# "


def with_pause(seen: FileStatus, job: str, *, paused: bool) -> bytes:
    """A job's lines, commented or not; those that were edited stay known as that.

    Raises JobError (config) where they are not ours.
    """
    if seen.mark is None:
        raise JobError(
            Outcome.CONFIG,
            msg("job {job} is not installed in cron", job=job),
            msg("dify-job install {job}", job=job),
        )
    first, _, body = seen.content.decode(errors="surrogateescape").partition("\n")
    lines = [line.removeprefix(MARK) for line in body.split("\n")]
    if paused:
        lines = [line if not line or line.startswith("#") else f"{MARK}{line}" for line in lines]
    body = "\n".join(lines)
    if seen.found is not FileState.EDITED:
        return marked(job, seen.mark.config, seen.mark.source, body).encode()
    return f"{first}\n{body}".encode(errors="surrogateescape")


def is_paused(content: bytes) -> bool:
    """True where its lines are commented."""
    lines = content.splitlines()
    return any(line.startswith(MARK.encode()) for line in lines)

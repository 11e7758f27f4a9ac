"""The first line of every managed file: for which job it is, and whether it was changed since it was written.

`# Managed by dify-job for job daily. body=... config=... from=...` is how drift, hand edits, foreign files
and orphans are distinguished, without the config and without a running service manager.
"""

import hashlib
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from .opened_file import read_regular

_FIRST_LINE = (
    rb"# Managed by dify-job for job (?P<job>[a-z0-9][a-z0-9_-]{0,47})\. "
    rb"body=(?P<body>[0-9a-f]{16}) config=(?P<config>[0-9a-f]{16}) from=(?P<source>\"(?:[^\"\\]|\\.)*\")"
    rb"(?P<paused> paused)?(?: [^\n]*)?"
)
_REFUSED = "edits are refused at the next install"


def digest(content: bytes) -> str:
    """Return 16 hexadecimal digits for a content; the same from release to release."""
    return hashlib.sha256(content).hexdigest()[:16]


def fingerprint(text: str) -> str:
    """Return the digest of a text."""
    return digest(text.encode())


class FileState(StrEnum):
    """What stands at the place of one of our files."""

    ABSENT = "absent"
    MANAGED = "managed"
    EDITED = "edited"
    FOREIGN = "foreign"
    MASKED = "masked"
    UNREADABLE = "unreadable"


class Header(NamedTuple):
    """The first line of a managed file.

    Attributes:
        job: The job that the file is for.
        body: The digest of what follows, as it was written.
        config: The fingerprint of the values that reach the file.
        source: The path of the config.
    """

    job: str
    body: str
    config: str
    source: str


class FileStatus(NamedTuple):
    """What is at a place on disk.

    Attributes:
        state: What it is.
        header: Its first line, if it is managed.
        content: Its bytes.
    """

    state: FileState
    header: Header | None = None
    content: bytes = b""

    @property
    def is_managed(self) -> bool:
        """Whether dify-job wrote it, edited since or not."""
        return self.state in (FileState.MANAGED, FileState.EDITED)

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else put it there, a mask included."""
        return self.state in (FileState.FOREIGN, FileState.MASKED)

    @property
    def text(self) -> str:
        """Its content, whatever its encoding."""
        return self.content.decode(errors="replace")


def with_header(job: str, config: str, source: str, body: str, note: str = _REFUSED) -> str:
    """Return a body under its first line.

    Args:
        job: The job that the file is for.
        config: The fingerprint of the values that reach the file.
        source: The path of the config.
        body: The text below the first line.
        note: What becomes of edits, for who opens the file.
    """
    quoted = source.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return (
        f"# Managed by dify-job for job {job}. body={digest(body.encode())} config={config} "
        f'from="{quoted}" {note}\n{body}'
    )


def read_header(content: bytes) -> tuple[Header, bool] | None:
    """Return the header, and whether the body is as it was written; None where the file is not managed."""
    first, _, body = content.partition(b"\n")
    line = re.fullmatch(_FIRST_LINE, first)
    if line is None:
        return None
    quoted = line["source"].decode(errors="replace")[1:-1]
    source = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], quoted)
    header = Header(line["job"].decode(), line["body"].decode(), line["config"].decode(), source)
    return header, digest(body) == header.body


def file_status(path: Path, job: str | None = None) -> FileStatus:
    """Return the state of a path.

    Args:
        path: The path.
        job: The job that the header of a managed file must name; None for any.
    """
    try:
        if path.is_symlink():
            masked = str(path.readlink()) == "/dev/null"
            return FileStatus(FileState.MASKED if masked else FileState.FOREIGN)
        content = read_regular(path)
    except FileNotFoundError:
        return FileStatus(FileState.ABSENT)
    except PermissionError:
        return FileStatus(FileState.UNREADABLE)
    except OSError:
        return FileStatus(FileState.FOREIGN)
    if not content and path.name.endswith((".service", ".timer")):
        return FileStatus(FileState.MASKED)  # an empty unit file masks, too (systemd.unit(5))
    read = read_header(content)
    if read is None or (job is not None and read[0].job != job):
        return FileStatus(FileState.FOREIGN, None, content)
    return FileStatus(FileState.MANAGED if read[1] else FileState.EDITED, read[0], content)


def is_missing(path: Path, kind: Callable[[int], bool] = bool) -> bool:
    """Return whether nothing is at a path; False where the caller cannot look.

    Args:
        path: The path.
        kind: What its mode must be, such as stat.S_ISDIR.
    """
    try:
        return not kind(path.stat().st_mode)
    except PermissionError:
        return False
    except OSError:
        return True

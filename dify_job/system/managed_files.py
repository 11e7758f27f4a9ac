"""The header of managed files: the job, and a digest that shows edits.

The line `# Managed by dify-job for job daily. body=... config=... from=...` distinguishes outdated, edited,
foreign and orphaned files, without the configuration and without a running service manager.
"""

import hashlib
import re
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
    """Return a digest of 16 hexadecimal digits, which is stable between releases."""
    return hashlib.sha256(content).hexdigest()[:16]


def fingerprint(text: str) -> str:
    """Return the digest of a text."""
    return digest(text.encode())


class FileState(StrEnum):
    """The state of a path for a managed file."""

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
    """The status of a path.

    Attributes:
        state: The state.
        header: The header of a managed file.
        content: The content.
    """

    state: FileState
    header: Header | None = None
    content: bytes = b""

    @property
    def is_managed(self) -> bool:
        """True if dify-job wrote the file, even if it was edited since."""
        return self.state in (FileState.MANAGED, FileState.EDITED)

    @property
    def is_foreign(self) -> bool:
        """True if another program or person created the file or mask."""
        return self.state in (FileState.FOREIGN, FileState.MASKED)

    @property
    def text(self) -> str:
        """The content as text, for any encoding."""
        return self.content.decode(errors="replace")


def with_header(job: str, config: str, source: str, body: str, note: str = _REFUSED) -> str:
    """Return a text with its header.

    Args:
        job: The job that the file is for.
        config: The fingerprint of the values that reach the file.
        source: The path of the config.
        body: The text below the header.
        note: A note about edits, for readers of the file.
    """
    quoted = source.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return (
        f"# Managed by dify-job for job {job}. body={digest(body.encode())} config={config} "
        f'from="{quoted}" {note}\n{body}'
    )


def read_header(content: bytes) -> tuple[Header, bool] | None:
    """Return the header, and whether the body is unchanged; None if the file is not managed."""
    first, _, body = content.partition(b"\n")
    line = re.fullmatch(_FIRST_LINE, first)
    if line is None:
        return None
    quoted = line["source"].decode(errors="replace")[1:-1]
    source = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], quoted)
    header = Header(line["job"].decode(), line["body"].decode(), line["config"].decode(), source)
    return header, digest(body) == header.body


def file_status(path: Path, job: str | None = None) -> FileStatus:
    """Return the status of a path.

    Args:
        path: The path.
        job: The job that the header of a managed file must name; None for any.
    """
    try:
        if path.is_symlink():
            masked = str(path.readlink()) == "/dev/null"
            return FileStatus(FileState.MASKED if masked else FileState.FOREIGN)
        content = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
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

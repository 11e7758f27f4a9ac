"""Find and read the TOML files of a configuration, with line numbers for messages."""

import difflib
import errno
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..system.json_text import BoundsError, check
from ..system.opened_file import OpenedFile
from ..system.user import config_home
from .model import BrokenFile
from .permissions import directories_error, file_error, permission_fix, unreadable

VALIDATE = msg(
    "correct the configuration file, then check it: {command}",
    command=command("dify-job", "config", "validate"),
)
_QUOTES = msg(
    'write strings in quotes, for example: every = "1h". Then check the configuration file: {command}',
    command=command("dify-job", "config", "validate"),
)
_OLD_SUFFIXES = (".schedule.toml", ".key.toml")  # companions that earlier versions wrote
_MANAGED = "# Managed by dify-job for job "
_SYSTEM_CONFIG = Path("/etc/dify-job/config.toml")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_BOM = "\ufeff"  # Windows' editors put it there
_MAX_SIZE = 16 * 1024 * 1024  # bytes
_HEADER = r"\s*\[\[?\s*(?:([^\]]+?)\s*\]\]?\s*(?:#.*)?|([A-Za-z0-9_.\s-]+))$"
_KEY = r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
_PART = r"""[^."']+|"[^"]*"|'[^']*'"""


class Document(NamedTuple):
    """One TOML file, parsed, with its text for line numbers."""

    path: Path
    text: str
    data: Mapping[str, Any]

    def line_of(self, path: tuple[str, ...]) -> int | None:
        """Return the line of a key, or of the nearest table above it; None where there is none.

        A key inside an inline table has the line of the table.
        """
        found = _lines_of(self.text)
        return next((found[path[:n]] for n in range(len(path), 0, -1) if path[:n] in found), None)

    @property
    def is_companion(self) -> bool:
        """Return True for a managed file about a job that a user's file declares."""
        return _is_companion(self.text, (key for _, key in _keys_in(self.text)))

    def place(self, path: tuple[str, ...]) -> str:
        """Return `file:line` of a key."""
        line = self.line_of(path)
        return f"{self.path}:{line}" if line else str(self.path)


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the first configuration of: --config, $DIFY_JOB_CONFIG, the user's file, the system's file.

    Args:
        path: From --config.
        environ: The variables of the process.

    Raises:
        JobError: The named file does not exist (config).
    """
    named = path or (Path(environ["DIFY_JOB_CONFIG"]) if environ.get("DIFY_JOB_CONFIG") else None)
    if named is not None:
        if not _is_there(named, unseen=True):
            raise JobError(
                Outcome.CONFIG,
                msg("the configuration file {named} does not exist", named=named),
                msg("check --config and the environment variable DIFY_JOB_CONFIG"),
            )
        return named
    own = config_home(environ) / "dify-job/config.toml"
    if not _is_there(own, unseen=False):  # HOME can be the home of another user, as under `su`
        return _SYSTEM_CONFIG if _is_there(_SYSTEM_CONFIG, unseen=True) else None
    # sudo can leave HOME, and root does not use a file of another user
    if os.geteuid() == 0 and own.stat().st_uid != 0 and _is_there(_SYSTEM_CONFIG, unseen=True):
        return _SYSTEM_CONFIG
    return own


def is_found(path: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether commands find this configuration without --config.

    Args:
        path: The configuration.
        environ: The variables of the process.
    """
    try:
        found = find_config(None, environ)
    except JobError:
        return False
    return found is not None and found.absolute() == path.absolute()


def _is_there(path: Path, *, unseen: bool) -> bool:
    """Return whether the file exists; `unseen` if the caller cannot access its directory."""
    try:
        return path.exists()
    except OSError:
        return unseen


def read_documents(path: Path) -> tuple[list[Document], list[BrokenFile]]:
    """Read the file and config.d/*.toml next to it.

    Returns:
        The documents in merge order, and the files of config.d that cannot be used.

    Raises:
        JobError: The file itself cannot be used, or the directory config.d cannot be read.
    """
    try:
        with OpenedFile(path) as file:
            documents = [_parsed(path, file, file.read(_MAX_SIZE))]
    except OSError as error:
        raise unreadable(msg("configuration file"), path, error) from None
    broken = []
    for part in _config_d_files(path.parent / "config.d"):
        found = _read_part(part)
        if isinstance(found, Document):
            documents.append(found)
        else:
            broken.append(found)
    return documents, broken


def valid_name(job: str) -> bool:
    """Return whether a name is valid in units, crontabs, journal fields and Kubernetes objects."""
    return _NAME.fullmatch(job) is not None


def table_in(value: Any) -> Mapping[str, Any]:
    """Return a table of a document; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def suggestion(word: str, known: list[str]) -> str:
    """Return `; did you mean ...` with the most similar known word; empty if no word is similar."""
    close = difflib.get_close_matches(word, known, 1)
    return msg("; did you mean {close}?", close=close[0]) if close else ""


def _config_d_files(directory: Path) -> list[Path]:
    """Return the files of config.d. Editors, archives and version control write those with a leading dot."""
    try:
        names = [entry.name for entry in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(msg("directory"), directory, error) from None
    parts = [directory / name for name in names if name.endswith(".toml") and not name.startswith(".")]
    # By the name without .toml: a managed JOB.settings.toml comes after a person's JOB.toml.
    return sorted(parts, key=lambda part: part.stem)


def _read_part(path: Path) -> Document | BrokenFile:
    content = b""
    try:
        with OpenedFile(path) as file:
            if not file.is_regular:
                fault = JobError(
                    Outcome.CONFIG,
                    msg("the configuration file {path} is not a regular file", path=path),
                    command("ls", "-ld", str(path)),
                )
                return BrokenFile(path, fault)
            content = file.read(_MAX_SIZE)
            return _parsed(path, file, content)
    except OSError as error:
        is_empty = error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO)  # a dangling link, or a socket
        return BrokenFile(path, unreadable(msg("configuration file"), path, error), for_all=not is_empty)
    except JobError as error:
        return _broken_file(path, error, content.decode(errors="replace").removeprefix(_BOM))


def _broken_file(path: Path, error: JobError, text: str) -> BrokenFile:
    """Return a file of config.d with an error; its text, TOML or not, shows which jobs need it."""
    keys = {key for _, key in _keys_in(text)}
    jobs = frozenset(key[1] for key in keys if key[0] == "jobs" and len(key) >= 2)
    return BrokenFile(
        path,
        error,
        declares=frozenset()
        if path.name.endswith(_OLD_SUFFIXES) or _is_companion(text, keys)
        else frozenset(filter(valid_name, jobs)),
        for_all=any(key[0] == "defaults" or key == ("jobs",) for key in keys),
    )


def _is_companion(text: str, keys: Iterable[tuple[str, ...]]) -> bool:
    """Return whether a text is that of a companion file; a file with a base URL is a complete job."""
    return text.startswith(_MANAGED) and not any(key[2:] == ("base_url",) for key in keys)


def _parsed(path: Path, file: OpenedFile, content: bytes) -> Document:
    if os.geteuid() == 0 and (
        fault := file_error(path, file.status, file.descriptor, private=False) or directories_error(path)
    ):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "root does not use the configuration file {path}, because other users could change "
                "it: {reason}",
                path=path,
                reason=fault,
            ),
            permission_fix(path, private=False),
        )
    try:
        text = content.decode().removeprefix(_BOM)
        data = tomllib.loads(text)
        check(data)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise JobError(
            Outcome.CONFIG,
            msg("the configuration file {path} is not UTF-8 (line {line})", path=path, line=line),
            msg(
                "convert the file from its encoding, such as ISO-8859-1 or GB18030: {command}",
                command=command("iconv", "-f", "ISO-8859-1", "-t", "UTF-8", str(path)),
            ),
        ) from None
    except RecursionError:
        raise JobError(
            Outcome.CONFIG, msg("the configuration file {path} is nested too deeply", path=path), VALIDATE
        ) from None
    except BoundsError as error:
        raise JobError(
            Outcome.CONFIG,
            msg("the configuration file {path} cannot be used: {error}", path=path, error=error),
            VALIDATE,
        ) from None
    except ValueError as error:  # an error of tomllib, or a number with more than 4,300 digits
        bare = str(error).startswith(("Invalid value", "Expected newline"))
        raise JobError(
            Outcome.CONFIG,
            msg("the configuration file {path} is not TOML: {error}", path=path, error=error),
            _QUOTES if bare else VALIDATE,
        ) from None
    document = Document(path, text, data)
    if mistakes := list(_mistakes_outside_jobs(document)):
        raise JobError(Outcome.CONFIG, join("\n", mistakes), VALIDATE)
    return document


def _mistakes_outside_jobs(document: Document) -> Iterator[str]:
    for key, value in document.data.items():
        if key not in ("defaults", "jobs"):
            other = (
                msg("; a job begins with [jobs.{name}]", name=key)
                if isinstance(value, dict) and valid_name(key)
                else msg("; write a setting below [defaults] or [jobs.NAME]")
            )
            hint = suggestion(key, ["defaults", "jobs"]) or other
            yield msg(
                "{place}: unknown setting {key!r}{hint}", place=document.place((key,)), key=key, hint=hint
            )
        elif not isinstance(value, dict):
            yield msg("{place}: {key} must be a table", place=document.place((key,)), key=key)
    if document.is_companion:
        return  # another file declares the job, or did so earlier
    for name, table in table_in(document.data.get("jobs")).items():
        if not valid_name(name):
            yield (
                msg(
                    "{place}: the job name {name!r} is not allowed; use at most 48 characters of "
                    "a-z, 0-9, - and _, and begin with a letter or digit",
                    place=document.place(("jobs", name)),
                    name=name,
                )
            )
        elif not isinstance(table, dict):
            yield msg("{place}: jobs.{name} must be a table", place=document.place(("jobs", name)), name=name)


@cache
def _lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Return the first line of each table and key; a file is searched once for all messages."""
    found: dict[tuple[str, ...], int] = {}
    for number, key in _keys_in(text):
        for length in range(1, len(key) + 1):
            found.setdefault(key[:length], number)
    return found


def _keys_in(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield line and full path of each table and key that begins a line."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(_HEADER, line):
            table = _split(header[1] or header[2])
            if table:
                yield number, table
        elif key := re.match(_KEY, line):
            yield number, table + _split(key[1])


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(_PART, dotted))

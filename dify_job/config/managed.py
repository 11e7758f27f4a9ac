"""Managed files next to a user's configuration, which itself is never edited.

`install` and `secret set` write them. config.d/JOB.settings.toml has settings from flags of install, settings
from an env file, and the path of the key. A key without a file of its own is in credentials/JOB.key.
"""

import contextlib
import os
import tomllib
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.managed_files import FileState, FileStatus, file_status, fingerprint, with_header
from ..system.opened_file import read_regular
from ..system.transaction import FileChange
from ..system.user import config_home
from .model import Secret
from .permissions import check_secret_path
from .schema import KEY_KINDS, merge_layers
from .toml_writer import document

_STUB = (
    "# Configuration of dify-job. This file is yours: add [jobs.NAME] tables here.\n"
    "# What dify-job install took from flags or a .env file is in config.d/.\n"
)
# Files of earlier versions in their merge order, and the file that replaces them.
_SUFFIXES = (".job", ".key", ".schedule", ".settings")
_STORED = "# dify-job secret set stored the key; uninstall leaves it.\n"


def scope_config(*, system: bool, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the default configuration file of a scope.

    Args:
        system: True for the system scope.
        environ: The variables of the process.
    """
    if system:
        return Path("/etc/dify-job/config.toml")
    return config_home(environ) / "dify-job/config.toml"


def key_path(config_path: Path, job: str) -> Path:
    """Return the path for the key of a job without api_key_file.

    Args:
        config_path: The config file.
        job: The job's name.
    """
    return config_path.parent / "credentials" / f"{job}.key"


def settings_path(config_path: Path, job: str) -> Path:
    """Return the managed companion file of a job.

    Args:
        config_path: The config file.
        job: The job's name.
    """
    return _places(config_path, job)[-1]


def key_file(config_path: Path, job: str, key: Secret) -> FileChange:
    """Return the change that writes a key to a private file.

    Args:
        config_path: The config file.
        job: The job's name.
        key: The key.

    Raises:
        JobError: Others could replace the file (config).
    """
    path = key_path(config_path, job)
    check_secret_path(path)
    return _change(path, f"{key.reveal()}\n".encode(), mode=0o600, secret=True)


def stub(config_path: Path) -> FileChange:
    """Return the change that creates an empty configuration for --config."""
    return _change(config_path, _STUB.encode())


def settings_files(
    config_path: Path, job: str, values: Mapping[str, Any], *, whole: bool = False, stored: bool = False
) -> tuple[FileChange, ...]:
    """Return the changes that add settings to a job's companion file and remove files of earlier versions.

    Args:
        config_path: The config file.
        job: The job.
        values: Settings in the form of a configuration file; they override those of the companion.
        whole: The settings are the complete job and replace the companion.
        stored: The settings name a key that `secret set` stored.

    Raises:
        JobError: The existing file is not managed, or was edited by hand (config).
    """
    seen = {path: file_status(path, job) for path in _places(config_path, job)}
    companion = settings_path(config_path, job)
    managed = [path for path in seen if seen[path].is_managed]
    edited = [path for path in managed if seen[path].state is FileState.EDITED]
    if not values and (edited or not {*managed} - {companion}):
        return ()
    if edited or seen[companion].state not in (FileState.ABSENT, FileState.MANAGED):
        path = edited[0] if edited else companion
        raise JobError(
            Outcome.CONFIG,
            msg("the settings file {path} was edited by hand, so dify-job does not overwrite it", path=path)
            if edited
            else msg(
                "the settings file {path} was not written by dify-job, so dify-job does not overwrite it",
                path=path,
            ),
            msg(
                "move the settings of {path} into your own configuration file, then delete {path}", path=path
            ),
        )
    stored = stored or (_has_stored_key(seen) and not values.keys() & {*KEY_KINDS})
    present = {} if whole else _settings(seen.values(), job)
    new = _companion(config_path, job, merge_layers(present, values), stored=stored)
    return (new, *(_change(path, None) for path in managed if path != companion))


def removals(config_path: Path, job: str) -> tuple[FileChange, ...]:
    """Return the changes that remove a job's managed files at uninstall; a key of `secret set` stays.

    Args:
        config_path: The config file.
        job: The job's name.
    """
    seen = {
        path: status for path in _places(config_path, job) if (status := file_status(path, job)).is_managed
    }
    settings = _settings(seen.values(), job)
    changes = {path: _change(path, None) for path in seen}
    key = key_path(config_path, job)
    if _has_stored_key(seen):
        own = {name: settings[name] for name in KEY_KINDS if name in settings}
        changes[settings_path(config_path, job)] = _companion(config_path, job, own, stored=True)
    elif settings.get("api_key_file") == str(key) and key.exists():
        changes[key] = _change(key, None, mode=0o600, secret=True)
    return tuple(change for change in changes.values() if change.before != change.after)


def remove_leftovers(config_path: Path) -> None:
    """Remove empty directories, and a configuration that install created and nobody edited."""
    with contextlib.suppress(OSError):
        (config_path.parent / "credentials").rmdir()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        (config_path.parent / "config.d").rmdir()
        lines = read_regular(config_path).decode().splitlines()
        if lines[:1] == _STUB.splitlines()[:1] and all(line.startswith("#") for line in lines):
            config_path.unlink()
            config_path.parent.rmdir()


def _places(config_path: Path, job: str) -> tuple[Path, ...]:
    return tuple(config_path.parent / "config.d" / f"{job}{suffix}.toml" for suffix in _SUFFIXES)


def _has_stored_key(seen: Mapping[Path, FileStatus]) -> bool:
    return any(
        path.name.endswith(".key.toml") or _STORED in status.text
        for path, status in seen.items()
        if status.is_managed
    )


def _settings(files: Iterable[FileStatus], job: str) -> dict[str, Any]:
    """Return the merged settings of managed files; files that an edit made unreadable are ignored."""
    tables: list[dict[str, Any]] = []
    for status in files:
        with contextlib.suppress(ValueError, LookupError, RecursionError):
            tables += [tomllib.loads(status.text)["jobs"][job]] if status.is_managed else []
    return reduce(merge_layers, tables, {})


def _companion(config_path: Path, job: str, values: Mapping[str, Any], *, stored: bool) -> FileChange:
    body = (_STORED if stored else "") + document(job, values)
    text = with_header(job, fingerprint(body), str(config_path), body)
    return _change(settings_path(config_path, job), text.encode(errors="surrogateescape"))


def _change(path: Path, after: bytes | None, *, mode: int = 0o644, secret: bool = False) -> FileChange:
    try:
        before = read_regular(path)
    except OSError:
        before = None
    return FileChange(path=path, before=before, after=after, mode=mode, secret=secret)

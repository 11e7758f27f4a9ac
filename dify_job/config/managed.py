"""The files that install keeps beside a person's config, which itself is never edited.

Its flags stand in config.d/JOB.schedule.toml; a job that was taken from an env file in config.d/JOB.job.toml,
with its key in credentials/. `secret set` says in config.d/JOB.key.toml where a key is that was elsewhere.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.fingerprint import fingerprint
from ..system.managed_files import FileState, look, marked
from ..system.paths import config_home
from .document import schedule_keys
from .model import Job, ScheduleConfig, Secret
from .permissions import check_place_of_secret
from .toml_writer import toml

_STUB = (
    "# Configuration of dify-job. This file is yours: add [jobs.NAME] tables here.\n"
    "# What dify-job install was told by flags or took from a .env file stands in config.d/.\n"
)


@dataclass(frozen=True, slots=True)
class ManagedFile:
    """One file to be written. secret: it is shown nowhere."""

    path: Path
    content: bytes
    mode: int = 0o644
    secret: bool = False


def scope_config(*, system: bool, environ: Mapping[str, str] = os.environ) -> Path:
    """The config file that a scope has where none was named."""
    if system:
        return Path("/etc/dify-job/config.toml")
    return config_home(environ) / "dify-job/config.toml"


def key_path(config_path: Path, job: str) -> Path:
    """Where the key of a job is kept that has no file of its own."""
    return config_path.parent / "credentials" / f"{job}.key"


def schedule_file(config_path: Path, job: str, schedule: ScheduleConfig, run_as: str | None) -> ManagedFile:
    """What flags said: the schedule, and the user."""
    values = schedule_keys(schedule)
    if run_as is not None:
        values["run_as"] = run_as
    return _document(config_path.parent / "config.d" / f"{job}.schedule.toml", job, values, config_path)


def job_file(config_path: Path, job: Job, *, whole: bool) -> ManagedFile:
    """Where the key now is, and, where the job came from the environment, the whole of it."""
    values: dict[str, Any] = {"api_key_file": str(key_path(config_path, job.name))}
    if whole:
        values["base_url"] = job.base_url
        if job.end_user is not None:
            values["end_user"] = job.end_user
        if job.inputs:
            values["inputs"] = dict(job.inputs)
    return _document(config_path.parent / "config.d" / f"{job.name}.job.toml", job.name, values, config_path)


def key_entry(config_path: Path, job: str, path: Path, *, encrypted: bool) -> ManagedFile:
    """Where `secret set` put the key, where the job's own config says nothing or another place."""
    values = {"api_key_credential" if encrypted else "api_key_file": str(path)}
    return _document(config_path.parent / "config.d" / f"{job}.key.toml", job, values, config_path)


def key_file(config_path: Path, job: str, key: Secret) -> ManagedFile:
    """The key, for its owner alone."""
    return ManagedFile(key_path(config_path, job), f"{key.reveal()}\n".encode(), 0o600, secret=True)


def stub(config_path: Path) -> ManagedFile:
    """An empty config for --config to name, where there was none."""
    return ManagedFile(config_path, _STUB.encode())


def kept(config_path: Path, job: str) -> list[Path]:
    """The files of a job that are ours and may go when it is uninstalled."""
    directory = config_path.parent / "config.d"
    own = [directory / f"{job}.schedule.toml", directory / f"{job}.job.toml"]
    found = [path for path in own if look(path, job).is_ours]
    if own[1] in found and key_path(config_path, job).exists():
        found.append(key_path(config_path, job))
    return found


def is_stub(config_path: Path) -> bool:
    """True for a config that install made and nobody wrote in."""
    try:
        return config_path.read_bytes() == _STUB.encode()
    except OSError:
        return False


def forget(config_path: Path, job: str) -> list[Path]:
    """Remove what install kept of a job; the config itself only where install made it. Gives what went."""
    gone = []
    for path in kept(config_path, job):
        with contextlib.suppress(OSError):
            path.unlink()
            gone.append(path)
    with contextlib.suppress(OSError):
        (config_path.parent / "credentials").rmdir()
    with contextlib.suppress(OSError):
        (config_path.parent / "config.d").rmdir()
        if is_stub(config_path):
            config_path.unlink()
            gone.append(config_path)
            config_path.parent.rmdir()
    return gone


def check_place(file: ManagedFile, job: str) -> None:
    """Raise JobError (config) where something that is not ours stands at a file's place."""
    if file.secret:
        check_place_of_secret(file.path)
        return
    if not file.path.name.endswith((".schedule.toml", ".job.toml", ".key.toml")):
        return
    found = look(file.path, job).found
    if found not in (FileState.ABSENT, FileState.OURS):
        why = msg("was edited by hand") if found is FileState.EDITED else msg("is not dify-job's")
        raise JobError(
            Outcome.CONFIG,
            msg("{path} {why}", path=file.path, why=why),
            msg("move what it says into your own config file, and delete it"),
        )


def _document(path: Path, job: str, values: Mapping[str, Any], source: Path) -> ManagedFile:
    lines = [f"[jobs.{job}]", *(f"{key} = {toml(value)}" for key, value in values.items())]
    body = "\n".join(lines) + "\n"
    return ManagedFile(path, marked(job, fingerprint(body), str(source), body).encode())

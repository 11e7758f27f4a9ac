"""The status of all jobs on this host, the worst first."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..config.loader import load_config
from ..config.model import Config
from ..messages.errors import JobError
from ..schedulers.backend import InstalledJob
from ..schedulers.detect import chosen_scope, config_place
from ..schedulers.http_socket import HttpSocket, HttpSocketStatus
from ..schedulers.reconcile import Backend
from .job_status import Health, JobStatus, configured_status, installed_status

SCHEMA = 2
_ORDER = list(Health)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """All jobs on this host that are in sight.

    Attributes:
        at: When this was seen, aware.
        jobs: The worst first, then by name.
        http: The HTTP interfaces.
        config_errors: What is wrong with configurations, each once, with their paths; an empty path is the
            caller's own.

    """

    at: datetime
    jobs: tuple[JobStatus, ...]
    http: tuple[HttpSocketStatus, ...] = ()
    config_errors: tuple[tuple[str, JobError], ...] = ()

    @property
    def healthy(self) -> bool:
        """True where nothing needs attention."""
        listening = all(socket.listening is not False for socket in self.http)
        return not self.config_errors and listening and all(job.healthy for job in self.jobs)

    def as_json(self) -> dict[str, Any]:
        """Return the object that docs/status.md describes."""
        return {
            "schema": SCHEMA,
            "jobs": [job.as_json() for job in sorted(self.jobs, key=lambda job: job.job)],
            "http": [_socket_as_json(socket) for socket in self.http],
            "config_errors": [
                {"config": path, "message": error.message, "fix": error.hint}
                for path, error in self.config_errors
            ],
        }


def host_status(
    installed: Sequence[InstalledJob],
    config: Config | JobError | None,
    now: datetime,
    *,
    jobs: Sequence[str] = (),
    every_scope: bool = False,
    http: Sequence[HttpSocketStatus] = (),
) -> HostStatus:
    """Look at all jobs.

    Args:
        installed: What is installed and in sight.
        config: The caller's configuration, or why it cannot be used; None where there is none.
        now: The current time, aware.
        jobs: Only these; all where empty.
        every_scope: Whether a job of the machine stands for one of the same name in the caller's config.
        http: The HTTP interfaces in sight.

    """
    callers = config if isinstance(config, Config) else None
    configs = _Configs(config)
    rows = [installed_status(one, configs.of(one), callers, now) for one in installed]
    there = {one.job for one in installed if jobs or every_scope or _is_of(one, callers)}
    wanted = jobs or (callers.names if callers is not None else ())
    rows += [configured_status(job, callers, now) for job in wanted if job not in there]
    rows.sort(key=lambda row: (_ORDER.index(row.health), row.job))
    return HostStatus(at=now, jobs=tuple(rows), http=tuple(http), config_errors=configs.errors())


def http_sockets(backends: Sequence[Backend], jobs: Sequence[str] = ()) -> tuple[HttpSocketStatus, ...]:
    """Return the HTTP interfaces in sight.

    Args:
        backends: The schedulers that the caller can look at.
        jobs: Only those that serve one of these; all where empty.

    """
    scopes = dict.fromkeys(backend.scope for backend in backends if not backend.by_cron)
    found = (HttpSocket(scope).state() for scope in scopes)
    return tuple(
        state for state in found if state is not None and (not jobs or any(job in jobs for job in state.jobs))
    )


def _is_of(one: InstalledJob, config: Config | None) -> bool:
    """False for a job of the machine that only shares its name with one in the caller's config."""
    if config is None or config.path is None or one.scope is chosen_scope(None):
        return True
    return one.source == str(config_place(config, one.scope))


def _socket_as_json(state: HttpSocketStatus) -> dict[str, Any]:
    return {
        "scope": state.scope.value,
        "listen": state.config.listen if state.config is not None else None,
        "listening": state.listening,
        "jobs": list(state.jobs),
    }


class _Configs:
    """The configurations that jobs were installed from, each read once."""

    def __init__(self, callers: Config | JobError | None) -> None:
        self._callers = callers
        self._read: dict[str, Config | JobError] = {}

    def of(self, one: InstalledJob) -> Config | JobError | None:
        """The configuration of a job, or why it cannot be used; None where it cannot be seen."""
        callers = self._callers
        if isinstance(callers, Config) and one.source == str(config_place(callers, one.scope)):
            return callers
        if not one.source or not os.access(one.source, os.R_OK):
            return None
        if one.source not in self._read:
            self._read[one.source] = _load(Path(one.source))
        return self._read[one.source]

    def errors(self) -> tuple[tuple[str, JobError], ...]:
        """Each mistake once: what the caller's configuration and another say alike is the other's."""
        found: dict[str, tuple[str, JobError]] = {}
        for path, config in [("", self._callers), *self._read.items()]:
            for error in _errors(config):
                found[error.message] = (path, error)
        return tuple(found.values())


def _errors(config: Config | JobError | None) -> Sequence[JobError]:
    if isinstance(config, JobError):
        return (config,)
    return config.errors if config is not None else ()


def _load(path: Path) -> Config | JobError:
    try:
        return load_config(path)
    except JobError as error:
        return error

"""The status of all jobs on this host, the worst first."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..checks.finding import Finding, Severity
from ..checks.http_socket import http_finding
from ..config.loader import load_config
from ..config.model import Config
from ..messages.command import Reader, for_reader
from ..messages.errors import JobError
from ..schedulers.backend import Backend
from ..schedulers.detect import chosen_scope, find_jobs, hidden_jobs_error, is_from
from ..schedulers.http_socket import HttpSocket, HttpSocketStatus
from ..schedulers.model import InstalledJob
from .job_status import Health, JobStatus, configured_status, installed_status, with_fix

SCHEMA = 2
_ORDER = list(Health)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """All visible jobs on this host.

    Attributes:
        at: The time of the status, aware.
        jobs: The worst first, then by name.
        http: The HTTP interfaces, and the finding about each.
        config_errors: Errors of configurations, each once, by path; an empty path is the caller's
            configuration.
    """

    at: datetime
    jobs: tuple[JobStatus, ...]
    http: tuple[tuple[HttpSocketStatus, Finding], ...] = ()
    config_errors: tuple[tuple[str, JobError], ...] = ()

    @property
    def healthy(self) -> bool:
        """True where nothing needs attention."""
        working = all(finding.severity is Severity.OK for _, finding in self.http)
        return not self.config_errors and working and all(job.healthy for job in self.jobs)

    def name_of(self, row: JobStatus) -> str:
        """Return the name of a job, with its scope and scheduler where another row has the same name.

        Args:
            row: One of these jobs.
        """
        if row.installed is None or sum(other.job == row.job for other in self.jobs) == 1:
            return row.job
        installed_job = row.installed
        return f"{row.job} ({installed_job.scope.value}, {installed_job.backend})"

    def as_json(self) -> dict[str, Any]:
        """Return the object that docs/status.md describes."""
        return {
            "schema": SCHEMA,
            "jobs": [job.as_json() for job in sorted(self.jobs, key=_identity)],
            "http": [_socket_as_json(*each) for each in self.http],
            "config_errors": [
                {"config": path, "message": error.message, "fix": error.hint}
                for path, error in self.config_errors
            ],
        }


def host_status(
    backends: Sequence[Backend],
    jobs: Sequence[str] = (),
    *,
    config_path: Path | None = None,
    env_file: Path | None = None,
    every_scope: bool = False,
) -> HostStatus:
    """Return the status of all jobs.

    Args:
        backends: The schedulers that are visible to the caller.
        jobs: The names of the jobs; empty for all.
        config_path: The caller's configuration; None for the default.
        env_file: The caller's .env file, or None.
        every_scope: Whether a system job represents a job of the same name in the caller's configuration.

    Raises:
        JobError: The caller's configuration cannot be used or a scheduler does not answer, and there is
            nothing else to show.
    """
    now, (found, scheduler_error) = datetime.now(UTC), find_jobs(backends, jobs)
    configs = _Configs(_load(config_path, env_file))
    callers = configs.callers if isinstance(configs.callers, Config) else None
    hidden = scheduler_error or hidden_jobs_error(callers)
    if isinstance(configs.callers, JobError) and not found:
        raise configs.callers
    rows = [
        installed_status(scheduler, installed_job, configs.of(installed_job), callers, now)
        for scheduler, installed_job in found
    ]
    there = {
        installed_job.job
        for _, installed_job in found
        if jobs or every_scope or belongs_to(installed_job, callers)
    }
    wanted = jobs or (callers.names if callers is not None else ())
    rows += [configured_status(job, callers, now, hidden) for job in wanted if job not in there]
    if scheduler_error is not None and not rows:
        raise scheduler_error
    rows.sort(key=lambda row: (_ORDER.index(row.health), *_identity(row)))
    sockets = _http_sockets(backends, jobs)
    return HostStatus(at=now, jobs=tuple(rows), http=sockets, config_errors=configs.errors())


def _http_sockets(
    backends: Sequence[Backend], jobs: Sequence[str]
) -> tuple[tuple[HttpSocketStatus, Finding], ...]:
    scopes = dict.fromkeys(backend.scope for backend in backends if not backend.by_cron)
    found = (HttpSocket(scope).state() for scope in scopes)
    return tuple(
        (state, http_finding(state))
        for state in found
        if state is not None and (not jobs or any(job in jobs for job in state.jobs))
    )


def belongs_to(installed_job: InstalledJob, config: Config | None) -> bool:
    """Return False for a system job that only shares its name with a job of the caller's configuration.

    Args:
        installed_job: The job.
        config: The caller's configuration, or None.
    """
    return config is None or installed_job.scope is chosen_scope(None) or is_from(installed_job, config)


def _identity(row: JobStatus) -> tuple[str, str, str]:
    """Return the identity of a row: root and a user can have jobs with the same name."""
    installed_job = row.installed
    return (
        (row.job, installed_job.scope.value, installed_job.backend)
        if installed_job is not None
        else (row.job, "", "")
    )


def _socket_as_json(state: HttpSocketStatus, finding: Finding) -> dict[str, Any]:
    return {
        "scope": state.scope.value,
        "listen": state.config.listen if state.config is not None else None,
        "listening": state.listening,
        "jobs": list(state.jobs),
        "problems": [] if finding.severity is Severity.OK else [with_fix(finding.message, finding.fix)],
    }


class _Configs:
    """The configurations of installed jobs, each read once."""

    def __init__(self, callers: Config | JobError) -> None:
        self.callers = callers
        self._read: dict[str, Config | JobError] = {}

    def of(self, installed_job: InstalledJob) -> Config | JobError | None:
        """Return the configuration of a job, or its error; None if the caller cannot access it."""
        callers = self.callers
        if isinstance(callers, Config) and is_from(installed_job, callers):
            return callers
        if not installed_job.source or not os.access(installed_job.source, os.R_OK):
            return None
        if installed_job.source not in self._read:
            self._read[installed_job.source] = _load(Path(installed_job.source))
        return self._read[installed_job.source]

    def errors(self) -> tuple[tuple[str, JobError], ...]:
        """Return each error once, with the path of its configuration.

        An error in the caller's and another configuration has the path of the other and the caller's fix.
        """
        found: dict[str, tuple[str, JobError]] = {}
        for path, config in [("", self.callers), *self._read.items()]:
            reader = Reader(config_options=("--config", path) if path else ())
            for error in (config,) if isinstance(config, JobError) else config.errors:
                if error.message in found:
                    found[error.message] = (path, found[error.message][1])
                    continue
                fix = error.hint and for_reader(error.hint, reader)
                found[error.message] = (path, JobError(error.outcome, error.message, fix))
        return tuple(found.values())


def _load(path: Path | None, env_file: Path | None = None) -> Config | JobError:
    try:
        return load_config(path, env_file)
    except JobError as error:
        return error

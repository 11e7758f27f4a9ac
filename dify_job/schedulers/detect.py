"""The schedulers of this host: the one to install with, and those to show, by flags and caller."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..config.managed import scope_config
from ..config.model import Config
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..system import subprocesses
from ..system.packages import install_command
from ..system.user import sudo_user
from . import systemctl
from .backend import Backend
from .cron import CronFiles, UserCrontab, has_cron_d
from .model import InstalledJob, Scope
from .systemd import Systemd


def chosen_scope(scope: str | None) -> Scope:
    """Return the scope to write to.

    Args:
        scope: `system`, `user`, or None for the caller's own.

    Raises:
        JobError: (denied, usage) The caller cannot write to it.
    """
    root = os.geteuid() == 0
    if scope == "system" and not root:
        raise JobError(
            Outcome.DENIED,
            msg("only root can install system jobs"),
            msg("leave out --system, or run dify-job with sudo"),
        )
    if scope == "user" and (caller := sudo_user()):
        raise JobError(
            Outcome.USAGE,
            msg("with sudo, --user would install the job for root, not for {caller}", caller=caller),
            msg(
                "run the command without sudo: {command}", command="dify-job install --user"
            ),  # a Command would get sudo
        )
    return Scope(scope) if scope else Scope.SYSTEM if root else Scope.USER


def chosen_backend(backend: str, scope: Scope) -> Backend:
    """Return the scheduler to install with.

    Args:
        backend: The value of `--backend`: auto, systemd or cron.
        scope: The scope.

    Raises:
        JobError: (config) The scheduler does not exist on this host.
    """
    scheduler = likely_backend(backend, scope)
    if isinstance(scheduler, UserCrontab) and not subprocesses.is_on_path("crontab"):
        raise JobError(
            Outcome.CONFIG,
            msg("this machine has no crontab command"),
            msg("use --backend systemd, or install cron: {command}", command=install_command("cron")),
        )
    if not scheduler.by_cron and systemctl.version() is None:
        installed = subprocesses.is_on_path("systemctl")
        raise JobError(
            Outcome.CONFIG,
            msg("the version of systemd is unknown")
            if installed
            else msg("systemd is not installed on this machine"),
            command("systemctl", "--version") if installed else msg("use --backend cron"),
        )
    return scheduler


def likely_backend(backend: str, scope: Scope) -> Backend:
    """Return the scheduler that install would choose, even if it does not exist.

    Args:
        backend: The value of `--backend`: auto, systemd or cron.
        scope: The scope.
    """
    by_systemd = backend == "systemd" or (backend == "auto" and systemctl.is_booted())
    return Systemd(scope) if by_systemd else _cron(scope)


def visible(backend: str, scope: str | None) -> tuple[Backend, ...]:
    """Return all schedulers that the caller can read; every user can read system jobs.

    Args:
        backend: The value of `--backend`: auto, systemd or cron.
        scope: The only scope; None for all.
    """
    root = os.geteuid() == 0
    scopes = [Scope(scope)] if scope else [Scope.SYSTEM] if root else [Scope.USER, Scope.SYSTEM]
    found: list[Backend] = []
    for each in scopes:
        if backend in ("auto", "systemd"):
            found.append(Systemd(each))
        if backend in ("auto", "cron") and (each is Scope.USER or root or has_cron_d()):
            found.append(_cron(each))
    return tuple(found)


def hidden_jobs_error(config: Config | None) -> JobError | None:
    """Return why the caller cannot see root's jobs: without cron.d they are in root's crontab.

    Args:
        config: The caller's configuration, or None.
    """
    if (
        os.geteuid() == 0
        or config is None
        or config.path != scope_config(system=True)
        or has_cron_d()
        or not subprocesses.is_on_path("crontab")
    ):
        return None
    return JobError(
        Outcome.DENIED,
        msg("root may have installed the job, but only root can read root's crontab"),
        command("dify-job", "status", needs_root=True),
    )


def _cron(scope: Scope) -> Backend:
    """Return the cron backend. busybox has no cron.d, so root's jobs are in root's crontab."""
    return CronFiles() if scope is Scope.SYSTEM and has_cron_d() else UserCrontab(scope)


def find_jobs(
    backends: Sequence[Backend], names: Sequence[str] = ()
) -> tuple[list[tuple[Backend, InstalledJob]], JobError | None]:
    """Return the installed jobs with their schedulers, and the first error of one that does not answer.

    Args:
        backends: The schedulers.
        names: The names of jobs; empty for all.
    """
    found: list[tuple[Backend, InstalledJob]] = []
    scheduler_error: JobError | None = None
    for backend in backends:
        try:
            found += [(backend, one) for one in backend.status(names or None)]
        except JobError as error:
            scheduler_error = scheduler_error or error
    return found, scheduler_error


def installed_jobs(
    backends: Sequence[Backend], names: Sequence[str] = ()
) -> list[tuple[Backend, InstalledJob]]:
    """Return the installed jobs with their schedulers, complete or not at all.

    Args:
        backends: The schedulers.
        names: The names of jobs; empty for all.

    Raises:
        JobError: A scheduler that may have one of them does not answer.
    """
    found, scheduler_error = find_jobs(backends, names)
    if scheduler_error is not None and not (names and {*names} <= {one.job for _, one in found}):
        raise scheduler_error
    return found


def unit_config_path(config: Config, scope: Scope) -> Path:
    """Return the path that units name with --config.

    Args:
        config: The configuration.
        scope: The scope, which decides if no file was read.
    """
    return config.path.absolute() if config.path else scope_config(system=scope is Scope.SYSTEM)


def is_from(one: InstalledJob, config: Config) -> bool:
    """Return whether a job was installed from a configuration.

    Args:
        one: The installed job.
        config: The configuration; without a path, the environment, of which only the job of the caller's own
            scope can be installed.
    """
    if config.path is None and (one.job not in config.names or one.scope is not chosen_scope(None)):
        return False
    return one.source == str(unit_config_path(config, one.scope))

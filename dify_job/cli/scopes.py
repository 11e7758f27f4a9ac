"""Which schedulers a command speaks to: by flags, by who calls, and by what the host has."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..config.model import Config, Job
from ..config.own import scope_config
from ..config.read import load_config
from ..errors import JobError
from ..exits import Outcome
from ..scheduling import systemctl
from ..scheduling.base import Backend, Installed, Scope
from ..scheduling.cron import Cron
from ..scheduling.systemd import Systemd
from .options import Globals

Wing = Systemd | Cron


@dataclass(frozen=True, slots=True)
class Host:
    """The schedulers that a caller sees, its own scope first."""

    own: Scope
    backends: tuple[Wing, ...]


def scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--backend, --user and --system."""
    for option in (
        click.option("--user", "scope", flag_value="user", help="Your own jobs (default unless root)."),
        click.option("--system", "scope", flag_value="system", help="The machine's jobs (default as root)."),
        click.option(
            "--backend",
            type=click.Choice(["auto", "systemd", "cron"]),
            default="auto",
            show_default=True,
            help="auto takes systemd where the machine was booted with it.",
        ),
    ):
        command = option(command)
    return command


def chosen_scope(scope: str | None) -> Scope:
    """The scope to write to. Raises JobError where the caller cannot."""
    root = os.geteuid() == 0
    if scope == "system" and not root:
        raise JobError(Outcome.DENIED, "system jobs are root's", "sudo dify-job ..., or leave --system out")
    caller = os.environ.get("SUDO_USER", "root")
    if scope == "user" and root and caller != "root":
        raise JobError(
            Outcome.USAGE,
            f"--user under sudo would install for root, not for {caller}",
            "leave sudo out: dify-job install --user",
        )
    return Scope(scope) if scope else Scope.SYSTEM if root else Scope.USER


def chosen_backend(backend: str, scope: Scope, version: int | None = None) -> Wing:
    """The scheduler to install with."""
    if backend == "systemd" or (backend == "auto" and systemctl.is_booted()):
        if systemctl.version() is None and version is None:
            raise JobError(Outcome.CONFIG, "systemd is not installed on this machine", "use --backend cron")
        return Systemd(scope, version)
    return Cron(scope)


def visible(backend: str, scope: str | None) -> tuple[Wing, ...]:
    """All schedulers that the caller can look at: system jobs are everybody's to see."""
    scopes = [Scope(scope)] if scope else [Scope.SYSTEM] if os.geteuid() == 0 else [Scope.USER, Scope.SYSTEM]
    found: list[Wing] = []
    for each in scopes:
        if backend in ("auto", "systemd"):
            found.append(Systemd(each))
        if backend in ("auto", "cron") and (
            each is Scope.USER or os.geteuid() == 0 or Path("/etc/cron.d").is_dir()
        ):
            found.append(Cron(each))
    return tuple(found)


def installed_jobs(backends: tuple[Wing, ...], names: tuple[str, ...] = ()) -> list[tuple[Wing, Installed]]:
    """What is installed, with the scheduler that has it."""
    return [(backend, one) for backend in backends for one in backend.status(names or None)]


def try_config(options: Globals) -> Config | None:
    """The configuration, or None where it is gone or broken: some commands must work without it."""
    try:
        return load_config(options.config_path, options.env_file)
    except JobError:
        return None


def config_place(config: Config, scope: Scope) -> Path:
    """The path that units name with --config."""
    return config.path.absolute() if config.path else scope_config(system=scope is Scope.SYSTEM)


def jobs_named(config: Config, names: tuple[str, ...]) -> list[Job]:
    """The named jobs, or all of them. Raises JobError for a name that is not there."""
    from ..config.read import pick  # noqa: PLC0415 - only where a job is named

    return [pick(config, name) for name in dict.fromkeys(names)] if names else list(config.jobs.values())


def as_backend(wing: Wing) -> Backend:
    """The contract alone."""
    return wing

"""The schedulers of this host: which to install with, and which to look at, by flags and by who calls."""

import os
from pathlib import Path

from ..config.model import Config
from ..config.own import scope_config
from ..errors import JobError
from ..exits import Outcome
from . import systemctl
from .base import Installed, Scope
from .cron import Cron
from .systemd import Systemd

Wing = Systemd | Cron


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


def config_place(config: Config, scope: Scope) -> Path:
    """The path that units name with --config."""
    return config.path.absolute() if config.path else scope_config(system=scope is Scope.SYSTEM)

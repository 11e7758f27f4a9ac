"""The frozen values that all schedulers share: scopes, rendered files, units and installed jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from ..state.directories import base_of, pinned_elsewhere
from ..system.managed_files import FileState, FileStatus
from ..system.unit_result import UnitResult

ABSENT = FileStatus(FileState.ABSENT)


class Scope(StrEnum):
    """The scope of jobs: the system or one user."""

    SYSTEM = "system"
    USER = "user"

    @property
    def base(self) -> Path:
        """The base directory of the jobs' state, with the lock of install."""
        return base_of(system=self is Scope.SYSTEM)

    @property
    def manager_options(self) -> tuple[str, ...]:
        """The options of systemctl, journalctl and systemd-analyze for the manager of the scope."""
        return ("--user",) if self is Scope.USER else ()


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One file, or one block of a crontab.

    Attributes:
        path: The path; `crontab` for a block.
        text: The complete text.
    """

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """The properties of one unit in a systemd manager.

    Attributes:
        properties: The output of `systemctl show` by name; a missing property counts as empty.
    """

    properties: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.properties.get(name, "")

    @property
    def loaded(self) -> bool:
        """True if the manager has loaded the unit's file."""
        return self["LoadState"] == "loaded"

    @property
    def active(self) -> bool:
        """True if a timer is waiting or a service is running."""
        return self["ActiveState"] in ("active", "activating", "reloading")

    @property
    def enabled(self) -> bool:
        """True if the unit starts at boot."""
        return self["UnitFileState"] in ("enabled", "enabled-runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledJob:
    """One job as installed on the host; None means unknown.

    Attributes:
        files: The installed files or crontab block.
        fingerprint: The fingerprint of the configuration values in the files.
        source: The configuration file that the files were rendered from.
        python: The interpreter that the files start.
        enabled: The schedule starts runs.
        paused: Somebody disabled the schedule.
        unit_result: The result of the last process, from the service manager.
        since: The time at which the schedule was last enabled or changed.
        units: The service and timer in the manager; empty for cron or without an answer.
        conflicting_setting: The first setting above the crontab block that changes the meaning of its lines.
        mailed: No empty MAILTO is above the crontab block.
    """

    job: str
    backend: str
    scope: Scope
    files: Mapping[Path, FileStatus]
    fingerprint: str
    source: str
    python: Path | None = None
    enabled: bool | None = None
    paused: bool = False
    running: bool = False
    next_run: datetime | None = None
    unit_result: UnitResult | None = None
    since: datetime | None = None
    units: Mapping[str, Unit] = field(default_factory=dict)
    conflicting_setting: str | None = None
    mailed: bool = True

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of the files; `crontab` for a block."""
        return tuple(self.files)

    @property
    def edited(self) -> tuple[Path, ...]:
        """The files that were edited by hand; `crontab` for a block."""
        return tuple(path for path, seen in self.files.items() if seen.state is FileState.EDITED)

    @property
    def state(self) -> Path:
        """The path of the job's state directory, which need not exist."""
        own = self.scope.base / self.job
        return (pinned_elsewhere(self.job) or own) if self.scope is Scope.USER else own

    @property
    def by_cron(self) -> bool:
        """True if cron starts the job."""
        return self.backend == "cron"

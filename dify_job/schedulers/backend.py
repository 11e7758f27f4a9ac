"""What all schedulers have in common: scopes, rendered files and installed jobs."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..state.directories import base_of, pinned_elsewhere
from ..system.managed_files import FileState, FileStatus
from ..system.unit_result import UnitResult

ABSENT = FileStatus(FileState.ABSENT)


class Scope(StrEnum):
    """The machine's jobs, or one user's."""

    SYSTEM = "system"
    USER = "user"

    @property
    def base(self) -> Path:
        """The directory of its jobs' state, with the lock of install."""
        return base_of(system=self is Scope.SYSTEM)

    @property
    def manager_options(self) -> tuple[str, ...]:
        """Options by which systemctl, journalctl and systemd-analyze take its manager."""
        return ("--user",) if self is Scope.USER else ()


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One file, or one block of a crontab.

    Attributes:
        path: Its place; `crontab` for a block.
        text: Its whole text.
    """

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What a systemd manager says of one unit.

    Attributes:
        properties: By name, as `systemctl show` prints them; a missing one counts as empty.
    """

    properties: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.properties.get(name, "")

    @property
    def loaded(self) -> bool:
        """Whether the manager has the unit's file."""
        return self["LoadState"] == "loaded"

    @property
    def active(self) -> bool:
        """Whether a timer waits, or a service runs."""
        return self["ActiveState"] in ("active", "activating", "reloading")

    @property
    def enabled(self) -> bool:
        """True where it is started at boot."""
        return self["UnitFileState"] in ("enabled", "enabled-runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledJob:
    """One job as the host has it; what is None is not known.

    Attributes:
        files: Its files or crontab block, as they are.
        fingerprint: Of the configuration values that reached the files.
        source: The configuration file that they were made from.
        python: The interpreter that is started.
        enabled: The schedule starts runs.
        paused: Somebody disabled it.
        unit_result: How its last process ended, by the service manager.
        since: When the schedule was enabled or changed last.
        units: Its service and timer, as the manager has them; none for cron or where nobody answers.
        conflicting_setting: The first setting above its crontab block that gives its lines another meaning.
        mailed: No empty MAILTO stands above its crontab block.
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
        """The places of its files; `crontab` for a block."""
        return tuple(self.files)

    @property
    def edited(self) -> bool:
        """True where a file or block was edited by hand."""
        return any(seen.state is FileState.EDITED for seen in self.files.values())

    @property
    def state(self) -> Path:
        """The path of the job's state directory, which need not exist."""
        own = self.scope.base / self.job
        return (pinned_elsewhere(self.job) or own) if self.scope is Scope.USER else own

    @property
    def by_cron(self) -> bool:
        """Whether cron starts it."""
        return self.backend == "cron"


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a temporary directory for files that other programs read.

    Raises:
        JobError: There is no space in it (cannot-write).
    """
    try:
        with tempfile.TemporaryDirectory(prefix="dify-job-") as directory:
            yield Path(directory)
    except OSError as error:
        place = tempfile.gettempdir()
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg(
                "{path} could not be written: {reason}; nothing was changed",
                path=place,
                reason=error.strerror,
            ),
            msg("check the free space: df {directory}", directory=place),
        ) from None

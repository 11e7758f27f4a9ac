"""What the schedulers have in common: their contract, and what they are told and tell."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from ..messages.message import msg
from ..state.store import base_of
from ..system.privileges import sudo
from ..system.unit_result import UnitResult
from .job_spec import JobSpec


class Scope(StrEnum):
    """Whose scheduler: the machine's, or one user's."""

    SYSTEM = "system"
    USER = "user"

    @property
    def base(self) -> Path:
        """Where its jobs have their state, and install has its lock."""
        return base_of(system=self is Scope.SYSTEM)

    @property
    def sudo(self) -> str:
        """What goes before a command on its jobs, as this caller has to give it."""
        return sudo() if self is Scope.SYSTEM else ""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One file, or one marked block of a crontab: its place and its whole text."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOptions:
    """What the caller of install wants. start: True arms what is paused, False leaves new jobs unarmed."""

    start: bool | None = None
    overwrite_edits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallResult:
    """What install or uninstall did with one job. armed: whether it will run by itself now.

    arm: the commands that arm it where `resume` does not.
    """

    job: str
    paths: tuple[Path, ...] = ()
    changed: bool = False
    enabled: bool = False
    arm: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, *notes: str) -> "InstallResult":
        """The same, with more to tell."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self


class Sync(StrEnum):
    """How the files of a job on this host compare with its configuration."""

    CONFIGURED = msg("as configured")
    OUTDATED = "outdated"
    EDITED = "edited"
    ORPHAN = "orphan"
    MISSING = msg("not installed")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledJob:
    """One job as the host has it.

    python: the interpreter that is started. since: when the schedule was enabled or changed last. ending: how
    its last process ended, by the service manager. Each is None where it is not known.
    """

    job: str
    backend: str
    scope: Scope
    paths: tuple[Path, ...]
    fingerprint: str
    source: str
    python: Path | None = None
    edited: bool = False
    enabled: bool | None = None
    paused: bool = False
    running: bool = False
    next_run: datetime | None = None
    ending: UnitResult | None = None
    since: datetime | None = None
    problems: tuple[str, ...] = ()

    @property
    def state(self) -> Path:
        """The job's state directory, whether it is there or not."""
        return self.scope.base / self.job

    @property
    def by_cron(self) -> bool:
        """True where cron keeps the time."""
        return self.backend == "cron"


class Backend(ABC):
    """One scheduler of the host, for the machine or for the caller. Its methods raise JobError.

    name: as --backend takes it. by_cron: lines are read as cron reads them.
    """

    name: str
    by_cron = False

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    @abstractmethod
    def render(self, plan: JobSpec) -> tuple[RenderedFile, ...]:
        """The files of a job. Pure."""

    @abstractmethod
    def install(self, plans: Sequence[JobSpec], wishes: InstallOptions) -> list[InstallResult]:
        """Bring the host to the plans; all or nothing, and no run starts by it."""

    @abstractmethod
    def uninstall(self, jobs: Sequence[str]) -> list[InstallResult]:
        """Take away what is ours of these jobs, and nothing else."""

    @abstractmethod
    def pause(self, job: str, *, paused: bool) -> InstallResult:
        """Disarm or arm a job, across reboots; a run under way goes on."""

    @abstractmethod
    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """What is installed, by the marks in the files; all of it where no jobs are named."""

    @abstractmethod
    def sources(self) -> dict[str, str]:
        """Each installed job and the config that it came from, by the marks alone: nobody is asked."""

    @abstractmethod
    def compared(self, plan: JobSpec) -> list[tuple[Path, str, str]]:
        """Each place of a job, its text now, and the one that install would give it."""

    def lacks(self, _plan: JobSpec) -> tuple[str, ...]:
        """What it cannot do for the job, and what is done instead; a sentence each."""
        return ()

    def starts_by_hand(self, _plan: JobSpec) -> bool:
        """True where its own command starts the job at once, whatever the time."""
        return False

"""Bring a host to a desired state: plans, their execution with roll-back, and what makes them.

A plan is made without writing anything, and it is data. `install` executes it; `--check` and `--diff` print
it.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import managed
from ..exit_codes import Outcome
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import msg
from ..system.transaction import FileChange, FileTransaction
from .backend import InstalledJob, RenderedFile, Scope
from .job_spec import JobSpec
from .systemctl import Manager


class StalePlanError(Exception):
    """Something else changed the host after it was observed, so the plan no longer fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOptions:
    """What the caller of install wants.

    Attributes:
        start: True enables schedules that are paused, too. False leaves new jobs disabled. None enables what
            is new and leaves the rest as it is.
        overwrite_edits: Replace managed files that were edited by hand.

    """

    start: bool | None = None
    overwrite_edits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallResult:
    """What a plan does with one job.

    Attributes:
        job: The job's name.
        paths: The files that are written, or removed.
        changed: Whether the plan changes any of them.
        enabled: Whether the job's schedule starts runs when the plan is executed.
        enable_commands: Commands that enable it where `dify-job resume` does not.
        notes: What the caller should know.

    """

    job: str
    paths: tuple[Path, ...] = ()
    changed: bool = False
    enabled: bool = False
    enable_commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, *notes: str) -> "InstallResult":
        """Return the same result with more notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self


@dataclass(frozen=True, slots=True)
class UnitChange:
    """A unit whose activation changes. verb: of systemctl, such as enable or start."""

    unit: str
    verb: str


Change = FileChange | UnitChange


class Execution:
    """A plan that is being executed.

    Attributes:
        manager: The service manager of the scope; asked only by actions about units.

    """

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self._undo: list[Callable[[], object]] = []

    def on_failure(self, undo: Callable[[], object]) -> None:
        """Call a function, the last one first, if this or a later action fails."""
        self._undo.append(undo)

    def roll_back(self) -> None:
        """Undo what was begun; what one action cannot undo does not keep the others from it."""
        while self._undo:
            with contextlib.suppress(JobError, OSError):
                self._undo.pop()()


class Action(ABC):
    """One step of a plan."""

    @abstractmethod
    def execute(self, run: Execution) -> None:
        """Do it, after naming what undoes it. Raises JobError or OSError."""

    def changes(self) -> Iterator[Change]:
        """Yield what a person sees differ afterwards; nothing for a step that merely serves others."""
        yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What brings the host to the desired state.

    Attributes:
        actions: The steps in their order; none where the host is in that state already.
        refusals: Why it is not executed; the first is raised.
        results: What it does with each job.
        contents: Every file as it should be, for `--dry-run`.

    """

    actions: tuple[Action, ...] = ()
    refusals: tuple[JobError, ...] = ()
    results: tuple[InstallResult, ...] = ()
    contents: tuple[FileChange, ...] = ()

    def changes(self) -> list[Change]:
        """Return what differs between the host and the desired state, in the order of the steps."""
        return [change for action in self.actions for change in action.changes()]

    def changed_files(self) -> list[FileChange]:
        """Return the files among the changes."""
        return [change for change in self.changes() if isinstance(change, FileChange)]

    def check(self) -> None:
        """Raise the first refusal."""
        for refusal in self.refusals:
            raise refusal


def execute(plan: Plan, manager: Manager, place: Path) -> None:
    """Execute all actions, or undo those that were begun.

    Args:
        plan: What to do.
        manager: The service manager of the scope; asked only by actions about units.
        place: Where the files are, for the hint about a disk that is full or read-only.

    Raises:
        JobError: A refusal of the plan; or what went wrong, after the roll-back.
        StalePlanError: The plan must be made again.

    """
    plan.check()
    run = Execution(manager)
    try:
        for action in plan.actions:
            action.execute(run)
    except OSError as error:
        run.roll_back()
        path = error.filename or place
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg(
                "{path} could not be changed: {reason}; nothing was changed", path=path, reason=error.strerror
            ),
            disk_error_hint(error, place, msg("install as root, or with --user; --dry-run prints the files")),
        ) from None
    except BaseException:
        run.roll_back()
        raise


@dataclass(frozen=True, slots=True)
class ChangeFiles(Action):
    """Write and remove whole files.

    Attributes:
        files: The files.
        units: They are units, which the manager must read again after they are put back.

    """

    files: tuple[FileChange, ...]
    units: bool = False

    def execute(self, run: Execution) -> None:
        """Write and remove them."""
        if self.units and run.manager.why_not() is None:
            run.on_failure(run.manager.reload)
        writer = FileTransaction()
        run.on_failure(writer.roll_back)
        writer.apply(self.files)

    def changes(self) -> Iterator[Change]:
        """Yield the files."""
        yield from self.files


@dataclass(frozen=True, slots=True)
class RemoveLeftovers(Action):
    """Remove what is left of a configuration that install made: empty directories, a file without a job."""

    config_path: Path

    def execute(self, _run: Execution) -> None:
        """Remove it, unless somebody wrote in it."""
        managed.remove_leftovers(self.config_path)


class Backend(ABC):
    """One scheduler of the host, for one scope. Its methods raise JobError.

    Attributes:
        name: As `--backend` takes it.
        by_cron: Schedules are read as cron reads them.
        scope: Whose jobs.
        base: Where the jobs have their state, and install has its lock.
        manager: The service manager of the scope, which need not run.

    """

    name: str
    by_cron = False

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.base = scope.base
        self.manager = Manager(scope)

    @property
    @abstractmethod
    def directory(self) -> Path:
        """Where it keeps the files of jobs."""

    @abstractmethod
    def render(self, spec: JobSpec) -> tuple[RenderedFile, ...]:
        """Return the files of a job. Pure."""

    @abstractmethod
    def plan_install(
        self, specs: Sequence[JobSpec], options: InstallOptions, remove: Sequence[str] = ()
    ) -> Plan:
        """Return the plan that installs these jobs, and removes others; no run starts by it."""

    @abstractmethod
    def plan_uninstall(self, jobs: Sequence[str]) -> Plan:
        """Return the plan that removes what is managed of these jobs, and nothing else."""

    @abstractmethod
    def plan_pause(self, jobs: Sequence[str], *, paused: bool) -> Plan:
        """Return the plan that disables or enables schedules, across reboots; a run under way goes on."""

    @abstractmethod
    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """Return what is installed, by the headers of the files; all of it where no jobs are named."""

    @abstractmethod
    def sources(self) -> dict[str, str]:
        """Return each installed job and the config that it came from, by the headers alone."""

    def limitations(self, _spec: JobSpec) -> tuple[str, ...]:
        """Return what it cannot do for the job, and what is done instead."""
        return ()

    def starts_by_hand(self, _spec: JobSpec) -> bool:
        """Return whether its own command starts the job at once, whatever the time."""
        return False

"""Bring a host to a desired state: plans, their execution with roll-back, and what makes them.

A plan is made without writing anything. `install` executes it; `--check` and `--diff` print its changes.
"""

import contextlib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError, obstacle_hint
from ..messages.message import msg
from ..system.managed_files import FileState, FileStatus
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


@dataclass(frozen=True, slots=True)
class UnitChange:
    """A change of a unit's activation.

    Attributes:
        unit: Its name.
        verb: Of systemctl, such as enable or start.
    """

    unit: str
    verb: str


Change = FileChange | UnitChange


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Attributes:
        name: What is done.
        do: Does it. Raises JobError or OSError.
        undo: Takes back what was begun of it, after it or a later step failed. Raises the same.
        changes: What a person sees differ afterwards; nothing for a step that merely serves others.
    """

    name: str
    do: Callable[[], object]
    undo: Callable[[], object] | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What brings the host to the desired state.

    Attributes:
        steps: In their order; none where the host is in that state already.
        errors: Why it is not executed; the first is raised.
        results: What it does with each job.
        contents: Every file as it should be, for `--dry-run`.
    """

    steps: tuple[Step, ...] = ()
    errors: tuple[JobError, ...] = ()
    results: tuple[InstallResult, ...] = ()
    contents: tuple[FileChange, ...] = ()

    def changes(self) -> list[Change]:
        """Return what differs between the host and the desired state, in the order of the steps."""
        return [change for step in self.steps for change in step.changes]

    def changed_files(self) -> list[FileChange]:
        """Return the files among the changes."""
        return [change for change in self.changes() if isinstance(change, FileChange)]

    def check(self) -> None:
        """Raise the first error."""
        for error in self.errors:
            raise error


def execute(plan: Plan, place: Path) -> None:
    """Execute all steps, or undo those that were begun, the last one first.

    Args:
        plan: What to do.
        place: Where the files are, for the hint about a disk that is full or read-only.

    Raises:
        JobError: What prevents the plan; or what went wrong, after the roll-back.
        StalePlanError: The plan must be made again.
    """
    plan.check()
    begun: list[Step] = []
    try:
        for step in plan.steps:
            begun.append(step)
            step.do()
    except BaseException as error:
        for step in reversed(begun):
            if step.undo is not None:
                with contextlib.suppress(JobError, OSError):  # the others are undone all the same
                    step.undo()
        if not isinstance(error, OSError):
            raise
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg(
                "{path} could not be changed: {reason}; nothing was changed",
                path=error.filename or place,
                reason=error.strerror,
            ),
            obstacle_hint(
                error,
                place,
                msg("install as root, or with --user; to see the files without installing, use --dry-run"),
            ),
        ) from None


def change_files(files: Sequence[FileChange], manager: Manager | None = None) -> Step:
    """Return the step that writes and removes whole files.

    Args:
        files: The files.
        manager: Of units: it must read them again after they are put back.
    """
    writer = FileTransaction()

    def undo() -> None:
        writer.roll_back()
        if manager is not None and manager.unavailable_reason() is None:
            manager.reload()

    return Step("change files", lambda: writer.apply(files), undo, tuple(files))


def file_change(path: Path, seen: FileStatus, after: bytes | None) -> FileChange:
    """Return the change of a managed file.

    Args:
        path: The file.
        seen: What is there.
        after: Its new content; None where it is removed.
    """
    return FileChange(path=path, before=None if seen.state is FileState.ABSENT else seen.content, after=after)


def replacement_errors(
    path: Path, seen: FileStatus, edited: str, hint: str, *, overwrite_edits: bool
) -> Iterator[JobError]:
    """Yield why a file cannot be replaced.

    Args:
        path: The file.
        seen: What is there.
        edited: The file, for the message about an edit.
        hint: What a person does with an edit.
        overwrite_edits: Edits are no reason.
    """
    if seen.is_foreign or seen.state is FileState.UNREADABLE:
        yield JobError(
            Outcome.CONFIG,
            msg(
                "{path} exists and was not written by dify-job, so dify-job does not overwrite it", path=path
            ),
            msg("rename the job, or rename that file: mv {path} {path}.bak", path=shlex.quote(str(path))),
        )
    if seen.state is FileState.EDITED and not overwrite_edits:
        yield JobError(
            Outcome.CONFIG,
            msg("{path} was edited by hand, so install does not overwrite it", path=edited),
            hint,
        )


class Backend(ABC):
    """One scheduler of the host, for one scope. Its methods raise JobError.

    Attributes:
        name: As `--backend` takes it.
        by_cron: Schedules are read as cron reads them.
        version: Of systemd; None for cron.
        key_by_manager: systemd reads the keys of jobs for their units.
        scope: The machine's jobs, or the caller's.
        base: Where the jobs have their state, and install has its lock.
        manager: The service manager of the scope, which need not run.
    """

    name: str
    by_cron = False
    version: int | None = None
    key_by_manager = False

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.base = scope.base
        self.manager = Manager(scope)

    @property
    @abstractmethod
    def directory(self) -> Path:
        """The directory of the files of jobs."""

    @abstractmethod
    def render(self, spec: JobSpec) -> tuple[RenderedFile, ...]:
        """Return the files of a job. Pure."""

    @abstractmethod
    def plan_install(
        self, specs: Sequence[JobSpec], options: InstallOptions, remove: Sequence[str] = ()
    ) -> Plan:
        """Return the plan that installs jobs, and removes what is managed of others; no run starts by it.

        Args:
            specs: The jobs.
            options: What the caller wants.
            remove: Jobs to uninstall.
        """

    @abstractmethod
    def plan_pause(self, jobs: Sequence[str], *, paused: bool) -> Plan:
        """Return the plan that disables or enables schedules, across reboots; a run under way goes on.

        Args:
            jobs: The jobs, which are installed.
            paused: Whether their schedules are disabled.

        Raises:
            JobError: A job is not installed (config).
        """

    @abstractmethod
    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """Return what is installed, by the headers of the files; all of it where no jobs are named."""

    def sources(self) -> dict[str, str]:
        """Return each installed job and the config that it came from, by the headers alone."""
        return {one.job: one.source for one in self.status()}

    def limitations(self, _spec: JobSpec) -> tuple[str, ...]:
        """Return what it cannot do for the job, and what is done instead."""
        return ()

    def starts_at_once(self, _spec: JobSpec) -> bool:
        """Return whether its own command starts the job at once, whatever the time."""
        return False

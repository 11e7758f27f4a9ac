"""Bring a host to a desired state: plans, and their execution with roll-back.

Making a plan writes nothing. `install` executes it; `--check` and `--diff` print its changes.
"""

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError, obstacle_hint
from ..messages.message import join, msg
from ..system.managed_files import FileState, FileStatus
from ..system.transaction import FileChange, FileTransaction
from .systemctl import Manager


class StalePlanError(Exception):
    """The host changed after it was observed, so the plan is outdated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallResult:
    """The result of a plan for one job.

    Attributes:
        job: The job's name.
        paths: The files that are written, or removed.
        changed: Whether the plan changes any of them.
        enabled: Whether the job's schedule starts runs when the plan is executed.
        enable_commands: Commands that enable the schedule if `dify-job resume` does not.
        notes: Notes for the caller.
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
        unit: The name of the unit.
        verb: The verb of systemctl, such as enable or start.
    """

    unit: str
    verb: str


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state directory that is created for a user, or given to one.

    Attributes:
        path: The directory.
        user: The name of its future owner.
    """

    path: Path
    user: str


Change = FileChange | UnitChange | StateChange


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Attributes:
        name: The name of the action.
        do: Executes the step. Raises JobError or OSError.
        undo: Reverts the step, even if incomplete, after it or a later step failed. Raises JobError or
            OSError.
        changes: The visible changes; empty for an auxiliary step.
    """

    name: str
    do: Callable[[], object]
    undo: Callable[[], object] | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps that bring the host to the desired state.

    Attributes:
        steps: The steps in order; empty if the host is already in that state.
        errors: The reasons against execution; the first is raised.
        results: The result for each job.
        contents: Every desired file, for `--dry-run`.
    """

    steps: tuple[Step, ...] = ()
    errors: tuple[JobError, ...] = ()
    results: tuple[InstallResult, ...] = ()
    contents: tuple[FileChange, ...] = ()

    def changes(self) -> list[Change]:
        """Return the differences between the host and the desired state, in the order of the steps."""
        return [change for step in self.steps for change in step.changes]

    def changed_files(self) -> list[FileChange]:
        """Return the files among the changes."""
        return [change for change in self.changes() if isinstance(change, FileChange)]

    def check(self) -> None:
        """Raise the first error."""
        for error in self.errors:
            raise error


def execute(plan: Plan, place: Path) -> None:
    """Execute all steps; after an error, undo them in reverse order.

    Args:
        plan: The plan.
        place: The directory of the files, for the hint about a full or read-only disk.

    Raises:
        JobError: The plan has an error, or a step failed and was rolled back.
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
                with contextlib.suppress(JobError, OSError):  # the other steps are undone, too
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
        manager: The manager of units, which must reload them after a roll-back.
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
        seen: The current file.
        after: The new content; None to remove the file.
    """
    return FileChange(path=path, before=None if seen.state is FileState.ABSENT else seen.content, after=after)


def edited_text(job: str, paths: Iterable[Path]) -> str:
    """Return the message about edits, for install, doctor and status.

    Args:
        job: The job.
        paths: The edited files; `crontab` for a block.
    """
    block = msg("the block of job {job} in your crontab", job=job)
    files = join(" ", (str(path) if path.is_absolute() else block for path in paths))
    return msg("install does not change what was edited by hand: {files}", files=files)


def replacement_errors(
    path: Path, job: str, seen: FileStatus, hint: str, *, overwrite_edits: bool
) -> Iterator[JobError]:
    """Yield why a file cannot be replaced.

    Args:
        path: The file; `crontab` for a block.
        job: The job.
        seen: The current file.
        hint: The fix for an edit.
        overwrite_edits: Edits do not prevent a replacement.
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
        yield JobError(Outcome.CONFIG, edited_text(job, [path]), hint)

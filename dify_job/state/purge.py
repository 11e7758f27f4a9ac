"""Remove the state of jobs: directories, links to them, and metrics files."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import join, msg
from ..system.secure_dir import Directory
from ..system.transaction import locked
from .directories import directories_of, private_of
from .store import STATE_FILES, JobState, LockHeldError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_METRICS = 1024 * 1024  # bytes; a metrics file of dify-job has about 2,000


def jobs_with_state(base: Path) -> Iterator[str]:
    """Yield the jobs with a state directory.

    Args:
        base: The base directory.
    """
    with contextlib.suppress(OSError):
        for path in base.iterdir():
            if path.is_dir() and any((path / name).exists() for name in STATE_FILES):
                yield path.name


def purge_state(
    base: Path, jobs: Sequence[str], metrics: Iterable[tuple[str, Path]], echo: Callable[[str], None]
) -> None:
    """Remove the state and the metrics files of jobs, and continue after errors.

    Args:
        base: The base directory.
        jobs: The names of the jobs; the state of a running job is not removed.
        metrics: Metrics files by job; only files that runs of the job wrote are removed.
        echo: Prints a line for a person.

    Raises:
        JobError: (cannot-write, busy) Something was not removed.
    """
    failures: list[OSError] = []
    holders: dict[str, str] = {}

    def remove(path: Path, how: Callable[[], bool]) -> None:
        with _collecting(failures, path):
            if how():
                echo(msg("  removed {path}", path=path))

    with locked(base):
        for job in jobs:
            places = directories_of(job, base)
            with _collecting(failures, base / job):
                if (holder := _holder(places)) is not None:
                    holders[job] = holder
                    continue
                for path in places:  # StateDirectory= of a dynamic user is a link
                    own = (path.parent.name, path.name) == (base.name, job)
                    remove(path, partial(_remove if own else _remove_state_files, path))
        with contextlib.suppress(OSError):  # with the last job
            private_of(base).rmdir()
        for job, path in sorted(metrics):
            if job not in holders:
                remove(path, partial(_remove_metrics, path, job))
    _report_leftovers(base, failures, holders)


def _report_leftovers(base: Path, failures: Sequence[OSError], holders: Mapping[str, str]) -> None:
    """Raise JobError (cannot-write, busy) if something was not removed."""
    texts = [
        msg("{path} could not be removed: {reason}", path=error.filename, reason=error.strerror)
        for error in failures
    ]
    if holders:
        busy = join(", ", (f"{job} ({holder})" for job, holder in holders.items()))
        texts.append(msg("the state of {jobs} was not removed, because a run uses it", jobs=busy))
    if failures:
        look = msg("to see what was not removed, run: {command}", command=command("ls", "-la", str(base)))
        raise JobError(Outcome.CANNOT_WRITE, join("; ", texts), disk_error_hint(failures[0], base, look))
    if holders:
        stop = command("dify-job", "stop", *holders)
        hint = msg("to stop the run in Dify, too, run: {command}. Then repeat this command", command=stop)
        raise JobError(Outcome.BUSY, join("; ", texts), hint)


@contextlib.contextmanager
def _collecting(failures: list[OSError], path: Path) -> Iterator[None]:
    """Collect errors in the block with absolute paths, and continue."""
    try:
        yield
    except OSError as error:
        name = str(error.filename or "")  # the name is relative if the file was removed by descriptor
        error.filename = str(path if name in ("", path.name) else path / name)
        failures.append(error)


def _holder(places: Iterable[Path]) -> str | None:
    """Return the process that holds a job's lock, or None. Raises OSError.

    Its state is not removed: without the lock file, a second run could begin.
    """
    for directory in [path for path in places if path.is_dir()][:1]:
        with contextlib.closing(JobState(directory)) as state:
            try:
                state.lock()
            except LockHeldError as locked_by:
                return locked_by.holder
    return None


def _remove(path: Path) -> bool:
    """Remove a directory or a link; False if missing. Raises OSError after removing everything else."""
    if path.is_symlink():
        path.unlink()
        return True
    if not path.is_dir():
        return False
    top = os.open(path, _DIRECTORY)
    try:
        if os.geteuid() == 0:  # the job's user, whom root must not trust, can no longer add files
            os.fchown(top, 0, 0)
            os.fchmod(top, 0o700)
        _clear(top)
    finally:
        os.close(top)
    path.rmdir()
    return True


def _clear(top: int) -> None:
    """Remove everything in a directory. Raises the first OSError after removing everything else.

    Directories are moved to the top first, because the job's user can nest them deeper than recursion goes
    (shutil.rmtree before Python 3.13).
    """
    errors: dict[str, OSError] = {}
    while entries := [entry for entry in os.scandir(top) if entry.name not in errors]:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    _flatten(top, entry.name)
                else:
                    os.unlink(entry.name, dir_fd=top)
            except OSError as error:
                errors[entry.name] = error
    if errors:
        raise next(iter(errors.values()))


def _flatten(top: int, name: str) -> None:
    """Remove a directory, and move the directories in it to the top. Raises OSError."""
    directory = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for entry in list(os.scandir(directory)):
            if entry.is_dir(follow_symlinks=False):
                os.rename(entry.name, f".{os.urandom(6).hex()}", src_dir_fd=directory, dst_dir_fd=top)
            else:
                os.unlink(entry.name, dir_fd=directory)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=top)


def _remove_state_files(path: Path) -> bool:
    """Remove the state in a directory that an administrator linked to, and the directory if it is then empty.

    Other files of the directory stay. False if the directory stays or is missing. Raises OSError.
    """
    if not path.is_dir():
        return False
    with contextlib.closing(Directory(path)) as directory:
        directory.remove_leftovers(STATE_FILES, older=0.0)
        for name in STATE_FILES:
            directory.remove(name)
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()


def _remove_metrics(path: Path, job: str) -> bool:
    """Remove a metrics file if runs of the job wrote it.

    A user whom root must not trust may have named it, so only a regular file with metrics of this job is
    removed, through an opened directory, which nobody can replace. Raises OSError if it cannot be removed.
    """
    try:
        directory = Directory(path.parent)
    except OSError:
        return False
    with contextlib.closing(directory):
        try:
            with os.fdopen(directory.open(path.name, os.O_RDONLY), "rb") as file:
                content = file.read(_MAX_METRICS)
        except OSError:
            return False
        is_of_job = content.startswith(b"# HELP dify_job_") and f'job="{job}"'.encode() in content
        if is_of_job:
            directory.remove(path.name)
        return is_of_job

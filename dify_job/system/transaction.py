"""Transactional file writes: atomic per file, rolled back together on error."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.command import Command
from ..messages.errors import JobError, disk_error_hint, obstacle_hint
from ..messages.message import msg
from .opened_file import read_regular
from .secure_dir import Directory

_LOCK_WAIT = 10.0
_RETRY_PAUSE = 0.05
_MAX_RACES = 40  # attempts to create the directory of the lock, which the end of another command removes
_held: set[Path] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file, or a block of a crontab, that changes.

    Attributes:
        path: The path.
        before: The current content; None if the file does not exist.
        after: The new content; None to remove the file.
        mode: The permissions of a new file.
        secret: The content is never printed.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    mode: int = 0o644
    secret: bool = False


class FileTransaction:
    """A transaction that writes and removes files and stores their previous content."""

    def __init__(self) -> None:
        self._before: list[tuple[Path, bytes | None, os.stat_result | None]] = []
        self._made: list[Path] = []

    def put(
        self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None
    ) -> None:
        """Write a file atomically.

        Args:
            path: The file; its directory is created if it is missing.
            content: The content.
            mode: The permissions.
            owner: User and group; None for the caller's.

        Raises:
            OSError: The error, with the path of the file.
        """
        self._remember(path)
        self.directory(path.parent)
        write_whole(path, content, mode, owner)

    def apply(self, changes: Iterable[FileChange]) -> None:
        """Write files, then remove others; each directory is synced once, at the end.

        Missing directories are created; the directory of a secret is private.

        Args:
            changes: The files.

        Raises:
            OSError: The error, with the path of the file.
        """
        by_directory: dict[Path, list[FileChange]] = {}
        removed: list[FileChange] = []
        for one in changes:
            (removed if one.after is None else by_directory.setdefault(one.path.parent, [])).append(one)
        for parent, files in by_directory.items():
            self.directory(parent, 0o700 if any(one.secret for one in files) else 0o755)
            with _opened(parent) as directory:
                for one in files:
                    self._remember(one.path)
                    with _named(one.path):
                        _replace(directory, one.path.name, one.after or b"", one.mode)
        for one in removed:
            self.remove(one.path)

    def directory(self, path: Path, mode: int = 0o755) -> None:
        """Create a directory with its parents if it is missing.

        Args:
            path: The directory.
            mode: The permissions of a new directory.

        Raises:
            OSError: It cannot be created.
        """
        if path.is_dir():
            return
        self.directory(path.parent)
        path.mkdir(mode=mode, exist_ok=True)
        self._made.append(path)
        if os.geteuid() == 0:  # units of other users need access, independent of the umask
            path.chmod(mode)

    def remove(self, path: Path) -> None:
        """Remove a file if it exists. Raises OSError."""
        self._remember(path)
        with contextlib.suppress(FileNotFoundError), _named(path), _opened(path.parent) as directory:
            directory.remove(path.name)

    def clear(self, paths: Iterable[Path]) -> None:
        """Remove temporary files of a killed writer of these files; the caller holds the lock."""
        wanted: dict[Path, list[str]] = {}
        for path in paths:
            wanted.setdefault(path.parent, []).append(path.name)
        for parent, names in wanted.items():
            with contextlib.suppress(OSError), contextlib.closing(Directory(parent)) as directory:
                directory.remove_leftovers(names, older=0.0)

    def roll_back(self) -> None:
        """Restore the previous content, newest change first."""
        for path, content, seen in reversed(self._before):
            with contextlib.suppress(OSError):
                if content is None or seen is None:
                    path.unlink(missing_ok=True)
                else:
                    owner = (seen.st_uid, seen.st_gid) if os.geteuid() == 0 else None
                    write_whole(path, content, seen.st_mode & 0o7777, owner)
        for directory in reversed(self._made):
            with contextlib.suppress(OSError):
                directory.rmdir()
        self._before.clear()
        self._made.clear()

    def _remember(self, path: Path) -> None:
        try:
            self._before.append((path, read_regular(path), path.stat()))
        except FileNotFoundError:
            self._before.append((path, None, None))


@contextlib.contextmanager
def transaction(place: Path, otherwise: str) -> Iterator[FileTransaction]:
    """Provide a transaction that is rolled back after an error in the block.

    Args:
        place: The written path, for messages and hints.
        otherwise: The hint for an error that disk_error_hint does not know.

    Raises:
        JobError: (cannot-write) Something cannot be written.
    """
    writer = FileTransaction()
    try:
        yield writer
    except OSError as error:
        writer.roll_back()
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg(
                "{path} could not be written: {reason}; nothing was changed",
                path=error.filename or place,
                reason=error.strerror,
            ),
            obstacle_hint(error, place, otherwise),
        ) from None
    except BaseException:
        writer.roll_back()
        raise


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """Create a temporary directory for files that other programs read.

    Raises:
        JobError: (cannot-write) There is no space, or no directory for it.
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg("no temporary file can be created: {reason}; nothing was changed", reason=error.strerror),
            msg("set the environment variable TMPDIR to a directory that you can write to"),
        ) from None
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
            disk_error_hint(
                error,
                Path(place),
                msg("check the free space: {command}", command=Command(("df", "-h", place))),
            ),
        ) from None


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a scope for one install or uninstall at a time; the lock is reentrant.

    Args:
        directory: The base directory of the scope; a directory created only for the lock is removed with it.

    Raises:
        JobError: Another process holds the lock (busy), or it cannot be created (cannot-write).
    """
    path = directory / "install.lock"
    if path in _held:
        yield
        return
    try:
        fd = _lock(path)
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg("{path} cannot be opened: {reason}", path=path, reason=error.strerror),
            obstacle_hint(error, path, msg("run the command as root, or with --user")),
        ) from None
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        with contextlib.suppress(OSError):
            if list(directory.iterdir()) == [path]:
                path.unlink()
                directory.rmdir()
        os.close(fd)


def _lock(path: Path) -> int:
    until, races = time.monotonic() + _LOCK_WAIT, 0
    while True:
        try:
            FileTransaction().directory(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except (FileNotFoundError, FileExistsError):  # the previous holder has just removed the directory
            races += 1
            if races > _MAX_RACES or (os.path.lexists(path.parent) and not path.parent.is_dir()):
                raise  # some file systems, such as procfs, have no directories of users
            time.sleep(_RETRY_PAUSE)
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
            os.close(fd)
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() > until:
                raise JobError(
                    Outcome.BUSY,
                    msg("another install or uninstall is in progress"),
                    msg("repeat the command when the other install or uninstall has ended"),
                ) from None
            time.sleep(_RETRY_PAUSE)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def write_whole(path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write a file atomically by renaming.

    Args:
        path: The file.
        content: The content.
        mode: The permissions.
        owner: User and group; None for the caller's.

    Raises:
        OSError: The error, with the path of the file.
    """
    with _named(path), _opened(path.parent) as directory:
        _replace(directory, path.name, content, mode, owner)


def _replace(
    directory: Directory, name: str, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    with directory.replacing(name, mode) as file:
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        file.write(content)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Set the path of errors in the block, because the temporary name means nothing to a person."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Directory]:
    with contextlib.closing(Directory(path)) as directory:
        yield directory
        with contextlib.suppress(OSError):
            directory.sync()

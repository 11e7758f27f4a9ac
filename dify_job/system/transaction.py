"""The one seam where install writes: whole files, atomically, taken back together when something fails."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError, disk_error_hint, obstacle_hint
from ..messages.message import msg
from .opened_file import read_regular
from .secure_dir import Directory

_LOCK_WAIT = 10.0
_held: set[Path] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file, or a block of a crontab, that changes.

    Attributes:
        path: Where it is.
        before: Its content now; None where it does not exist.
        after: Its content afterwards; None where it is removed.
        mode: Permissions of a new file.
        secret: Its content is never printed.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    mode: int = 0o644
    secret: bool = False


class FileTransaction:
    """Writes and removes files, remembering what stood there."""

    def __init__(self) -> None:
        self._before: list[tuple[Path, bytes | None, os.stat_result | None]] = []
        self._made: list[Path] = []

    def put(
        self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None
    ) -> None:
        """Write a whole file under its final name: old or new, never half.

        Args:
            path: The file; its directory is made where it is missing.
            content: Its content.
            mode: Its permissions.
            owner: Its user and group; None for the caller's.

        Raises:
            OSError: As it comes, with the path of the file.
        """
        self._remember(path)
        self.directory(path.parent)
        write_whole(path, content, mode, owner)

    def apply(self, changes: Iterable[FileChange]) -> None:
        """Write what should exist, then remove the rest; each directory is synced once, at the end.

        A directory that is missing is made; that of a secret is for its owner alone.

        Args:
            changes: The files.

        Raises:
            OSError: As it comes, with the path of the file.
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
        """Make a directory with its parents, where it is missing.

        Args:
            path: The directory.
            mode: Permissions of a new one.

        Raises:
            OSError: As it comes.
        """
        if path.is_dir():
            return
        self.directory(path.parent)
        path.mkdir(mode=mode, exist_ok=True)
        self._made.append(path)
        if os.geteuid() == 0:  # units of other users must get through, whatever the umask
            path.chmod(mode)

    def remove(self, path: Path) -> None:
        """Remove a file, or nothing. Raises OSError."""
        self._remember(path)
        with contextlib.suppress(FileNotFoundError), _named(path), _opened(path.parent) as directory:
            directory.remove(path.name)

    def clear(self, paths: Iterable[Path]) -> None:
        """Remove what a writer of these files left that was killed; the caller holds the lock."""
        wanted: dict[Path, list[str]] = {}
        for path in paths:
            wanted.setdefault(path.parent, []).append(path.name)
        for parent, names in wanted.items():
            with contextlib.suppress(OSError), contextlib.closing(Directory(parent)) as directory:
                directory.remove_leftovers(names, older=0.0)

    def roll_back(self) -> None:
        """Put back what stood there before, newest change first."""
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
    """Give a writer, and roll its files back when something fails within.

    Args:
        place: What is written to.
        otherwise: The hint for an error that disk_error_hint does not know.

    Raises:
        JobError: Something cannot be written (cannot-write).
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
            disk_error_hint(error, place, otherwise),
        ) from None
    except BaseException:
        writer.roll_back()
        raise


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one install or uninstall at a time work in a scope; within itself it is no second lock.

    Args:
        directory: The scope's. One that was made for the lock alone does not outlive it.

    Raises:
        JobError: Another one works (busy), or the lock cannot be made (cannot-write).
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
    until = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            FileTransaction().directory(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except (FileNotFoundError, FileExistsError):  # whoever held it has just removed the directory
            if os.path.lexists(path.parent) and not path.parent.is_dir():
                raise
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
            time.sleep(0.05)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def write_whole(path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Put a whole file under its final name by renaming: old or new, never half.

    Args:
        path: The file.
        content: Its content.
        mode: Its permissions.
        owner: Its user and group; None for the caller's.

    Raises:
        OSError: As it comes, with the path of the file.
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
    """An error within is of this path: what is written below a directory has a short, temporary name."""
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

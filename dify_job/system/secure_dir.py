"""An opened directory: its files are accessed by name, and nobody can replace the directory meanwhile."""

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from ..messages.message import Message, msg

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TEMPORARY = r"(?s)\.(.+)\.[0-9a-f]{12}\.new"  # with the name of the file, as _temporary() makes it
_MAX_NAME = 200  # bytes of a name in a temporary name; file systems allow 255
_MAX_LINKS = 40  # of one path (path_resolution(7))


def open_path(path: Path, flags: int) -> int:
    """Open a path. Root follows a link of another user only to what belongs to that user.

    Otherwise that user could make root write to any directory, or read any file.

    Args:
        path: The path.
        flags: The flags of open(2) without O_CREAT.

    Returns:
        A file descriptor.

    Raises:
        OSError: EPERM for such a link, or as open(2).
    """
    if os.geteuid() != 0:
        return os.open(path, flags)
    try:
        fd, links = _open_by_steps(path, flags)
    except OSError as error:
        error.filename = str(path)
        raise
    for link, user in links:
        if user not in (0, os.fstat(fd).st_uid):
            os.close(fd)
            raise OSError(errno.EPERM, foreign_link(link, user), str(path))
    return fd


def foreign_link(path: Path, user: int) -> Message:
    """Return the error of a symbolic link of another user."""
    return msg(
        "{path} is a symbolic link of user {user}, who can change its target",
        user=user,
        path=path,
    )


def _open_by_steps(path: Path, flags: int) -> tuple[int, list[tuple[Path, int]]]:
    """Open a path; return the descriptor, and the links in the path with their owners."""
    links: list[tuple[Path, int]] = []
    place = Path("/")
    proc = _device_of(Path("/proc/self"))
    steps = [*reversed(path.absolute().parts)]
    fd = os.open("/", _STEP)
    try:
        while steps:
            step = steps.pop()
            follow = 0 if os.fstat(fd).st_dev == proc else os.O_NOFOLLOW  # the link of a pipe leads nowhere
            try:
                below = os.open(step, (_STEP if steps else flags) | follow, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR) or len(links) == _MAX_LINKS:
                    raise
                try:
                    steps += reversed(Path(os.readlink(step, dir_fd=fd)).parts)
                except OSError:  # no link
                    raise error from None
                links.append((place / step, os.stat(step, dir_fd=fd, follow_symlinks=False).st_uid))
            else:
                os.close(fd)
                fd, place = below, place / step
    except BaseException:
        os.close(fd)
        raise
    return fd, links


def _device_of(path: Path) -> int | None:
    try:
        return path.stat().st_dev
    except OSError:
        return None


class Directory:
    """An opened directory. Its methods raise OSError.

    Args:
        path: The directory.
        untrusted_owner: Root must not trust the owner, who also owns what root creates in it.
    """

    def __init__(self, path: Path, *, untrusted_owner: bool = False) -> None:
        self._fd = open_path(path, _DIRECTORY)
        self._untrusted_owner = untrusted_owner and os.geteuid() == 0

    def close(self) -> None:
        """Close it, once."""
        os.close(self._fd)

    def enter(self, name: str) -> None:
        """Enter a subdirectory, which is created if it is missing; a link is not followed."""
        made = True
        try:
            os.mkdir(name, 0o700, dir_fd=self._fd)
        except FileExistsError:
            made = False
        below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._fd)
        if made:
            self._give(below)
        os.close(self._fd)
        self._fd = below

    def open(self, name: str, flags: int) -> int:
        """Open a regular file without following a link; a FIFO does not block.

        Args:
            name: Its name.
            flags: The flags of open(2). O_CREAT creates a file with mode 0600.

        Returns:
            A file descriptor.
        """
        if flags & os.O_CREAT:
            with contextlib.suppress(FileExistsError):
                return self._new(name, flags, 0o600)
        try:
            fd = os.open(name, flags & ~os.O_CREAT | _PLAIN, dir_fd=self._fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise _no_file(name) from None
            raise
        found = os.fstat(fd)
        if found.st_nlink > 1 or not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise _no_file(name)
        return fd

    def remove_leftovers(self, names: Collection[str], older: float) -> None:
        """Remove temporary files of a killed process.

        Args:
            names: The final names of the files.
            older: The minimum age in seconds.
        """
        before = time.time() - older
        parts = set(map(_part_of, names))
        for entry in os.scandir(self._fd):
            temporary = re.fullmatch(_TEMPORARY, entry.name)
            if temporary and temporary[1] in parts:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and found.st_mtime <= before:
                        os.unlink(entry.name, dir_fd=self._fd)

    @contextlib.contextmanager
    def replacing(self, name: str, mode: int | None = None, *, sync: bool = True) -> Iterator[BinaryIO]:
        """Create a file that replaces a name when it is complete; a link of that name is replaced.

        Args:
            name: The name, which `check_replaceable` accepts.
            mode: The mode, independent of the umask; None uses the umask.
            sync: Write the file to disk before it gets its name.
        """
        self.check_replaceable(name)
        temporary = _temporary(name)
        try:
            with os.fdopen(self._new(temporary, os.O_WRONLY, mode), "wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._fd)
            raise

    def check_replaceable(self, name: str) -> None:
        """Raise OSError if the name is neither free nor that of a file or a link to one.

        /dev/stdout is a link into /proc, even to a file, and programs need it.

        Args:
            name: The name.
        """
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode
            if stat.S_ISREG(there):
                return
            if not stat.S_ISLNK(there) or os.readlink(name, dir_fd=self._fd).startswith("/proc/"):
                raise _no_file(name)
            target = self._mode_of_target(name)
            if not (stat.S_ISREG(target) or stat.S_ISDIR(target)):
                raise _no_file(name)

    def _mode_of_target(self, link: str) -> int:
        """Return the mode of what a link points to; that of a file if it points to nothing."""
        try:
            return os.stat(link, dir_fd=self._fd).st_mode
        except OSError:
            return stat.S_IFREG

    def identity(self, name: str) -> str | None:
        """Return the identity of a file; None if it does not exist."""
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return f"{found.st_dev}:{found.st_ino}:{found.st_mtime_ns}"

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def try_out(self) -> None:
        """Check whether a file can be created."""
        name = _temporary("try")
        os.close(self._new(name, os.O_WRONLY, 0o600))
        os.unlink(name, dir_fd=self._fd)

    def sync(self) -> None:
        """Write the names in the directory to disk."""
        os.fsync(self._fd)

    def _new(self, name: str, flags: int, mode: int | None) -> int:
        flags |= os.O_CREAT | os.O_EXCL | _PLAIN
        fd = os.open(name, flags, 0o666 if mode is None else mode, dir_fd=self._fd)
        if mode is not None:
            os.fchmod(fd, mode)
        # Last: root without CAP_FOWNER (HTTP interface) cannot change the mode of another user's file.
        self._give(fd)
        return fd

    def _give(self, fd: int) -> None:
        if self._untrusted_owner:
            owner, made = os.fstat(self._fd), os.fstat(fd)
            # The unit of a job with run_as = "root" may not call chown, and need not.
            if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
                os.fchown(fd, owner.st_uid, owner.st_gid)


def _no_file(name: str) -> OSError:
    return OSError(
        errno.EEXIST,
        msg(
            "dify-job does not change {name}, because it is not a regular file or has "
            "more than one hard link",
            name=name,
        ),
        name,
    )


def _temporary(name: str) -> str:
    """Return a name that no program reads: a dot first, no .service, .timer, .toml or .prom last."""
    return f".{_part_of(name)}.{os.urandom(6).hex()}.new"


def _part_of(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_MAX_NAME])

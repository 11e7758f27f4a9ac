"""Where output goes: a name in an opened directory, so that nobody can put another place under it."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..config.model import Job, Source
from ..state import OWN_FILES
from ..values import dataclass


@dataclass(frozen=True)
class Place:
    """The path of an output file. state: the job's state directory where it stands below it, else None.

    A state directory can belong to a service user whom root must not trust: below it no link is followed, and
    what root makes there is given to that user.
    """

    path: Path
    state: Path | None = None

    @property
    def reserved(self) -> frozenset[str]:
        """Names in the same directory that are not for output."""
        return OWN_FILES if self.path.parent == self.state else frozenset()

    @contextlib.contextmanager
    def opened(self) -> Iterator["Directory"]:
        """Its directory; below the state it is made where it is missing. Raises OSError."""
        if self.path.name in self.reserved:
            raise OSError(errno.EPERM, "dify-job keeps its own state under that name")
        descriptor = os.open(self.state or self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            owner = None
            if self.state is not None:
                if os.geteuid() == 0:
                    there = os.fstat(descriptor)
                    owner = (there.st_uid, there.st_gid)
                for step in self.path.relative_to(self.state).parent.parts:
                    descriptor = _step(descriptor, step, owner)
            yield Directory(descriptor, owner)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Directory:
    """An opened directory. owner: who gets what is made in it, None for whoever makes it."""

    descriptor: int
    owner: tuple[int, int] | None = None

    def try_out(self) -> None:
        """Find out whether a file can be made. Raises OSError."""
        name, descriptor = self._new()
        os.close(descriptor)
        os.unlink(name, dir_fd=self.descriptor)

    @contextlib.contextmanager
    def replacing(self, name: str, mode: int | None = None) -> Iterator[BinaryIO]:
        """A new file that takes the name when it is whole; a link of that name is replaced, not followed.

        mode: None leaves it to the umask. Raises OSError, also where something else than a file has the name.
        """
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode
            if not stat.S_ISREG(there) and not stat.S_ISLNK(there):
                raise OSError(errno.EEXIST, "something that is no file has its name")
        temporary, descriptor = self._new()
        try:
            with os.fdopen(descriptor, "wb") as file:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                if self.owner is not None:
                    os.fchown(descriptor, *self.owner)
                yield file
                file.flush()
                os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self.descriptor)
            raise

    def _new(self) -> tuple[str, int]:
        """A file that was not there, opened for writing."""
        name = f".dify-job-{os.getpid()}-{os.urandom(6).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return name, os.open(name, flags, 0o666, dir_fd=self.descriptor)


def place_of(job: Job, name: str, state: Path | None) -> Place:
    """Where the file goes: a relative name counts from the state directory, one of a flag from here."""
    path = Path(name).expanduser()
    given = job.origins.get("output")
    by_flag = given is not None and given.source is Source.FLAG
    if path.is_absolute() or by_flag or state is None:
        return Place(path)
    return Place(state / path, state)


def _step(descriptor: int, name: str, owner: tuple[int, int] | None) -> int:
    """Into the directory of that name, made where it is missing; closes the one above once it is there."""
    if name == "..":
        raise OSError(errno.EPERM, "its name leads out of the state directory")
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=descriptor)
        if owner is not None:
            os.chown(name, *owner, dir_fd=descriptor, follow_symlinks=False)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    below = os.open(name, flags, dir_fd=descriptor)
    os.close(descriptor)
    return below

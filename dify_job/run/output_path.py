"""Where output goes: a name in a directory."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from ..config.model import Job, Source
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import command
from ..state.store import OWN_FILES
from ..system.secure_dir import Directory
from ..system.values import dataclass


@dataclass(frozen=True)
class OutputPath:
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
    def opened(self) -> Iterator[Directory]:
        """Its directory; below the state it is made where it is missing. Raises OSError."""
        if self.path.name in self.reserved:
            raise OSError(errno.EPERM, msg("dify-job keeps its own state under that name"))
        below = self.path.relative_to(self.state).parent.parts if self.state is not None else ()
        if ".." in below:
            raise OSError(errno.EPERM, msg("its name leads out of the state directory"))
        opened = Directory(self.state or self.path.parent, theirs=self.state is not None)
        with contextlib.closing(opened) as directory:
            for step in below:
                directory.enter(step)
            yield directory


def place_of(job: Job, name: str, state: Path | None) -> OutputPath:
    """Where the file goes: a relative name counts from the state directory, one of a flag from here."""
    given = job.origins.get("output")
    by_flag = given is not None and given.source is Source.FLAG
    if name == "-":
        raise JobError(
            Outcome.USAGE if by_flag else Outcome.CONFIG,
            msg("the output file cannot be -: the result goes to standard output without it"),
            msg(
                "leave it out; {command} prints one value alone",
                command=command("dify-job", "run", "--print", "outputs.NAME"),
            ),
        )
    path = Path(name).expanduser()
    if path.is_absolute() or by_flag or state is None:
        return OutputPath(path)
    return OutputPath(state / path, state)

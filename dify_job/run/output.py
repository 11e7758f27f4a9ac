"""The file that `output` or --output asks for: checked before the call, written atomically after it."""

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import log
from ..config.model import Job, Output, Source
from ..exit_codes import Outcome
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import msg
from ..messages.problem import command
from ..state.store import STATE_FILES
from ..system.json_text import RawJson, dumps, loads_answer
from ..system.secure_dir import Directory
from .result import Result

_LEFTOVER_AGE = 3600.0  # seconds after which no process still writes the file


class OutputPath(NamedTuple):
    """The path of an output file.

    A state directory can belong to a service user whom root must not trust: below it no link is followed, and
    what root makes there is given to that user.

    Attributes:
        path: The path.
        state: The job's state directory where the path is below it, else None.
    """

    path: Path
    state: Path | None = None

    @property
    def reserved(self) -> frozenset[str]:
        """Names in the same directory that are not for output."""
        return STATE_FILES if self.path.parent == self.state else frozenset()

    @contextlib.contextmanager
    def opened(self) -> Iterator[Directory]:
        """Open its directory; below the state directory it is made where it is missing.

        Raises:
            OSError: It cannot be opened, or the name is reserved.
        """
        if self.path.name in self.reserved:
            raise OSError(errno.EPERM, msg("the file name is reserved for dify-job's own state"))
        below = self.path.relative_to(self.state).parent.parts if self.state is not None else ()
        if ".." in below:
            raise OSError(errno.EPERM, msg("the output file would be outside the state directory"))
        opened = Directory(self.state or self.path.parent, untrusted_owner=self.state is not None)
        with contextlib.closing(opened) as directory:
            for step in below:
                directory.enter(step)
            yield directory


def output_path(job: Job, name: str, state: Path | None) -> OutputPath:
    """Return where the output file goes.

    Args:
        job: The job.
        name: A relative name counts from the state directory, one of a flag from the working directory.
        state: The state directory, or None.
    """
    given = job.origins.get("output")
    by_flag = given is not None and given.source is Source.FLAG
    if name == "-":
        raise JobError(
            Outcome.USAGE if by_flag else Outcome.CONFIG,
            msg(
                'the output file must not be "-": without an output file, dify-job writes the result '
                "to standard output"
            ),
            msg(
                "leave out the output file; to print a single value, run: {command}",
                command=command("dify-job", "run", "--print", "outputs.NAME"),
            ),
        )
    path = Path(name).expanduser()
    if path.is_absolute() or by_flag or state is None:
        return OutputPath(path)
    return OutputPath(state / path, state)


@contextlib.contextmanager
def errors_as_warnings(text: str, path: Path) -> Iterator[None]:
    """Write in the block; the outcome is known and nothing may change it, so what fails is a warning.

    Args:
        text: What failed then.
        path: What could not be written.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a fault of the program, too
        log.warning(text, path=str(path), reason=str(error))


def write_output(target: OutputPath, result: Result, settings: Output) -> None:
    """Write the selected value as text or JSON, or the whole result; what fails is a warning.

    Args:
        target: Where the file goes.
        result: Of a run that succeeded.
        settings: What of the result goes into it.
    """
    with errors_as_warnings(msg("the run's output file could not be written"), target.path):
        value = loads_answer(log.as_json(result.as_json(), to_file=True))
        if settings.select is not None:
            value = value_at(value["response_data"]["data"], settings.select)
        text = (
            value if isinstance(value, str) and settings.format != "json" else f"{dumps(value, indent=2)}\n"
        )
        with target.opened() as directory, directory.replacing(target.path.name, settings.mode) as file:
            file.write(text.encode(errors="backslashreplace"))


def check_writable(target: OutputPath) -> None:
    """Find out before the call that the file cannot be written.

    Raises:
        JobError: It cannot (cannot-write).
    """
    path = target.path
    try:
        _check_by_writing(target)
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg("the output file {path} cannot be written: {reason}", path=path, reason=error.strerror),
            msg("mkdir -p {parent}", parent=path.parent)
            if isinstance(error, FileNotFoundError) and not path.parent.exists()
            else disk_error_hint(
                error,
                path.parent,
                msg(
                    "choose another output file, or check the permissions: {command}",
                    command=command("ls", "-ld", str(path.parent)),
                ),
            ),
        ) from None


def _check_by_writing(target: OutputPath) -> None:
    if target.path.exists() and not target.path.is_file():
        # The file is put under its name when it is whole: root would replace /dev/stdout by it.
        raise OSError(0, msg("it is not a regular file; to write to a pipe, use --print"))
    with target.opened() as directory:
        directory.remove_leftovers({target.path.name}, older=_LEFTOVER_AGE)
        directory.try_out()


def value_at(data: Any, path: str) -> Any:
    """Return the value at a dotted path, `outputs.result` or `outputs.items.0.name`.

    Args:
        data: The run, as `response_data` has it.
        path: The path.

    Raises:
        LookupError: There is none.
    """
    for step in path.split("."):
        if isinstance(data, RawJson):
            data = data.opened()
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, list) and re.fullmatch(r"[0-9]{1,9}", step) and int(step) < len(data):
            data = data[int(step)]
        else:
            raise LookupError(
                msg("the result of the run has no {path}: {step!r} does not exist", path=path, step=step)
            )
    return data

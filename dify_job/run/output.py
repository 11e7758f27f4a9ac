"""The output file: checked before the call, and written atomically after it."""

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import log
from ..config.model import Job, Output, Source
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import msg
from ..state.store import STATE_FILES
from ..system.json_text import RawJson, dumps, loads_answer
from ..system.secure_dir import Directory
from .result import Result

_LEFTOVER_AGE = 3600.0  # seconds; no process writes a temporary file for so long


class OutputPath(NamedTuple):
    """The path of an output file.

    A state directory can belong to a service user whom root must not trust: below it, no link is followed,
    and files that root creates are given to that user.

    Attributes:
        path: The path.
        state: The job's state directory if the path is below it, otherwise None.
    """

    path: Path
    state: Path | None = None

    @property
    def reserved(self) -> frozenset[str]:
        """Names in the same directory that output must not use."""
        return STATE_FILES if self.path.parent == self.state else frozenset()

    @contextlib.contextmanager
    def opened(self) -> Iterator[Directory]:
        """Open the directory of the file; below the state directory, it is created if it is missing.

        Raises:
            OSError: The directory cannot be opened, or the name is reserved.
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
    """Return the path of the output file.

    Args:
        job: The job.
        name: The name; a relative name starts at the state directory, or at the working directory for a flag.
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
    """Log errors in the block as warnings, because the known outcome must not change.

    Args:
        text: The failed action.
        path: The file or directory that could not be written, for the log.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a fault of the program, too
        log.warning(text, path=str(path), reason=str(error))


def write_output(target: OutputPath, result: Result, settings: Output) -> None:
    """Write the selected value as text or JSON, or the complete result; errors are logged as warnings.

    Args:
        target: The path of the file.
        result: The result of a successful run.
        settings: The settings of the output file.
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
    """Check before the call that the file can be written.

    Raises:
        JobError: (cannot-write) It cannot be written.
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
        # write_output renames a complete file to this name, so root would replace /dev/stdout.
        raise OSError(0, msg("it is not a regular file; to write to a pipe, use --print"))
    with target.opened() as directory:
        directory.check_replaceable(target.path.name)
        directory.remove_leftovers({target.path.name}, older=_LEFTOVER_AGE)
        directory.try_out()


def value_at(data: Any, path: str) -> Any:
    """Return the value at a dotted path, `outputs.result` or `outputs.items.0.name`.

    Args:
        data: The run in the form of `response_data`.
        path: The path.

    Raises:
        LookupError: The path does not exist.
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

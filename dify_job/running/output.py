"""The file that `output` or --output asks for: checked before the call, written atomically after it."""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .. import log
from ..config.model import Job, Output, Source
from ..errors import JobError
from ..exits import Outcome
from .result import Result


def place_of(job: Job, name: str, state: Path | None) -> Path:
    """Where the file goes: a relative name counts from the state directory, one of a flag from here."""
    path = Path(name).expanduser()
    given = job.origins.get("output")
    by_flag = given is not None and given.source is Source.FLAG
    if path.is_absolute() or by_flag or state is None:
        return path
    own = state / path
    with contextlib.suppress(OSError):  # what is wrong there is found when the file is tried
        own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return own


def check_writable(path: Path) -> None:
    """Find out before the call that the file cannot be written. Raises JobError (cannot-write)."""
    try:
        _try_in(path)
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            f"the output file {path} cannot be written: {error.strerror}",
            f"make the directory, or make it writable: mkdir -p {path.parent}",
        ) from None


def _try_in(path: Path) -> None:
    if path.exists() and not path.is_file():
        # The file is put under its name when it is whole: root would replace /dev/stdout by it.
        raise OSError(0, "it is no regular file (for a pipe there is --print)")
    with directory_of(path) as directory:
        name, descriptor = _new(directory)
        os.close(descriptor)
        os.unlink(name, dir_fd=directory)


def write(path: Path, result: Result, settings: Output) -> None:
    """The selected value as text or JSON, or the whole result. Raises OSError, LookupError."""
    told = json.loads(log.as_json(result.as_json(), to_file=True))
    value: Any = told
    if settings.select is not None:
        value = value_at(told["response_data"]["data"], settings.select)
    text = as_text(value, quoted=settings.format == "json", indent=2)
    with directory_of(path) as directory, replacing(directory, path.name, settings.mode) as file:
        file.write(text.encode(errors="backslashreplace"))


def as_text(value: Any, *, quoted: bool = False, indent: int | None = None) -> str:
    """A text as it is, all else, or with `quoted` that too, as JSON and a line end."""
    if isinstance(value, str) and not quoted:
        return value
    return json.dumps(value, ensure_ascii=False, indent=indent) + "\n"


def value_at(data: Any, path: str) -> Any:
    """The value at a dotted path, `outputs.result` or `outputs.items.0.name`. Raises LookupError."""
    for step in path.split("."):
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, list) and re.fullmatch(r"[0-9]{1,9}", step) and int(step) < len(data):
            data = data[int(step)]
        else:
            raise LookupError(f"the run has no {path} (nothing at {step!r})")
    return data


@contextlib.contextmanager
def directory_of(path: Path) -> Iterator[int]:
    """The directory of a file, opened: what happens in it then happens in this one. Raises OSError."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(directory: int, name: str, mode: int | None = None) -> Iterator[BinaryIO]:
    """A new file that takes the name when it is whole; a link of that name is replaced, not followed.

    mode: None leaves it to the umask. Raises OSError, also where something else than a file has the name.
    """
    with contextlib.suppress(FileNotFoundError):
        there = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if not stat.S_ISREG(there) and not stat.S_ISLNK(there):
            raise OSError(0, "something that is no file has its name")
    temporary, descriptor = _new(directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _new(directory: int) -> tuple[str, int]:
    """A file that was not there, opened for writing."""
    name = f".dify-job-{os.getpid()}-{os.urandom(6).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return name, os.open(name, flags, 0o666, dir_fd=directory)

"""The file that `output` or --output asks for: checked before the call, written atomically after it."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import JobError
from ..exits import Outcome
from .result import Result


def check_writable(path: Path) -> None:
    """Find out before the call that the file cannot be written. Raises JobError (cannot-write)."""
    probe = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a directory")
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        probe.unlink()
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            f"the output file {path} cannot be written: {error.strerror}",
            f"make the directory, or make it writable: mkdir -p {path.parent}",
        ) from None


def write(path: Path, result: Result, select: str | None) -> None:
    """The selected value as text or JSON, or the whole result. Raises OSError, LookupError."""
    told = result.as_json()
    if select is None:
        text = json.dumps(told, ensure_ascii=False, indent=2) + "\n"
    else:
        value = pick(told["response_data"]["data"], select)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def pick(data: Any, path: str) -> Any:
    """The value at a dotted path, `outputs.result` or `outputs.items.0.name`. Raises LookupError."""
    for step in path.split("."):
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            raise LookupError(f"the run has no {path} (nothing at {step!r})")
    return data

"""Paths: absolute, without links, and whether something is there."""

import os
from collections.abc import Callable
from pathlib import Path


def absolute(path: Path) -> Path:
    """Return an absolute path; unchanged if the working directory was removed."""
    try:
        return path.absolute()
    except FileNotFoundError:
        return path


def resolved(path: Path) -> Path:
    """Return the path without links; a loop of links stays (Path.resolve raises before Python 3.13)."""
    return Path(os.path.realpath(path))


def is_missing(path: Path, kind: Callable[[int], bool] = bool) -> bool:
    """Return whether a path does not exist; False if the caller cannot access it.

    Args:
        path: The path.
        kind: A test of the file type, such as stat.S_ISDIR.
    """
    try:
        return not kind(path.stat().st_mode)
    except PermissionError:
        return False
    except OSError:
        return True

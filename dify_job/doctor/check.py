"""One line of `dify-job doctor`."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; its number is the exit status of `dify-job doctor`."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and the command or the edit that mends it."""

    name: str
    level: Level
    message: str
    mend: str | None = None


def ok(name: str, message: str) -> Check:
    """Nothing is in the way of the next run."""
    return Check(name, Level.OK, message)


def warn(name: str, message: str, mend: str | None) -> Check:
    """The next run goes, but not as somebody may think."""
    return Check(name, Level.WARN, message, mend)


def fail(name: str, message: str, mend: str | None) -> Check:
    """The next run does not come to its end, or is not started."""
    return Check(name, Level.FAIL, message, mend)

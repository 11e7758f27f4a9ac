"""One line of `dify-job doctor`."""

import re
from dataclasses import dataclass, replace
from enum import IntEnum

from ..config.environment import VARIABLES
from ..config.model import Job, Source
from ..messages.message import msg
from ..system.privileges import sudo

_OF_A_CONFIG = re.compile(r"\bdify-job (?=(?:config|doctor|install|next|run|secret) )")


class Severity(IntEnum):
    """How bad it is; its number is the exit status of `dify-job doctor`."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what mends it.

    mend: a command that a shell takes as it stands, words about it after "; " or in brackets; or an edit.
    """

    name: str
    level: Severity
    message: str
    mend: str | None = None

    def with_options(self, options: str) -> "Finding":
        """The same for who looks at a config by these options: our commands in it look at the same."""
        if self.mend is None or not options:
            return self
        return replace(self, mend=_OF_A_CONFIG.sub(f"dify-job {options} ", self.mend))


def place_of(job: Job, key: str) -> str:
    """Where a person edits a key of a job: file and line, or the table that it would stand in."""
    if (origin := job.origins.get(key)) is not None:
        return str(origin)
    file = next((one.where for one in job.origins.values() if one.source is Source.FILE), None)
    if file is None and key in VARIABLES:
        return msg("the variable {variables}", variables=VARIABLES[key])
    return msg("[jobs.{name}] of {value}", name=job.name, value=file or msg("a config file"))


def by_root(command: str) -> str:
    """A command as this caller has to give it."""
    return f"{sudo()}{command}"


def ok(name: str, message: str) -> Finding:
    """Nothing is in the way of the next run."""
    return Finding(name, Severity.OK, message)


def warn(name: str, message: str, mend: str | None) -> Finding:
    """The next run goes, but not as somebody may think."""
    return Finding(name, Severity.WARN, message, mend)


def fail(name: str, message: str, mend: str | None) -> Finding:
    """The next run does not come to its end, or is not started."""
    return Finding(name, Severity.FAIL, message, mend)

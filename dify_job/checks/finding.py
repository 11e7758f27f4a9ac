"""What a check found: a problem with its fix, or that all is well."""

import shlex

from ..config.model import Job, Source
from ..config.schema import VARIABLES
from ..messages.message import msg
from ..messages.problem import Command, Problem, Severity


def place_of(job: Job, key: str) -> str:
    """Where a person edits a key of a job: file and line, or the table that it would stand in."""
    if (origin := job.origins.get(key)) is not None:
        return str(origin)
    file = next((one.where for one in job.origins.values() if one.source is Source.FILE), None)
    if file is None and key in VARIABLES:
        return msg("the variable {variables}", variables=VARIABLES[key])
    return msg("[jobs.{name}] of {value}", name=job.name, value=file or msg("a config file"))


def by_root(words: str) -> Command:
    """A command that only root can give. words: as a shell reads them."""
    return Command(shlex.split(words), needs_root=True)


def ok(name: str, message: str) -> Problem:
    """Nothing is in the way of the next run."""
    return Problem(name, Severity.OK, message)


def warn(name: str, message: str, fix: str | None) -> Problem:
    """The next run goes, but not as somebody may think."""
    return Problem(name, Severity.WARN, message, fix)


def fail(name: str, message: str, fix: str | None) -> Problem:
    """The next run does not come to its end, or is not started."""
    return Problem(name, Severity.FAIL, message, fix)

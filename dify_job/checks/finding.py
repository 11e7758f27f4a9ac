"""Findings: the results of checks. The registry adds the name of the check."""

from enum import IntEnum
from typing import NamedTuple

from ..config.model import Job, Source
from ..config.schema import VARIABLES
from ..exit_codes import Outcome
from ..messages.command import Reader, for_reader
from ..messages.message import msg


class Severity(IntEnum):
    """How bad a finding is; its number is the exit status of `dify-job doctor`."""

    OK = 0
    WARN = 1
    FAIL = 2


class Finding(NamedTuple):
    """The result of a check: success, or a problem with its fix.

    Args:
        name: The name of the check, such as `key`; stable, for programs.
        severity: The severity.
        message: The event and its reason: one sentence without a full stop.
        fix: A command, an edit, or advice; None if nothing needs to be done.
        outcome: The outcome of a command that rejects a job for it, or None.
        settings: The settings that it concerns.
    """

    name: str
    severity: Severity
    message: str
    fix: str | None = None
    outcome: Outcome | None = None
    settings: tuple[str, ...] = ()

    def for_reader(self, reader: Reader) -> "Finding":
        """Return the finding with its commands adapted to a reader.

        Args:
            reader: The person who reads it.
        """
        fix = for_reader(self.fix, reader) if self.fix else self.fix
        return self._replace(message=for_reader(self.message, reader), fix=fix)

    def as_json(self) -> dict[str, str | None]:
        """Return the finding for programs: English in every locale."""
        return {
            "check": self.name,
            "level": self.severity.name.lower(),
            "message": str(self.message),
            "fix": str(self.fix) if self.fix else None,
        }


def location_of(job: Job, key: str) -> str:
    """Return the file and line of a setting of a job, or the table where a person can add it.

    Args:
        job: The job.
        key: The name of the setting.
    """
    if (origin := job.origins.get(key)) is not None:
        return str(origin)
    file = next((one.where for one in job.origins.values() if one.source is Source.FILE), None)
    if file is None and key in VARIABLES:
        return msg("the environment variable {name}", name=VARIABLES[key])
    if file is None:
        return msg("the table [jobs.{name}] of a configuration file", name=job.name)
    return msg("the table [jobs.{name}] of {file}", name=job.name, file=file)


def ok(message: str) -> Finding:
    """Return the finding that nothing prevents the next run."""
    return Finding("", Severity.OK, message)


def warn(message: str, fix: str | None, outcome: Outcome | None = None) -> Finding:
    """Return the finding of a problem that does not prevent the next run but may surprise the user.

    Args:
        message: What is wrong.
        fix: What fixes it.
        outcome: The outcome of install if it rejects the job for this problem.
    """
    return Finding("", Severity.WARN, message, fix, outcome)


def fail(message: str, fix: str | None, outcome: Outcome | None = Outcome.CONFIG) -> Finding:
    """Return the finding of a problem that makes the next run fail, or prevents it.

    Args:
        message: What is wrong.
        fix: What fixes it.
        outcome: The outcome of install if it rejects the job for this problem.
    """
    return Finding("", Severity.FAIL, message, fix, outcome)

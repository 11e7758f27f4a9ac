"""Results of checks: a problem with its fix, or success. The registry adds the name of the check."""

from ..config.model import Job, Source
from ..config.schema import VARIABLES
from ..exit_codes import Outcome
from ..messages.message import msg
from ..messages.problem import Problem, Severity


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


def ok(message: str) -> Problem:
    """Return that nothing prevents the next run."""
    return Problem("", Severity.OK, message)


def warn(message: str, fix: str | None, outcome: Outcome | None = None) -> Problem:
    """Return a problem that does not prevent the next run but may surprise the user.

    Args:
        message: What is wrong.
        fix: What fixes it.
        outcome: The outcome of install if it rejects the job for this problem.
    """
    return Problem("", Severity.WARN, message, fix, outcome)


def fail(message: str, fix: str | None, outcome: Outcome | None = Outcome.CONFIG) -> Problem:
    """Return a problem that makes the next run fail, or prevents it.

    Args:
        message: What is wrong.
        fix: What fixes it.
        outcome: The outcome of install if it rejects the job for this problem.
    """
    return Problem("", Severity.FAIL, message, fix, outcome)

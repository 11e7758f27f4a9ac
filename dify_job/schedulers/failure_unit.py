"""The unit that tells what a failed job could not tell itself: OnFailure= of the job's service starts it."""

from pathlib import Path

from ..system.paths import config_home

SYSTEM_UNITS = Path("/etc/systemd/system")


def name_of(job: str) -> str:
    """`dify-job-notify@%n.service` of the job's service: a file of that instance alone, with its credentials.

    No job can have this name, which has an @.
    """
    return f"dify-job-notify@dify-job-{job}.service.service"


def job_of(unit: str) -> str:
    """The job that a service, timer or handler of ours belongs to, by its name."""
    stem = unit.rpartition(".")[0]
    return stem.removeprefix("dify-job-").removeprefix("notify@dify-job-").removesuffix(".service")


def user_units() -> Path:
    """Where a user's own units are (systemd.unit(5))."""
    return config_home() / "systemd/user"


def is_installed(job: str) -> bool:
    """True where the job has a handler, in the system's units or the caller's own."""
    return any((units / name_of(job)).exists() for units in (SYSTEM_UNITS, user_units()))

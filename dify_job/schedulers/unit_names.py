"""Names and directories of the units of a job."""

from pathlib import Path

from ..system.paths import config_home

SYSTEM_UNITS = Path("/etc/systemd/system")


def unit_names(job: str) -> tuple[str, str]:
    """Return the names of a job's service and timer."""
    return f"dify-job-{job}.service", f"dify-job-{job}.timer"


def failure_unit_name(job: str) -> str:
    """Return the name of the unit that reports a failure of the job's service.

    OnFailure= of the service names it as `dify-job-notify@%n.service`. It is a file of that instance alone,
    with the credentials of the job. No job can have this name, because it contains an @.
    """
    return f"dify-job-notify@dify-job-{job}.service.service"


def job_of_unit(unit: str) -> str:
    """Return the job that a service, timer or failure unit belongs to, by the unit's name."""
    stem = unit.rpartition(".")[0]
    return stem.removeprefix("dify-job-").removeprefix("notify@dify-job-").removesuffix(".service")


def user_units() -> Path:
    """Return the directory of a user's own units (systemd.unit(5))."""
    return config_home() / "systemd/user"


def has_failure_unit(job: str) -> bool:
    """Return whether the job has a failure unit, in the system's units or the caller's own."""
    return any((units / failure_unit_name(job)).exists() for units in (SYSTEM_UNITS, user_units()))

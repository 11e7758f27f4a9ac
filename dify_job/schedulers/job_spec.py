"""The specification of a job for a scheduler: names of units, command, times and accessed paths."""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ..config.model import Job, Notify, ScheduleConfig, constant_parent, header_files, local_files
from ..config.readers import user_name
from ..config.schema import installed_values
from ..config.secrets import header_credential, url_credential
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg, with_setting
from ..system.managed_files import fingerprint
from ..system.user import config_home

_RUN = " -P -m dify_job run "
SYSTEM_UNITS = Path("/etc/systemd/system")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The specification of one job for a scheduler.

    Attributes:
        timeout: Seconds.
        key_file: The file with the key.
        key_credential: The file with the key, encrypted by systemd-creds(1).
        reads: Files that a run reads, ca_file included.
        writes: Directories that a run writes to.
        secrets: Files of notify and headers by the name of their credentials.
        metrics_directory: The directory of the metrics file.
        ca_file: The CA certificates of the job.
        notify: The notify settings as JSON; empty without notifications.
        fingerprint: The fingerprint of the values that reach installed files; other values need no reinstall.
    """

    job: str
    description: str
    schedule: ScheduleConfig
    config_path: Path
    python: Path
    timeout: float
    key_file: Path | None = None
    key_credential: Path | None = None
    run_as: str | None = None
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    secrets: tuple[tuple[str, Path], ...] = ()
    metrics_directory: Path | None = None
    ca_file: Path | None = None
    notify: str = ""
    fingerprint: str = ""

    def command(self, *, if_due: bool = False) -> tuple[str, ...]:
        """Return the command of the unit or crontab line, with names only; values stay in the configuration.

        Args:
            if_due: The crontab line fires more often than the job runs. Under systemd, `run` detects this
                itself; otherwise service and timer would have to change at the same time.
        """
        due = ("--if-due",) if if_due else ()
        run = (
            "-P",
            "-m",
            "dify_job",
            "run",
            "--scheduled",
            *due,
            "--config",
            str(self.config_path),
            self.job,
        )
        return (str(self.python), *run)

    def failure_command(self, unit: str, *, user: bool) -> tuple[str, ...]:
        """Return the command of the failure unit.

        Args:
            unit: The unit that failed.
            user: It is a unit of the user manager.
        """
        scope = ("--user",) if user else ()
        handle = ("-P", "-m", "dify_job", "notify", "--unit", unit, *scope)
        return (str(self.python), *handle, "--config", str(self.config_path), self.job)


def job_spec(job: Job, config_path: Path, *, python: Path | None = None) -> JobSpec:
    """Return the specification of a job.

    Args:
        job: The job.
        config_path: The configuration that the unit names.
        python: The interpreter of the unit; None for the interpreter of this process.
    """
    interpreter = python or Path(sys.executable)
    reads, metrics_directory = (
        local_files(job.files),
        job.metrics.textfile.parent if job.metrics.textfile else None,
    )
    values = installed_values(job) | {"python": str(interpreter)}
    output = constant_parent(job.output.file) if job.output.file else None
    return JobSpec(
        job=job.name,
        description=" ".join((job.description or job.name).split()),
        schedule=job.times,
        config_path=config_path,
        python=interpreter,
        timeout=job.timeout,
        key_file=job.key.file,
        key_credential=job.key.encrypted,
        run_as=job.run_as,
        reads=(*reads, *filter(None, (job.ca_file,))),
        writes=tuple(filter(None, (output, metrics_directory))),
        secrets=(
            *((url_credential(path), path) for path in job.notify.files),
            *((header_credential(path), path) for path in header_files(job.headers)),
        ),
        metrics_directory=metrics_directory,
        ca_file=job.ca_file,
        notify=json.dumps(job.notify._asdict()) if job.notify != Notify() else "",
        fingerprint=fingerprint(json.dumps(values, sort_keys=True, default=str)),
    )


def interpreter_of(text: str) -> Path | None:
    """Return the interpreter in the text of a service or crontab lines, or None."""
    for line in text.splitlines():
        if line.startswith("ExecStart="):
            return Path(_first_word(line.removeprefix("ExecStart=")))
        if _RUN in line:
            return Path(line.partition(_RUN)[0].split()[-1])
    return None


def _first_word(command: str) -> str:
    try:
        return shlex.split(command.replace("%%", "%"))[0]
    except (ValueError, IndexError):
        return command


def check_user_name(spec: JobSpec) -> None:
    """Reject a run_as that a unit or crontab would not read as one user name.

    Raises:
        JobError: (config) The value is no user name.
    """
    try:
        user_name(spec.run_as or "root")
    except ValueError as error:
        raise JobError(
            Outcome.CONFIG,
            with_setting(error, f"jobs.{spec.job}.run_as"),
            msg("set run_as to a user of this machine; to list the users, run: getent passwd"),
        ) from None


# The names of a job's units


def unit_names(job: str) -> tuple[str, str]:
    """Return the names of a job's service and timer."""
    return f"dify-job-{job}.service", f"dify-job-{job}.timer"


def failure_unit_name(job: str) -> str:
    """Return the name of the unit that reports a failure of the job's service.

    OnFailure= of the service names it as `dify-job-notify@%n.service`. It is a file of one instance, with the
    credentials of the job. No job can have this name, because it contains an @.
    """
    return f"dify-job-notify@dify-job-{job}.service.service"


def job_of_unit(unit: str) -> str:
    """Return the job of a service, timer or failure unit, by the name of the unit."""
    stem = unit.rpartition(".")[0]
    return stem.removeprefix("dify-job-").removeprefix("notify@dify-job-").removesuffix(".service")


def user_units() -> Path:
    """Return the directory of a user's own units (systemd.unit(5))."""
    return config_home() / "systemd/user"


def has_failure_unit(job: str) -> bool:
    """Return whether the job has a failure unit, in the system's units or the caller's own."""
    return any((units / failure_unit_name(job)).exists() for units in (SYSTEM_UNITS, user_units()))

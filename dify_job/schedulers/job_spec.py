"""From a job to what a scheduler needs of it: names of units, command, times, and what it accesses."""

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
    """One job as a scheduler needs it.

    Attributes:
        timeout: Seconds.
        key_file: The file with the key.
        key_credential: The file with the key, encrypted by systemd-creds(1).
        reads: Files that a run reads, the ca_file included.
        writes: Directories that a run writes to.
        secrets: Files of notify and headers, by the name of the credential made of each.
        metrics_directory: The directory of the metrics file.
        ca_file: The certificates that the job trusts.
        notify: Who is notified, as JSON; empty where nobody is.
        fingerprint: Of the config values that reach a file, so that an edited input needs no reinstall.
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
        """Return what the unit or crontab line starts: nothing but names; values stay in the config.

        Args:
            if_due: The crontab line ticks more often than the job runs. Under systemd `run` finds that out
            itself: else the service would have to change with the timer, and two files never change at
                once.
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

    def handler_command(self, unit: str, *, user: bool) -> tuple[str, ...]:
        """Return what OnFailure= of a unit starts.

        Args:
            unit: The unit.
            user: It is a unit of the user manager.
        """
        scope = ("--user",) if user else ()
        handle = ("-P", "-m", "dify_job", "notify", "--unit", unit, *scope)
        return (str(self.python), *handle, "--config", str(self.config_path), self.job)


def job_spec(job: Job, config_path: Path, *, python: Path | None = None) -> JobSpec:
    """Return the description of a job.

    Args:
        job: The job.
        config_path: The config that its unit names.
        python: The interpreter of its unit; this process's own where None.
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


def program_of(text: str) -> Path | None:
    """Return the interpreter that a service or crontab lines start; None where the text names none."""
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
    """Refuse a run_as that would be something else than one name in a unit or crontab.

    Raises:
        JobError: It is none (config).
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

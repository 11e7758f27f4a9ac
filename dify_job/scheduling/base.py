"""What the schedulers have in common: the plan of a job, its artifacts, and their contract."""

import json
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from ..caller import sudo
from ..config.model import Job, Notify, ScheduleConfig
from ..config.secrets import url_credential
from ..ownership import fingerprint
from ..state import base_of


class Scope(StrEnum):
    """Whose scheduler: the machine's, or one user's."""

    SYSTEM = "system"
    USER = "user"

    @property
    def base(self) -> Path:
        """Where its jobs have their state, and install has its lock."""
        return base_of(system=self is Scope.SYSTEM)

    @property
    def sudo(self) -> str:
        """What goes before a command on its jobs, as this caller has to give it."""
        return sudo() if self is Scope.SYSTEM else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One job as a scheduler needs it. timeout: seconds. reads and writes: what the service must reach.

    secrets: files of notify, by the name that a credential of each has. figures: the metrics' directory.
    notify: whom the job tells, as JSON; empty where nobody is told.

    fingerprint: of the config values that reach a file, so that an edited input needs no reinstall.
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
    figures: Path | None = None
    notify: str = ""
    fingerprint: str = ""

    def command(self, *, if_due: bool = False) -> tuple[str, ...]:
        """What the unit or crontab line starts: nothing but names; values stay in the config.

        if_due: for a crontab line that ticks more often than the job runs. Under systemd `run` knows it by
        itself: the service would else have to change with the timer, and two files never change at once.
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
        """What OnFailure= of a unit starts; user: it is a unit of the user manager."""
        whose = ("--user",) if user else ()
        handle = ("-P", "-m", "dify_job", "notify", "--unit", unit, *whose)
        return (str(self.python), *handle, "--config", str(self.config_path), self.job)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file, or one marked block of a crontab: its place and its whole text."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the caller of install wants. start: True arms what is paused, False leaves new jobs unarmed."""

    start: bool | None = None
    overwrite_edits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What install or uninstall did with one job. armed: whether it will run by itself now.

    arm: the commands that arm it where `resume` does not.
    """

    job: str
    paths: tuple[Path, ...] = ()
    changed: bool = False
    armed: bool = False
    arm: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, *notes: str) -> "Change":
        """The same, with more to tell."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self


class Sync(StrEnum):
    """How the files of a job on this host compare with its configuration."""

    CONFIGURED = "as configured"
    OUTDATED = "outdated"
    EDITED = "edited"
    ORPHAN = "orphan"
    MISSING = "not installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One job as the host has it. exit_code, result and ended are the scheduler's own, where it has any.

    python: the interpreter that is started; None where it cannot be read.
    """

    job: str
    backend: str
    scope: Scope
    paths: tuple[Path, ...]
    fingerprint: str
    source: str
    python: Path | None = None
    edited: bool = False
    armed: bool | None = None
    paused: bool = False
    running: bool = False
    next_run: datetime | None = None
    exit_code: int | None = None
    result: str | None = None
    ended: datetime | None = None
    troubles: tuple[str, ...] = ()

    @property
    def state(self) -> Path:
        """The job's state directory, whether it is there or not."""
        return self.scope.base / self.job

    @property
    def by_cron(self) -> bool:
        """True where cron keeps the time."""
        return self.backend == "cron"


class Backend(ABC):
    """One scheduler of the host, for the machine or for the caller. Its methods raise JobError.

    name: as --backend takes it. by_cron: lines are read as cron reads them.
    """

    name: str
    by_cron = False

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    @abstractmethod
    def render(self, plan: Plan) -> tuple[Artifact, ...]:
        """The files of a job. Pure."""

    @abstractmethod
    def install(self, plans: Sequence[Plan], wishes: Wishes) -> list[Change]:
        """Bring the host to the plans; all or nothing, and no run starts by it."""

    @abstractmethod
    def uninstall(self, jobs: Sequence[str]) -> list[Change]:
        """Take away what is ours of these jobs, and nothing else."""

    @abstractmethod
    def pause(self, job: str, *, paused: bool) -> Change:
        """Disarm or arm a job, across reboots; a run under way goes on."""

    @abstractmethod
    def status(self, jobs: Iterable[str] | None = None) -> list[Installed]:
        """What is installed, by the marks in the files; all of it where no jobs are named."""

    @abstractmethod
    def compared(self, plan: Plan) -> list[tuple[Path, str, str]]:
        """Each place of a job, its text now, and the one that install would give it."""

    def lacks(self, _plan: Plan) -> tuple[str, ...]:
        """What it cannot do for the job, and what is done instead; a sentence each."""
        return ()

    def starts_by_hand(self, _plan: Plan) -> bool:
        """True where its own command starts the job at once, whatever the time."""
        return False


def plan_of(job: Job, config_path: Path, *, python: Path | None = None) -> Plan:
    """The plan of a job. python: the interpreter of the units; this process's own where None."""
    interpreter = python or Path(sys.executable)
    reads, figures = _local_files(job), job.metrics.textfile.parent if job.metrics.textfile else None
    output = constant_parent(job.output.file) if job.output.file else None
    return Plan(
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
        writes=tuple(filter(None, (output, figures))),
        secrets=tuple((url_credential(path), path) for path in job.notify.files),
        figures=figures,
        notify=json.dumps(asdict(job.notify)) if job.notify != Notify() else "",
        fingerprint=_fingerprint(job, reads, interpreter),
    )


def _local_files(job: Job) -> tuple[Path, ...]:
    """The files of this machine that the job names; of a template the directory that is constant."""
    local = (name for name in job.named_files if name and "://" not in name)
    return tuple(filter(None, (constant_parent(name) if "{" in name else Path(name) for name in local)))


def _fingerprint(job: Job, reads: Iterable[Path], interpreter: Path) -> str:
    """Of what reaches a file; the same from release to release, or all that is installed is out of date."""
    told = {
        "schedule": asdict(job.times),
        "timeout": job.timeout,
        "key": f"encrypted {job.key.encrypted}" if job.key.encrypted else str(job.key.file),
        "run_as": job.run_as,
        "description": job.description,
        "files": sorted(map(str, reads)),
        "output": job.output.file,
        "ca_file": str(job.ca_file),
        "notify": asdict(job.notify),
        "python": str(interpreter),
    }
    if job.metrics.textfile is not None:
        told["metrics"] = str(job.metrics.textfile)
    return fingerprint(json.dumps(told, sort_keys=True, default=str))


def constant_parent(output: str) -> Path | None:
    """The directory of an output file as far as it is no template; None for one in the state directory."""
    constant = re.split(r"\{[{%]", output, maxsplit=1)[0]
    path = Path(constant).expanduser()
    if not path.is_absolute():
        return None
    return path if constant.endswith("/") else path.parent

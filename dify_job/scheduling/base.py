"""What the schedulers have in common: the plan of a job, its artifacts, and the contract of four methods."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ..config.model import Job, Notify, ScheduleConfig
from ..config.secrets import url_credential
from ..ownership import fingerprint
from . import schedule


class Scope(StrEnum):
    """Whose scheduler: the machine's, or one user's."""

    SYSTEM = "system"
    USER = "user"


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


class Sync(StrEnum):
    """How the files of a job on this host compare with its configuration."""

    CONFIGURED = "as configured"
    OUTDATED = "outdated"
    EDITED = "edited"
    ORPHAN = "orphan"
    MISSING = "not installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One job as the host has it. exit_code, result and ended are the scheduler's own, where it has any."""

    job: str
    backend: str
    scope: Scope
    paths: tuple[Path, ...]
    fingerprint: str
    source: str
    edited: bool = False
    armed: bool | None = None
    paused: bool = False
    running: bool = False
    next_run: datetime | None = None
    exit_code: int | None = None
    result: str | None = None
    ended: datetime | None = None
    troubles: tuple[str, ...] = field(default=())


class Backend(Protocol):
    """One scheduler of the host. Its methods raise JobError."""

    name: str
    scope: Scope

    def render(self, plan: Plan) -> tuple[Artifact, ...]:
        """The files of a job. Pure."""

    def install(self, plans: Sequence[Plan], wishes: Wishes) -> list[Change]:
        """Bring the host to the plans; all or nothing, and no run starts by it."""

    def uninstall(self, jobs: Sequence[str]) -> list[Change]:
        """Take away what is ours of these jobs, and nothing else."""

    def status(self, jobs: Iterable[str] | None = None) -> list[Installed]:
        """What is installed, by the marks in the files; all of it where no jobs are named."""


def plan_of(job: Job, config_path: Path, *, python: Path | None = None) -> Plan:
    """The plan of a job. python: the interpreter of the units; this process's own where None."""
    times = schedule.or_default(job.schedule)
    named = [n for value in job.files.values() for n in ((value,) if isinstance(value, str) else value)]
    local = [name for name in named if name and "://" not in name]
    found = [constant_parent(name) if "{" in name else Path(name) for name in local]
    reads = [path for path in found if path is not None]
    secrets = tuple((url_credential(path), path) for path in job.notify.files)
    writes = (constant_parent(job.output.file),) if job.output.file else ()
    if job.metrics.textfile is not None:
        writes = (*writes, job.metrics.textfile.parent)
    interpreter = python or Path(sys.executable)
    told = {
        "schedule": asdict(times),
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
    return Plan(
        job=job.name,
        description=" ".join((job.description or job.name).split()),
        schedule=times,
        config_path=config_path,
        python=interpreter,
        timeout=job.timeout,
        key_file=job.key.file,
        key_credential=job.key.encrypted,
        run_as=job.run_as,
        reads=(*reads, *((job.ca_file,) if job.ca_file else ())),
        writes=tuple(path for path in writes if path is not None),
        secrets=secrets,
        figures=job.metrics.textfile.parent if job.metrics.textfile else None,
        notify=json.dumps(asdict(job.notify)) if job.notify != Notify() else "",
        fingerprint=fingerprint(json.dumps(told, sort_keys=True, default=str)),
    )


def constant_parent(output: str) -> Path | None:
    """The directory of an output file as far as it is no template; None for one in the state directory."""
    constant = re.split(r"\{[{%]", output, maxsplit=1)[0]
    path = Path(constant).expanduser()
    if not path.is_absolute():
        return None
    return path if constant.endswith("/") else path.parent

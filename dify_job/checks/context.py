"""What the checks of one job look at: the job, the host, the scheduler that has it, and its server."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from ..config.model import Config, Job, Secret
from ..config.secrets import read_key
from ..dify.app_info import AppProbe
from ..messages.errors import JobError
from ..messages.problem import Command
from ..run.app_form import store_names
from ..run.inputs import Templates
from ..run.job_state import state_directory
from ..schedulers import access
from ..schedulers.backend import InstalledJob, Scope, Unit
from ..schedulers.detect import likely_backend, unit_config_path
from ..schedulers.job_spec import JobSpec, job_spec
from ..schedulers.reconcile import Backend
from ..state.history import RunRecord, read_history
from ..state.reader import read_abandoned, read_last_success
from ..state.store import InFlight
from .server import Servers


def store_forms(contexts: Iterable["HostContext"]) -> None:
    """Store the names of the forms that were read: for a day a run finds a misspelt input by them.

    Args:
        contexts: The jobs that were looked at.
    """
    for context in contexts:
        if isinstance(context.key, Secret) and context.app is not None:
            store_names(context.state, context.job, context.key, context.app.parameters)


@dataclass(frozen=True, kw_only=True)
class HostContext:
    """One job on this host, and what checks ask of both, each once.

    Attributes:
        job: The job.
        config: The configuration that names it.
        scheduler: The scheduler that has it, else the one that install would take.
        now: The current time, aware.
        installed: Its installations with their schedulers: mostly one, or none.
        servers: Answers of the servers, shared by the jobs of one command.
        prepared: What install is about to install; None for other commands.
        scheduler_error: Why a scheduler cannot be asked what is installed; None where all answered.
        past: The job's past runs where they were read already, else None.
    """

    job: Job
    config: Config
    scheduler: Backend
    now: datetime
    installed: tuple[tuple[Backend, InstalledJob], ...] = ()
    servers: Servers = field(default_factory=Servers)
    prepared: JobSpec | None = None
    scheduler_error: JobError | None = None
    past: tuple[RunRecord, ...] | None = None

    @classmethod
    def of(
        cls,
        job: Job,
        config: Config,
        found: Sequence[tuple[Backend, InstalledJob]],
        now: datetime,
        *,
        backend: str = "auto",
        scope: Scope | None = None,
        servers: Servers | None = None,
        scheduler_error: JobError | None = None,
    ) -> "HostContext":
        """Return the context of a job.

        Args:
            job: The job.
            config: The configuration that names it.
            found: What is installed on this host.
            now: The current time, aware.
            backend: Of a job that is not installed.
            scope: The same.
            servers: Shared by several jobs.
            scheduler_error: Why a scheduler cannot be asked; None where all answered.
        """
        named = tuple((scheduler, one) for scheduler, one in found if one.job == job.name)
        # A user's job and one of the machine can have one name: of this config are those that say so.
        own = tuple(each for each in named if config.path and each[1].source == str(config.path.absolute()))
        mine = own or named
        scope = scope or (Scope.SYSTEM if os.geteuid() == 0 else Scope.USER)
        return cls(
            job=job,
            config=config,
            scheduler=mine[0][0] if mine else likely_backend(backend, scope),
            now=now,
            installed=mine,
            servers=servers or Servers(),
            scheduler_error=scheduler_error,
        )

    # The job

    @cached_property
    def key(self) -> Secret | JobError | None:
        """The job's key, or why it cannot be used; None where only root may read it, as it should be."""
        place = self.job.key.file or self.job.key.encrypted
        if place is not None and os.geteuid() != 0 and self.system and not os.access(place, os.R_OK):
            return None
        try:
            return read_key(self.job)
        except JobError as error:
            return error

    @cached_property
    def templates(self) -> Templates:
        """The templates as a run from this shell renders them."""
        return Templates(self.job, lambda: read_last_success(self.state))

    @cached_property
    def unit_templates(self) -> Templates:
        """The templates with the variables that a unit can have, as after a run that succeeded."""
        return Templates(self.job, lambda: self.now, dict.fromkeys(self.job.env, "") | os.environ)

    @cached_property
    def app(self) -> AppProbe | None:
        """What the server says of the app; None where it cannot be asked, or no time is left for it."""
        return self.servers.probe(self.job, self.key) if isinstance(self.key, Secret) else None

    # Its installation

    @property
    def installed_job(self) -> InstalledJob | None:
        """The installation that is looked at."""
        return self.installed[0][1] if self.installed else None

    @property
    def python(self) -> Path | None:
        """The interpreter that a unit or crontab entry starts, or is to start; None where there is none."""
        if self.prepared is not None:
            return self.prepared.python
        return self.installed_job.python if self.installed_job else None

    @property
    def system(self) -> bool:
        """True for a job of the machine."""
        return self.scheduler.scope is Scope.SYSTEM

    @property
    def by_cron(self) -> bool:
        """True where cron starts the job."""
        return self.scheduler.by_cron

    @property
    def units(self) -> Mapping[str, Unit]:
        """The job's units as the manager has them, by name; none for cron."""
        return self.installed_job.units if self.installed_job else {}

    @cached_property
    def spec(self) -> JobSpec:
        """What install would give the scheduler, with the interpreter that is there."""
        return self.prepared or job_spec(self.job, self.config_path, python=self.python)

    @property
    def config_path(self) -> Path:
        """The config that the job's unit names."""
        if self.installed_job and self.installed_job.source:
            return Path(self.installed_job.source)
        return unit_config_path(self.config, self.scheduler.scope)

    @cached_property
    def account(self) -> access.Account | None:
        """The user that the job runs as; None for a run_as that is no user."""
        if not self.system:
            return access.calling_account()
        if self.job.run_as is None and self.scheduler.key_by_manager:
            return access.DYNAMIC
        return access.account_of(self.job.run_as or "root", confined=not self.by_cron)

    # Its records

    @property
    def state(self) -> Path:
        """The job's state directory, whether it is there or not."""
        if self.installed_job is not None and not os.environ.get("STATE_DIRECTORY"):
            return self.installed_job.state
        return state_directory(self.job, self.config.path)

    @property
    def state_is_hidden(self) -> bool:
        """True for the state of a job of the machine that the caller has no access to."""
        there = os.path.lexists(self.state)
        return self.system and os.geteuid() != 0 and there and not os.access(self.state, os.R_OK | os.X_OK)

    @cached_property
    def abandoned(self) -> InFlight | None:
        """The run that an earlier process left without an end."""
        return read_abandoned(self.state, self.now)

    @cached_property
    def history(self) -> tuple[RunRecord, ...] | None:
        """The job's past runs; None where they cannot be read."""
        try:
            return self.past if self.past is not None else read_history(self.state)
        except OSError:
            return None

    # Commands

    def systemctl(self, *words: str) -> Command:
        """Return a command for the service manager."""
        return self.as_owner("systemctl", *self.scheduler.scope.manager_options, *words)

    def command(self, *words: str) -> Command:
        """Return a command of dify-job that changes what is installed, or the key."""
        # Without --user, root's command would be about the machine's jobs.
        needs_scope = not self.system and os.geteuid() == 0 and words[0] != "secret" and "--user" not in words
        return self.as_owner("dify-job", *words, *(("--user",) if needs_scope else ()))

    def as_owner(self, *words: str) -> Command:
        """Return a command on what belongs to the owner of the job: root, or the caller."""
        return Command(words, needs_root=self.system)

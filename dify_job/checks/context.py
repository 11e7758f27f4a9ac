"""What the checks of one job have before them."""

import os
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from ..config.model import Config, Job, Secret
from ..config.secrets import read_key
from ..dify.app_info import AppProbe
from ..messages.errors import JobError
from ..messages.problem import Command
from ..run.job_state import state_directory
from ..schedulers import access, units
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.detect import config_place, likely_backend
from ..schedulers.job_spec import JobSpec, job_spec
from ..schedulers.reconcile import Backend
from ..schedulers.systemctl import Manager
from ..schedulers.systemd import Systemd
from ..state.history import RunRecord, read_history
from .server import Servers, check_trust


@dataclass(frozen=True, kw_only=True)
class HostContext:
    """One job on this host, and what checks ask of both, each once.

    Attributes:
        job: The job.
        config: The configuration that names it.
        scheduler: The scheduler that has it, else the one that install would take.
        now: The current time, aware.
        installed: Where it is installed, mostly once or not at all.
        servers: Answers of the servers, shared by the jobs of one look.

    """

    job: Job
    config: Config
    scheduler: Backend
    now: datetime
    installed: tuple[tuple[Backend, InstalledJob], ...] = ()
    servers: Servers = field(default_factory=Servers)

    @classmethod
    def of(
        cls,
        job: Job,
        config: Config,
        found: list[tuple[Backend, InstalledJob]],
        now: datetime,
        *,
        backend: str = "auto",
        scope: Scope | None = None,
        servers: Servers | None = None,
    ) -> "HostContext":
        """A job with what is installed of it. backend and scope: asked for, where nothing is."""
        named = tuple((scheduler, one) for scheduler, one in found if one.job == job.name)
        # A user's job and one of the machine can have one name: of this config are those that say so.
        own = tuple(each for each in named if config.path and each[1].source == str(config.path.absolute()))
        mine = own or named
        scope = scope or (Scope.SYSTEM if os.geteuid() == 0 else Scope.USER)
        scheduler = mine[0][0] if mine else likely_backend(backend, scope)
        return cls(
            job=job,
            config=config,
            scheduler=scheduler,
            now=now,
            installed=mine,
            servers=servers or Servers(),
        )

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
    def app(self) -> AppProbe | None:
        """What the server says of the app; None where it cannot be asked, or no time is left for it."""
        if not isinstance(self.key, Secret) or check_trust(self.job) is not None:
            return None
        return self.servers.look(self.job, self.key)

    @cached_property
    def history(self) -> tuple[RunRecord, ...] | None:
        """The job's past runs; None where they cannot be read."""
        try:
            return read_history(self.state)
        except OSError:
            return None

    @property
    def one(self) -> InstalledJob | None:
        """The installation that is looked at."""
        return self.installed[0][1] if self.installed else None

    @property
    def python(self) -> Path | None:
        """The interpreter in the unit or crontab line; None where there is none to be read."""
        return self.one.python if self.one else None

    @property
    def by_cron(self) -> bool:
        """True where cron keeps the time."""
        return self.scheduler.by_cron

    @property
    def systemd_version(self) -> int | None:
        """The version of systemd that keeps the time; None for cron."""
        return self.scheduler.version if isinstance(self.scheduler, Systemd) else None

    @property
    def manager(self) -> Manager:
        """The service manager that keeps the time."""
        return (
            self.scheduler.manager if isinstance(self.scheduler, Systemd) else Manager(self.scheduler.scope)
        )

    def systemctl(self, *words: str) -> Command:
        """The command that tells that manager something."""
        program = ("systemctl",) if self.system else ("systemctl", "--user")
        return Command((*program, *words), needs_root=self.system)

    def command(self, *words: str) -> Command:
        """A command of dify-job that changes what is installed."""
        return Command(("dify-job", *words), needs_root=self.system)

    def as_owner(self, *words: str) -> Command:
        """A command on what belongs to the owner of the job: root, or the caller."""
        return Command(words, needs_root=self.system)

    @property
    def system(self) -> bool:
        """True for a job of the machine."""
        return self.scheduler.scope is Scope.SYSTEM

    @property
    def config_path(self) -> Path:
        """The config that the job's unit names."""
        return (
            Path(self.one.source)
            if self.one and self.one.source
            else config_place(self.config, self.scheduler.scope)
        )

    @property
    def plan(self) -> JobSpec:
        """The plan that install would have for it, with the interpreter that there is."""
        return job_spec(self.job, self.config_path, python=self.python)

    @property
    def account(self) -> access.Account | None:
        """Who the job runs as; None for a run_as that is no user, which has a line of its own."""
        if not self.system:
            return access.caller()
        version = self.systemd_version
        if version is not None and units.is_dynamic(self.plan, self.scheduler.scope, version):
            return access.DYNAMIC
        try:
            return access.account_of(self.job.run_as or "root", confined=version is not None)
        except JobError:
            return None

    @property
    def state(self) -> Path:
        """The job's state directory, whether it is there or not."""
        if self.one is not None and not os.environ.get("STATE_DIRECTORY"):
            return self.one.state
        return state_directory(self.job, self.config.path)

"""The context of the checks of one job: the job, the host, its scheduler and its server."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from ..config.model import Config, Job, Secret, Source
from ..config.secrets import read_key
from ..dify.app_info import AppProbe
from ..exit_codes import Outcome
from ..messages.command import Command
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.app_form import store_names
from ..run.inputs import Templates
from ..run.state_directory import state_directory
from ..schedulers import access
from ..schedulers.backend import Backend
from ..schedulers.detect import likely_backend, unit_config_path
from ..schedulers.job_spec import JobSpec, job_spec
from ..schedulers.model import InstalledJob, Scope, Unit
from ..state.history import RunRecord, read_history
from ..state.reader import read_abandoned, read_last_success
from ..state.store import InFlight
from .finding import location_of
from .probes import AppProbes


def store_forms(contexts: Iterable["HostContext"]) -> None:
    """Store the input names of the forms that were read; for a day, runs find misspelt inputs with them.

    Args:
        contexts: The jobs that were checked.
    """
    for context in contexts:
        if isinstance(context.key, Secret) and context.app is not None:
            store_names(context.state, context.job, context.key, context.app.parameters)


@dataclass(frozen=True, kw_only=True)
class HostContext:
    """One job on this host. Each property is computed once.

    Attributes:
        job: The job.
        config: The configuration that names it.
        scheduler: The scheduler that has the job, otherwise the one that install would choose.
        now: The current time, aware.
        installed: The installations of the job with their schedulers; usually one or none.
        probes: What the servers answer about apps; all jobs of one command share them.
        prepared: The job that install is about to install; None for other commands.
        scheduler_error: Why a scheduler does not report its jobs; None if all schedulers do.
        past: The job's past runs if they were already read, otherwise None.
    """

    job: Job
    config: Config
    scheduler: Backend
    now: datetime
    installed: tuple[tuple[Backend, InstalledJob], ...] = ()
    probes: AppProbes = field(default_factory=AppProbes)
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
        probes: AppProbes | None = None,
        scheduler_error: JobError | None = None,
    ) -> "HostContext":
        """Return the context of a job.

        Args:
            job: The job.
            config: The configuration that names it.
            found: The jobs that are installed on this host.
            now: The current time, aware.
            backend: The scheduler of a job that is not installed.
            scope: The scope of a job that is not installed.
            probes: What the servers answer about apps, for several jobs.
            scheduler_error: Why a scheduler does not report its jobs; None if all schedulers do.
        """
        named = tuple((scheduler, one) for scheduler, one in found if one.job == job.name)
        # A user job and a system job can have the same name; the header names the configuration of each.
        own = tuple(each for each in named if config.path and each[1].source == str(config.path.absolute()))
        mine = own or named
        scope = scope or (Scope.SYSTEM if os.geteuid() == 0 else Scope.USER)
        return cls(
            job=job,
            config=config,
            scheduler=mine[0][0] if mine else likely_backend(backend, scope),
            now=now,
            installed=mine,
            probes=probes or AppProbes(),
            scheduler_error=scheduler_error,
        )

    # The job

    @cached_property
    def key(self) -> Secret | JobError | None:
        """The job's key, or the error of reading it; None if only root can read the key, which is correct."""
        place = self.job.key.file or self.job.key.encrypted
        if place is not None and os.geteuid() != 0 and self.system and not os.access(place, os.R_OK):
            return None
        try:
            return read_key(self.job)
        except JobError as error:
            return error

    @cached_property
    def templates(self) -> Templates:
        """The templates, rendered with the variables of this shell."""
        return Templates(self.job, lambda: read_last_success(self.state))

    @cached_property
    def unit_templates(self) -> Templates:
        """The templates, rendered with the variables of a unit and after a successful run."""
        return Templates(self.job, lambda: self.now, dict.fromkeys(self.job.env, "") | os.environ)

    @cached_property
    def app(self) -> AppProbe | None:
        """The server's answer about the app; None if the server cannot be asked or the time is used up."""
        return self.probes.of(self.job, self.key) if isinstance(self.key, Secret) else None

    # Its installation

    @property
    def installed_job(self) -> InstalledJob | None:
        """The installation that is checked."""
        return self.installed[0][1] if self.installed else None

    @property
    def python(self) -> Path | None:
        """The interpreter of the unit or crontab entry, installed or about to be; None if there is none."""
        if self.prepared is not None:
            return self.prepared.python
        return self.installed_job.python if self.installed_job else None

    @property
    def system(self) -> bool:
        """True for a system job."""
        return self.scheduler.scope is Scope.SYSTEM

    @property
    def by_cron(self) -> bool:
        """True if cron starts the job."""
        return self.scheduler.by_cron

    @property
    def units(self) -> Mapping[str, Unit]:
        """The job's units by name, as the service manager reports them; empty for cron."""
        return self.installed_job.units if self.installed_job else {}

    @cached_property
    def spec(self) -> JobSpec:
        """The specification that install would give to the scheduler, with the interpreter of today."""
        return self.prepared or job_spec(self.job, self.config_path, python=self.python)

    @property
    def config_path(self) -> Path:
        """The path of the configuration that the job's unit names."""
        if self.installed_job and self.installed_job.source:
            return Path(self.installed_job.source)
        return unit_config_path(self.config, self.scheduler.scope)

    @cached_property
    def account(self) -> access.Account | None:
        """The user that the job runs as; None if run_as names no user."""
        if not self.system:
            return access.calling_account()
        if self.job.run_as is None and self.scheduler.key_by_manager:
            return access.DYNAMIC
        return access.account_of(self.job.run_as or "root", confined=not self.by_cron)

    # Its records

    @property
    def state(self) -> Path:
        """The path of the job's state directory, which need not exist."""
        if self.installed_job is not None and not os.environ.get("STATE_DIRECTORY"):
            return self.installed_job.state
        return state_directory(self.job, self.config.path)

    @property
    def state_is_hidden(self) -> bool:
        """True if the caller has no access to the state of a system job."""
        there = os.path.lexists(self.state)
        return self.system and os.geteuid() != 0 and there and not os.access(self.state, os.R_OK | os.X_OK)

    @cached_property
    def abandoned(self) -> InFlight | None:
        """The run whose process ended without recording an outcome."""
        return read_abandoned(self.state, self.now)

    @cached_property
    def history(self) -> tuple[RunRecord, ...] | None:
        """The job's past runs; None if they cannot be read."""
        try:
            return self.past if self.past is not None else read_history(self.state)
        except OSError:
            return None

    # Fixes

    def edit(self, error: JobError, key: str) -> str:
        """Return the edit that fixes a mistake in a setting.

        Args:
            error: The mistake.
            key: The name of the setting.
        """
        place, origin = location_of(self.job, key), self.job.origins.get(key)
        if origin is not None and origin.source is Source.FLAG:
            return msg("correct {option}; {hint}", option=origin.where, hint=error.hint)
        if error.outcome is Outcome.NO_INPUT and self.account is not None:
            return msg(
                'create the missing file so that {user} can read it, or edit the setting "files" in {place}',
                user=self.account.name,
                place=place,
            )
        return msg('edit the setting "{key}" in {place}; {hint}', key=key, place=place, hint=error.hint)

    def systemctl(self, *words: str) -> Command:
        """Return a command for the service manager."""
        return self.as_owner("systemctl", *self.scheduler.scope.manager_options, *words)

    def command(self, *words: str) -> Command:
        """Return a command of dify-job that changes the installation or the key."""
        # Without --user, a command of root would change system jobs.
        needs_scope = not self.system and os.geteuid() == 0 and words[0] != "secret" and "--user" not in words
        return self.as_owner("dify-job", *words, *(("--user",) if needs_scope else ()))

    def as_owner(self, *words: str) -> Command:
        """Return a command that the owner of the installation must run: root for a system job."""
        return Command(words, needs_root=self.system)

"""The interface of a scheduler's backend: the installed jobs, and the plans that change them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .job_spec import JobSpec
from .model import InstalledJob, RenderedFile, Scope
from .reconcile import Plan
from .systemctl import Manager


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOptions:
    """The options of install.

    Attributes:
        start: True also enables paused schedules; False leaves new jobs disabled; None enables new jobs and
            does not change others.
        overwrite_edits: Replace managed files that were edited by hand.
    """

    start: bool | None = None
    overwrite_edits: bool = False


class Backend(ABC):
    """One scheduler of the host, for one scope. Its methods raise JobError.

    Attributes:
        name: The value of `--backend`.
        by_cron: Schedules follow cron's rules.
        version: The version of systemd; None for cron.
        key_by_manager: systemd reads the keys of jobs for their units.
        scope: The scope.
        base: The base directory of the jobs' state, with the lock of install.
        manager: The service manager of the scope, which may not run.
    """

    name: str
    by_cron = False
    version: int | None = None
    key_by_manager = False

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.base = scope.base
        self.manager = Manager(scope)

    @property
    @abstractmethod
    def directory(self) -> Path:
        """The directory of the jobs' files."""

    @abstractmethod
    def render(self, spec: JobSpec) -> tuple[RenderedFile, ...]:
        """Return the files of a job. Pure."""

    @abstractmethod
    def plan_install(
        self, specs: Sequence[JobSpec], options: InstallOptions, remove: Sequence[str] = ()
    ) -> Plan:
        """Return the plan that installs jobs and removes others; it starts no run.

        Args:
            specs: The jobs to install.
            options: The options of install.
            remove: Jobs to uninstall.
        """

    @abstractmethod
    def plan_pause(self, jobs: Sequence[str], *, paused: bool) -> Plan:
        """Return the plan that disables or enables schedules persistently; a run in progress continues.

        Args:
            jobs: The installed jobs.
            paused: Whether to disable their schedules.

        Raises:
            JobError: A job is not installed (config).
        """

    @abstractmethod
    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """Return the installed jobs by the headers of their files; None selects all jobs."""

    def sources(self) -> dict[str, str]:
        """Return each installed job and its configuration file, from the headers only."""
        return {one.job: one.source for one in self.status()}

    def limitations(self, _spec: JobSpec) -> tuple[str, ...]:
        """Return the limitations of the scheduler for the job, with the alternatives."""
        return ()

    def starts_at_once(self, _spec: JobSpec) -> bool:
        """Return whether the scheduler's own command starts the job immediately, even if it is not due."""
        return False

"""What the checks of one job have before them."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..config.model import Config, Job
from ..errors import JobError
from ..ownership import look
from ..scheduling import crond, crontab, reach, systemctl, units
from ..scheduling.base import Installed, Plan, Scope, plan_of
from ..scheduling.cron import Cron
from ..scheduling.host import Wing, config_place
from ..scheduling.started import program_of
from ..scheduling.systemctl import Manager
from ..scheduling.systemd import Systemd
from ..state import base_of, directory_of
from .check import by_root


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One job on this host. installed: where it stands now, mostly once or not at all.

    wing: the scheduler that has it, else the one that install would take. python: the interpreter in the unit
    or crontab line.
    """

    job: Job
    config: Config
    wing: Wing
    now: datetime
    installed: tuple[tuple[Wing, Installed], ...] = ()
    python: Path | None = None

    @classmethod
    def of(
        cls,
        job: Job,
        config: Config,
        found: list[tuple[Wing, Installed]],
        now: datetime,
        *,
        backend: str = "auto",
        scope: Scope | None = None,
    ) -> "Case":
        """A job with what is installed of it. backend and scope: asked for, where nothing is."""
        named = tuple((wing, one) for wing, one in found if one.job == job.name)
        # A user's job and one of the machine can have one name: of this config are those that say so.
        own = tuple(each for each in named if config.path and each[1].source == str(config.path.absolute()))
        mine = own or named
        scope = scope or (Scope.SYSTEM if os.geteuid() == 0 else Scope.USER)
        by_systemd = backend == "systemd" or (backend == "auto" and systemctl.is_booted())
        wing = mine[0][0] if mine else Systemd(scope) if by_systemd else Cron(scope)
        python = _python_of(mine[0][1]) if mine else None
        return cls(job=job, config=config, wing=wing, now=now, installed=mine, python=python)

    @property
    def one(self) -> Installed | None:
        """The installation that is looked at."""
        return self.installed[0][1] if self.installed else None

    @property
    def by_cron(self) -> bool:
        """True where cron keeps the time."""
        return self.wing.name == "cron"

    @property
    def systemd_version(self) -> int | None:
        """The version of systemd that keeps the time; None for cron."""
        return self.wing.version if isinstance(self.wing, Systemd) else None

    @property
    def manager(self) -> Manager:
        """The service manager that keeps the time."""
        return self.wing.manager if isinstance(self.wing, Systemd) else Manager(self.wing.scope)

    @property
    def systemctl(self) -> str:
        """The command that tells that manager something."""
        return by_root("systemctl") if self.system else "systemctl --user"

    def command(self, words: str) -> str:
        """A command of ours that changes what is installed."""
        return by_root(f"dify-job {words}") if self.system else f"dify-job {words}"

    @property
    def system(self) -> bool:
        """True for a job of the machine."""
        return self.wing.scope is Scope.SYSTEM

    @property
    def config_path(self) -> Path:
        """The config that the job's unit names."""
        return (
            Path(self.one.source)
            if self.one and self.one.source
            else config_place(self.config, self.wing.scope)
        )

    @property
    def plan(self) -> Plan:
        """The plan that install would have for it, with the interpreter that there is."""
        return plan_of(self.job, self.config_path, python=self.python)

    @property
    def account(self) -> reach.Account | None:
        """Who the job runs as; None for a run_as that is no user, which has a line of its own."""
        if not self.system:
            return reach.caller()
        version = self.systemd_version
        if version is not None and units.is_dynamic(self.plan, self.wing.scope, version):
            return reach.DYNAMIC
        try:
            return reach.account_of(self.job.run_as or "root")
        except JobError:
            return None

    @property
    def state(self) -> Path:
        """The job's state directory, whether it is there or not."""
        if self.one is not None and not os.environ.get("STATE_DIRECTORY"):
            return base_of(system=self.system) / self.job.name
        return directory_of(self.job.name, self.config.path)


def _python_of(one: Installed) -> Path | None:
    """The interpreter that the unit or the crontab line starts; None where it is not to be found."""
    for path in one.paths:
        if path.suffix == ".timer":
            continue
        content = look(path, one.job).content if path.is_absolute() else _own_table(one.job)
        if (found := program_of(content.decode(errors="replace"))) is not None:
            return found
    return None


def _own_table(job: str) -> bytes:
    table = crond.read_table()
    return b"".join(table[block.start : block.end] for block in crontab.blocks(table) if block.job == job)

"""The blocks of jobs in the caller's crontab, which crontab(1) reads and writes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system import subprocesses
from ..system.managed_files import FileStatus
from ..system.transaction import locked
from . import cron_pause, crond, crontab
from .backend import InstalledJob, InstallOptions, InstallResult
from .cron import Cron
from .job_spec import JobSpec

_CRONTAB = Path("crontab")
_NOT_MAILED = msg("MAILTO is empty above its lines: a failure is mailed to nobody; dify-job status tells it")


class UserCrontab(Cron):
    """cron by the caller's crontab; root's where there is no /etc/cron.d, as under busybox."""

    _names_user = False

    def uninstall(self, jobs: Sequence[str]) -> list[InstallResult]:
        """Remove the blocks of these jobs; a run under way goes on to its end."""

        def without(table: bytes) -> tuple[bytes, list[InstallResult]]:
            there = {block.job for block in crontab.blocks(table)}
            for job in jobs:
                table = crontab.without_block(table, job)
            return table, [
                InstallResult(job=job, paths=(_CRONTAB,) if job in there else (), changed=job in there)
                for job in jobs
            ]

        with locked(self._base):
            return crond.edit(without)

    def _comment(self, job: str, *, paused: bool) -> InstallResult:
        def with_pause(table: bytes) -> tuple[bytes, InstallResult]:
            lines = cron_pause.with_pause(crontab.look(table, job), job, paused=paused)
            new = crontab.with_block(table, job, lines)
            return new, InstallResult(job=job, paths=(_CRONTAB,), changed=new != table, enabled=not paused)

        return crond.edit(with_pause)

    def _place(self, job: str) -> Path:  # noqa: ARG002 - one for all
        return _CRONTAB

    def _look(self, job: str) -> FileStatus:
        return crontab.look(crond.read_table(), job)

    def _changed(self, job: str) -> datetime | None:  # noqa: ARG002 - one table for all
        return crond.table_changed_at()

    def _all(self) -> Iterator[InstalledJob]:
        try:
            table = crond.read_table() if subprocesses.found("crontab") else b""
            found = crontab.blocks(table)
        except JobError:
            return
        for block in found:
            setting = crontab.hostile_above(table, block)
            mend = msg("dify-job install {job} moves them", job=block.job)
            told = (
                (msg("{setting} above its lines changes what they mean: {mend}", setting=setting, mend=mend),)
                if setting
                else ()
            )
            yield self._installed(block.seen, block.mark, *told)

    def _bring(self, plans: Sequence[JobSpec], wishes: InstallOptions) -> list[InstallResult]:
        if not subprocesses.found("crontab"):
            raise JobError(
                Outcome.CONFIG,
                msg("there is no crontab command on this machine"),
                msg("apt-get install cron, or systemd"),
            )

        def with_blocks(table: bytes) -> tuple[bytes, list[InstallResult]]:
            changes = []
            for plan in plans:
                what = msg("the block of job {job} in your crontab", job=plan.job)
                artifact, change = self._wanted(plan, crontab.look(table, plan.job), wishes, what)
                before, table = table, crontab.with_block(table, plan.job, artifact.text.encode())
                changes.append(replace(change, changed=table != before))
            mailed = {block.job for block in crontab.blocks(table) if crontab.is_mailed(table, block)}
            return table, [one if one.job in mailed else one.noting(_NOT_MAILED) for one in changes]

        return crond.edit(with_blocks)

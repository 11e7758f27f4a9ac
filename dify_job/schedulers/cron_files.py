"""The files of root in /etc/cron.d, one a job."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.managed_files import FileStatus, look
from ..system.transaction import FileTransaction, locked, transaction
from . import cron_pause, crond
from .backend import InstalledJob, InstallOptions, InstallResult, Scope
from .cron import Cron
from .job_spec import JobSpec
from .state_owner import give_state

CRON_D = Path("/etc/cron.d")
_PREFIX = "dify-job-"  # Debian's cron passes over a name with a dot
_OPEN = msg("others can write in /etc/cron.d, and so say what root runs: chmod go-w /etc/cron.d")


class CronFiles(Cron):
    """cron by files of root; each line says who runs it."""

    _names_user = True

    def __init__(self, directory: Path = CRON_D) -> None:
        super().__init__(Scope.SYSTEM)
        self._directory = directory

    def uninstall(self, jobs: Sequence[str]) -> list[InstallResult]:
        """Remove the files of these jobs; a run under way goes on to its end."""
        with locked(self._base), self._whole() as writer:
            return [self._remove(writer, job) for job in jobs]

    def _comment(self, job: str, *, paused: bool) -> InstallResult:
        with self._whole() as writer:
            path, seen = self._place(job), self._look(job)
            content = cron_pause.with_pause(seen, job, paused=paused)
            if content != seen.content:
                writer.put(path, content)
            return InstallResult(job=job, paths=(path,), changed=content != seen.content, enabled=not paused)

    def _place(self, job: str) -> Path:
        return self._directory / f"{_PREFIX}{job}"

    def _look(self, job: str) -> FileStatus:
        return look(self._place(job), job)

    def _changed(self, job: str) -> datetime | None:
        return crond.changed_at(self._place(job))

    def _all(self) -> Iterator[InstalledJob]:
        with contextlib.suppress(OSError):
            for path in self._directory.glob(f"{_PREFIX}*"):
                seen = self._look(path.name.removeprefix(_PREFIX))
                if seen.mark is not None:
                    yield self._installed(seen, seen.mark)

    def _bring(self, plans: Sequence[JobSpec], wishes: InstallOptions) -> list[InstallResult]:
        wanted = [
            self._wanted(plan, self._not_foreign(plan.job), wishes, str(self._place(plan.job)))
            for plan in plans
        ]
        notes = (_OPEN,) if self._directory.stat().st_mode & 0o022 else ()
        with self._whole() as writer:
            writer.clear(artifact.path for artifact, _ in wanted)
            for plan, (artifact, change) in zip(plans, wanted, strict=True):
                if plan.run_as is not None:
                    give_state(plan.job, plan.run_as)
                if change.changed:
                    writer.put(artifact.path, artifact.text.encode())
        return [change.noting(*notes) for _, change in wanted]

    def _whole(self) -> AbstractContextManager[FileTransaction]:
        return transaction(
            self._directory, msg("look at {directory}; --dry-run prints the file", directory=self._directory)
        )

    def _not_foreign(self, job: str) -> FileStatus:
        path, seen = self._place(job), self._look(job)
        if seen.is_foreign:
            raise JobError(
                Outcome.CONFIG,
                msg("{path} exists and is not dify-job's", path=path),
                msg("rename the job, or move that file away: mv {path} {path}.bak", path=path),
            )
        return seen

    def _remove(self, writer: FileTransaction, job: str) -> InstallResult:
        path, seen = self._place(job), self._look(job)
        if seen.is_ours:
            writer.remove(path)
            return InstallResult(job=job, paths=(path,), changed=True)
        return InstallResult(
            job=job, notes=(msg("{path} is not ours and was left", path=path),) if seen.is_foreign else ()
        )

"""cron: what a file in /etc/cron.d and a block of a crontab have in common."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedule import schedule_lines
from ..system.managed_files import FileState, FileStatus, Header, marked
from ..system.templates import render_file
from ..system.transaction import locked
from . import access, cron_pause, crond
from .backend import Backend, InstalledJob, InstallOptions, InstallResult, RenderedFile, Scope
from .installed_python import program_of, trouble_of
from .job_spec import JobSpec

_SPECIAL = re.compile(r"[^A-Za-z0-9_./+:@,=-]")
_LONGEST_COMMAND = 998  # Debian's cron: "command too long"


class Cron(Backend):
    """cron of one scope; where a job's lines stand is for those below to say."""

    name = "cron"
    by_cron = True

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._base = scope.base

    def render(self, plan: JobSpec) -> tuple[RenderedFile, ...]:
        """One file, or one block."""
        return (self._artifact(plan, paused=False),)

    def install(self, plans: Sequence[JobSpec], wishes: InstallOptions) -> list[InstallResult]:
        """Write what differs; a paused job stays paused unless wishes say start."""
        if self.scope is Scope.SYSTEM:
            for plan in plans:
                access.check_plan(plan, access.account_of(plan.run_as or "root"), key_by_manager=False)
        with locked(self._base):
            changes = self._bring(plans, wishes)
        return [_as_cron_is(one) for one in changes]

    def pause(self, job: str, *, paused: bool) -> InstallResult:
        """Comment the job's lines, or take the comment away; it lasts across reboots."""
        with locked(self._base):
            return _as_cron_is(self._comment(job, paused=paused))

    def compared(self, plan: JobSpec) -> list[tuple[Path, str, str]]:
        """The file or block of a job: its place, its text now, and the one that install would give it."""
        seen = self._look(plan.job)
        artifact = self._artifact(plan, paused=cron_pause.is_paused(seen.content))
        return [(artifact.path, seen.text, artifact.text)]

    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """What is installed, from the marks; cron itself tells nothing of its jobs."""
        wanted = None if jobs is None else set(jobs)
        found = [one for one in self._all() if wanted is None or one.job in wanted]
        if (down := crond.why_down()) is not None:
            found = [replace(one, enabled=False, problems=(*one.problems, down)) for one in found]
        return sorted(found, key=lambda one: one.job)

    def sources(self) -> dict[str, str]:
        """Each installed job and the config that it came from, by the marks alone: nobody is asked."""
        return {one.job: one.source for one in self._all()}

    # Where the lines stand

    _names_user: bool  # cron reads one between time and command

    @abstractmethod
    def _comment(self, job: str, *, paused: bool) -> InstallResult:
        """The lines of a job as comments, or as lines again."""

    @abstractmethod
    def _place(self, job: str) -> Path:
        """The file, or how the table of a block is called in messages."""

    @abstractmethod
    def _look(self, job: str) -> FileStatus:
        """A job's lines as they are now."""

    @abstractmethod
    def _all(self) -> Iterator[InstalledJob]:
        """All that is ours there."""

    @abstractmethod
    def _bring(self, plans: Sequence[JobSpec], wishes: InstallOptions) -> list[InstallResult]:
        """Install under the lock; all or nothing."""

    # What they say

    def _wanted(
        self, plan: JobSpec, seen: FileStatus, wishes: InstallOptions, what: str
    ) -> tuple[RenderedFile, InstallResult]:
        """A job's lines as they are to be. Raises JobError for an edit; what: has it, in words."""
        if seen.found is FileState.EDITED and not wishes.overwrite_edits:
            raise JobError(
                Outcome.CONFIG,
                msg("{what} was edited by hand", what=what),
                msg(
                    "see what differs with dify-job install --diff; --overwrite-edits puts ours in its place"
                ),
            )
        unarmed = (
            wishes.start is False if seen.found is FileState.ABSENT else cron_pause.is_paused(seen.content)
        )
        paused = unarmed and wishes.start is not True
        artifact = self._artifact(plan, paused=paused)
        changed = artifact.text.encode() != seen.content
        change = InstallResult(job=plan.job, paths=(artifact.path,), changed=changed, enabled=not paused)
        kept = msg("paused, and left so; dify-job resume {job} arms it", job=plan.job)
        return artifact, change.noting(kept) if paused else change

    def _artifact(self, plan: JobSpec, *, paused: bool) -> RenderedFile:
        ticks = schedule_lines.cron_ticks(plan.schedule)
        values = {
            "lines": ticks.lines,
            "paused": cron_pause.MARK if paused else "",
            "user": f"{plan.run_as or 'root'} " if self._names_user else "",
            "command": _command(plan.command(if_due=ticks.if_due)),
        }
        body = render_file("cron/job.cron.j2", values)
        text = marked(plan.job, plan.fingerprint, str(plan.config_path), body)
        return RenderedFile(self._place(plan.job), text)

    @abstractmethod
    def _changed(self, job: str) -> datetime | None:
        """When the job's lines were changed at the latest, install and resume included; None if unknown."""

    def _installed(self, seen: FileStatus, mark: Header, *troubles: str) -> InstalledJob:
        """troubles: of where it stands, in sentences."""
        paused = cron_pause.is_paused(seen.content)
        python = program_of(seen.text)
        return InstalledJob(
            job=mark.job,
            backend=self.name,
            scope=self.scope,
            paths=(self._place(mark.job),),
            fingerprint=mark.config,
            source=mark.source,
            python=python,
            edited=seen.found is FileState.EDITED,
            enabled=not paused,
            paused=paused,
            since=self._changed(mark.job),
            problems=(*trouble_of(python, mark.job), *troubles),
        )


def _command(words: Sequence[str]) -> str:
    for word in words:
        if special := _SPECIAL.search(word):
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "{word!r} cannot stand in a crontab: {special!r} means something else there",
                    word=word,
                    special=special[0],
                ),
                msg("move it to a path of plain letters, digits and / . _ -"),
            )
    command = " ".join(words)
    if len(command) > _LONGEST_COMMAND:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the command has {len} bytes, and cron takes {longest_command}",
                len=len(command),
                longest_command=_LONGEST_COMMAND,
            ),
            msg("use shorter paths"),
        )
    return command


def _as_cron_is(change: InstallResult) -> InstallResult:
    """Where no daemon runs nothing is armed, and what starts it arms."""
    if (down := crond.why_down()) is None:
        return change
    arm = (crond.start_command(),) if change.enabled else ()
    return replace(change, enabled=False, arm=arm).noting(down)

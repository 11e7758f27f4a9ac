"""The cron back end: a file in /etc/cron.d as root, a marked block in the user's crontab otherwise."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .. import process
from ..errors import JobError, mend_of_disk
from ..exits import Outcome
from ..files import Writer, locked
from ..ownership import Found, Mark, Seen, look, marked
from ..templates import render_file
from . import crond, crontab, pausing, reach, schedule
from .base import Artifact, Change, Installed, Plan, Scope, Wishes
from .handover import give_state
from .places import Places
from .started import trouble_of

CRON_D = Path("/etc/cron.d")
_CRONTAB = Path("crontab")  # the place of a block, in messages
_OPEN_CRON_D = "others can write in /etc/cron.d, and so say what root runs: chmod go-w /etc/cron.d"
_NOT_MAILED = "MAILTO is empty above its lines: a failure is mailed to nobody; dify-job status tells it"
_SPECIAL = re.compile(r"[^A-Za-z0-9_./+:@,=-]")
_LONGEST_COMMAND = 998  # Debian's cron: "command too long"


class Cron:
    """cron, for the machine (as root) or for the calling user."""

    name = "cron"

    def __init__(self, scope: Scope, cron_d: Path | None = None) -> None:
        self.scope = scope
        self._base = Places.of(scope).base
        given = cron_d or CRON_D
        # busybox has no cron.d: root's jobs go into root's crontab then
        self._cron_d = given if scope is Scope.SYSTEM and given.is_dir() else None

    def render(self, plan: Plan) -> tuple[Artifact, ...]:
        """One file, or one block."""
        return (self._artifact(plan, paused=False),)

    def install(self, plans: Sequence[Plan], wishes: Wishes) -> list[Change]:
        """Write what differs; a paused job stays paused unless wishes say start."""
        if not process.found("crontab") and self._cron_d is None:
            raise JobError(
                Outcome.CONFIG,
                "there is no crontab command on this machine",
                "apt-get install cron, or systemd",
            )
        if self.scope is Scope.SYSTEM:
            for plan in plans:
                account = reach.account_of(plan.run_as or "root")
                reach.check_plan(plan, account, key_by_manager=False)
        with locked(self._base):
            if self._cron_d is not None:
                changes = self._install_files(self._cron_d, plans, wishes)
            else:
                changes = crond.edit(lambda table: self._with_blocks(table, plans, wishes))
        if (down := crond.why_down()) is not None:
            arm = (crond.start_command(),)
            changes = [replace(one, armed=False, arm=arm if one.armed else ()) for one in changes]
            changes = [_with_note(one, down) for one in changes]
        if self._cron_d is not None and self._cron_d.stat().st_mode & 0o022:
            changes = [_with_note(one, _OPEN_CRON_D) for one in changes]
        return changes

    def uninstall(self, jobs: Sequence[str]) -> list[Change]:
        """Remove the files or blocks of these jobs; a run under way goes on to its end."""
        with locked(self._base):
            if self._cron_d is None:
                return crond.edit(lambda table: self._without_blocks(table, jobs))
            changes = []
            for job in jobs:
                path = self._place(job)
                seen = look(path, job)
                ours = seen.found in (Found.OURS, Found.EDITED)
                if ours:
                    path.unlink(missing_ok=True)
                strange = seen.found in (Found.FOREIGN, Found.MASKED)
                notes = (f"{path} is not ours and was left",) if strange else ()
                changes.append(Change(job=job, paths=(path,) if ours else (), changed=ours, notes=notes))
            return changes

    def pause(self, job: str, *, paused: bool) -> Change:
        """Comment the job's lines, or take the comment away; it lasts across reboots."""
        with locked(self._base):
            if self._cron_d is not None:
                path = self._cron_d / self._file_name(job)
                seen = look(path, job)
                if seen.mark is None:
                    raise _not_installed(job)
                old, edited = seen.content.decode(errors="surrogateescape"), seen.found is Found.EDITED
                text = pausing.with_pause(old, seen.mark, paused=paused, edited=edited)
                content = text.encode(errors="surrogateescape")
                if content != seen.content:
                    Writer().put(path, content)
                return Change(job=job, paths=(path,), changed=content != seen.content, armed=not paused)

            def edit(table: bytes) -> tuple[bytes, list[Change]]:
                for block in crontab.blocks(table):
                    if block.job == job:
                        text = table[block.start : block.end].decode(errors="surrogateescape")
                        body = text.removesuffix(crontab.end_line(job))
                        new = pausing.with_pause(body, block.mark, paused=paused, edited=block.edited)
                        new += crontab.end_line(job)
                        whole = crontab.with_block(table, job, new.encode(errors="surrogateescape"))
                        return whole, [Change(job=job, changed=whole != table, armed=not paused)]
                raise _not_installed(job)

            return crond.edit(edit)[0]

    def compared(self, plan: Plan) -> list[tuple[Path, str, str]]:
        """The file or block of a job: its place, its text now, and the one that install would give it."""
        content = b""
        if self._cron_d is not None:
            content = look(self._place(plan.job), plan.job).content
        else:
            table = crond.read_table()
            content = b"".join(table[b.start : b.end] for b in crontab.blocks(table) if b.job == plan.job)
        artifact = self._artifact(plan, paused=pausing.is_paused(content))
        old = content.decode(errors="replace").removesuffix(crontab.end_line(plan.job))
        return [(artifact.path, old, artifact.text)]

    def status(self, jobs: Iterable[str] | None = None) -> list[Installed]:
        """What is installed, from the marks; cron itself tells nothing of its jobs."""
        wanted = set(jobs) if jobs is not None else None
        found = [one for one in self._installed() if wanted is None or one.job in wanted]
        return sorted(found, key=lambda one: one.job)

    # Rendering

    def _place(self, job: str) -> Path:
        return self._cron_d / self._file_name(job) if self._cron_d is not None else _CRONTAB

    @staticmethod
    def _file_name(job: str) -> str:
        return f"dify-job-{job}"  # Debian's cron passes over a name with a dot

    def _artifact(self, plan: Plan, *, paused: bool) -> Artifact:
        ticks = schedule.cron_ticks(plan.schedule)
        words = plan.command(if_due=ticks.if_due)
        for word in words:
            if special := _SPECIAL.search(word):
                raise JobError(
                    Outcome.CONFIG,
                    f"{word!r} cannot stand in a crontab: {special[0]!r} means something else there",
                    "move it to a path of plain letters, digits and / . _ -",
                )
        command = " ".join(words)
        if len(command) > _LONGEST_COMMAND:
            raise JobError(
                Outcome.CONFIG,
                f"the command has {len(command)} bytes, and cron takes {_LONGEST_COMMAND}",
                "use shorter paths",
            )
        user = f"{plan.run_as or 'root'} " if self._cron_d is not None else ""
        pause = pausing.MARK if paused else ""
        values = {"lines": ticks.lines, "paused": pause, "user": user, "command": command}
        body = render_file("cron/job.cron.j2", values)
        text = marked(plan.job, plan.fingerprint, str(plan.config_path), body)
        return Artifact(self._place(plan.job), text)

    # /etc/cron.d

    def _install_files(self, cron_d: Path, plans: Sequence[Plan], wishes: Wishes) -> list[Change]:
        writer = Writer()
        seen = {plan.job: look(cron_d / self._file_name(plan.job), plan.job) for plan in plans}
        for plan in plans:
            path, found = self._place(plan.job), seen[plan.job].found
            if found in (Found.FOREIGN, Found.MASKED):
                raise JobError(
                    Outcome.CONFIG,
                    f"{path} exists and is not dify-job's",
                    f"rename the job, or move that file away: mv {path} {path}.bak",
                )
            if found is Found.EDITED and not wishes.overwrite_edits:
                raise _edited(str(path))
        changes = []
        try:
            writer.clear(self._place(plan.job) for plan in plans)
            for plan in plans:
                old = seen[plan.job]
                paused = _stays_paused(old.content, wishes, new=old.found is Found.ABSENT)
                artifact = self._artifact(plan, paused=paused)
                changed = artifact.text.encode() != old.content
                if plan.run_as is not None:
                    give_state(plan.job, plan.run_as)
                if changed:
                    writer.put(artifact.path, artifact.text.encode())
                changes.append(_change(plan.job, artifact.path, changed=changed, paused=paused))
        except OSError as error:
            writer.roll_back()
            raise JobError(
                Outcome.CANNOT_WRITE,
                f"{error.filename} could not be written: {error.strerror}; nothing was changed",
                mend_of_disk(error, cron_d, f"look at {cron_d}; --dry-run prints the file"),
            ) from None
        except BaseException:
            writer.roll_back()
            raise
        return changes

    # A user's crontab

    def _with_blocks(self, table: bytes, plans: Sequence[Plan], wishes: Wishes) -> tuple[bytes, list[Change]]:
        changes = []
        for plan in plans:
            old = next((block for block in crontab.blocks(table) if block.job == plan.job), None)
            if old is not None and old.edited and not wishes.overwrite_edits:
                raise _edited(f"the block of job {plan.job} in your crontab")
            content = table[old.start : old.end] if old is not None else b""
            paused = _stays_paused(content, wishes, new=old is None)
            text = self._artifact(plan, paused=paused).text + crontab.end_line(plan.job)
            misplaced = old is not None and crontab.hostile_above(table, old) is not None
            changed = text.encode() != content or misplaced
            if changed:
                table = crontab.with_block(table, plan.job, text.encode())
            changes.append(_change(plan.job, _CRONTAB, changed=changed, paused=paused))
        mailed = {block.job: crontab.is_mailed(table, block) for block in crontab.blocks(table)}
        return table, [one if mailed[one.job] else _with_note(one, _NOT_MAILED) for one in changes]

    def _without_blocks(self, table: bytes, jobs: Sequence[str]) -> tuple[bytes, list[Change]]:
        there = {block.job for block in crontab.blocks(table)}
        for job in jobs:
            table = crontab.without_block(table, job)
        paths = {job: (_CRONTAB,) if job in there else () for job in jobs}
        return table, [Change(job=job, paths=paths[job], changed=job in there) for job in jobs]

    def _installed(self) -> Iterator[Installed]:
        down = crond.why_down()
        if self._cron_d is not None:
            with contextlib.suppress(OSError):
                for path in sorted(self._cron_d.glob("dify-job-*")):
                    seen = look(path, path.name.removeprefix("dify-job-"))
                    if seen.mark is not None:
                        yield self._one(seen.mark, seen, path, down=down)
            return
        try:
            table = crond.read_table() if process.found("crontab") else b""
            found = crontab.blocks(table)
        except JobError:
            return
        for block in found:
            content = table[block.start : block.end]
            seen = Seen(Found.EDITED if block.edited else Found.OURS, block.mark, content)
            one = self._one(block.mark, seen, _CRONTAB, down=down)
            if (setting := crontab.hostile_above(table, block)) is not None:
                mend = f"dify-job install {block.job} moves them"
                told = f"{setting} above its lines changes what they mean: {mend}"
                one = replace(one, troubles=(*one.troubles, told))
            yield one

    def _one(self, mark: Mark, seen: Seen, path: Path, *, down: str | None) -> Installed:
        paused = pausing.is_paused(seen.content)
        gone = trouble_of(seen.content.decode(errors="replace"), mark.job)
        return Installed(
            job=mark.job,
            backend=self.name,
            scope=self.scope,
            paths=(path,),
            fingerprint=mark.config,
            source=mark.source,
            edited=seen.found is Found.EDITED,
            armed=not paused and down is None,
            paused=paused,
            troubles=tuple(filter(None, (gone, down))),
        )


def _stays_paused(content: bytes, wishes: Wishes, *, new: bool) -> bool:
    if wishes.start is True:
        return False
    return wishes.start is False if new else pausing.is_paused(content)


def _change(job: str, path: Path, *, changed: bool, paused: bool) -> Change:
    notes = (f"paused, and left so; dify-job resume {job} arms it",) if paused else ()
    return Change(job=job, paths=(path,), changed=changed, armed=not paused, notes=notes)


def _with_note(change: Change, note: str) -> Change:
    return replace(change, notes=(*change.notes, note))


def _edited(what: str) -> JobError:
    return JobError(
        Outcome.CONFIG,
        f"{what} was edited by hand",
        "see what differs with dify-job install --diff; --overwrite-edits puts ours in its place",
    )


def _not_installed(job: str) -> JobError:
    return JobError(Outcome.CONFIG, f"job {job} is not installed in cron", f"dify-job install {job}")

"""The cron backend: root's files in /etc/cron.d, one per job, or blocks in the caller's crontab."""

import contextlib
import os
import pwd
import re
import stat
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..schedule import schedule_lines
from ..state.directories import base_of, lacks_private, make_base, private_of
from ..system import subprocesses
from ..system.managed_files import FileState, FileStatus, Header, file_status, with_header
from ..system.packages import install_command
from ..system.paths import resolved
from ..system.templates import render_file
from ..system.user import sudo_prefix
from . import access, crontab, systemctl
from .backend import Backend, InstallOptions
from .crontab import Block
from .job_spec import JobSpec, check_user_name, interpreter_of
from .model import ABSENT, InstalledJob, RenderedFile, Scope
from .reconcile import InstallResult, Plan, StateChange, Step, change_files, file_change, replacement_errors

CRON_D = Path("/etc/cron.d")
_PROGRAMS = ("cron", "crond")
_DAEMONS = (*_PROGRAMS, "bcron-sched")
_SBIN = ("/usr/sbin", "/sbin")  # not in every user's PATH
_UNITS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_SYSTEMD_CRON = "cron.target"  # systemd-cron makes timers of all crontabs, and has no daemon
_SERVICES = ("cron.service", "crond.service", "cronie.service", _SYSTEMD_CRON)
_INIT_D = ("/etc/init.d",)
# Debian and busybox, cronie, Alpine's busybox
CRONTAB = Path("crontab")  # the place of a block in the caller's crontab
_SPOOLS = tuple(map(Path, ("/var/spool/cron/crontabs", "/var/spool/cron", "/etc/crontabs")))
PAUSED = "#paused# "  # prefix of the lines of a paused job; a pause outlasts reboots
_PREFIX = "dify-job-"  # Debian's cron ignores a name with a dot
_SPECIAL = re.compile(r"[^A-Za-z0-9_./+:@,=-]")
_MAX_DEPTH = 100  # directories below a state directory
_MAX_COMMAND = 998  # Debian's cron: "command too long"
_SEE_EDIT = msg(
    "use --overwrite-edits to replace the edits; to see the differences, run: {command}",
    command=command("dify-job", "install", "--diff"),
)
_OPEN = msg(
    "other users can write to /etc/cron.d, so they could run commands as root; "
    "to remove that permission, run: {command}",
    command=command("chmod", "go-w", "/etc/cron.d"),
)
NOT_RUNNING = msg("the cron daemon is not running")
NOT_MAILED = msg(
    "cron sends no mail about failed runs, because MAILTO is empty above the job's crontab lines"
)


class Cron(Backend):
    """cron in one scope; subclasses find the lines of jobs."""

    name = "cron"
    by_cron = True
    _names_user: bool  # lines have a user between time and command

    def render(self, spec: JobSpec) -> tuple[RenderedFile, ...]:
        """Return one file, or one block."""
        return (self._lines(spec, paused=False),)

    def plan_install(
        self, specs: Sequence[JobSpec], options: InstallOptions, remove: Sequence[str] = ()
    ) -> Plan:
        """Return the plan that writes the differences; a paused job stays paused without --start.

        A run in progress of a removed job continues to its end.
        """
        seen, table = self._observed([*(spec.job for spec in specs), *remove])
        errors: list[JobError] = []
        desired: dict[str, bytes | None] = {}
        for spec in specs:
            place, status = self._place(spec.job), seen[spec.job]
            errors += replacement_errors(
                place, spec.job, status, _SEE_EDIT, overwrite_edits=options.overwrite_edits
            )
            new = status.state is FileState.ABSENT
            paused = options.start is not True and (
                options.start is False if new else is_paused(status.content)
            )
            desired[spec.job] = self._lines(spec, paused=paused).text.encode()
        plan = self._plan(desired | dict.fromkeys(remove), seen, table)
        give = [
            _chown_step(spec.job, spec.run_as)
            for spec in specs
            if spec.run_as and self._names_user and not _owns_state(spec.run_as, spec.job)
        ]
        contents = (file_change(self._place(job), seen[job], after) for job, after in desired.items())
        return replace(plan, steps=(*give, *plan.steps), errors=tuple(errors), contents=tuple(contents))

    def plan_pause(self, jobs: Sequence[str], *, paused: bool) -> Plan:
        """Return the plan that comments out lines, or removes the comments."""
        seen, table = self._observed(jobs)
        return self._plan({job: with_pause(seen[job], job, paused=paused) for job in jobs}, seen, table)

    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """Return the installed jobs by their headers; cron itself has no list of jobs."""
        found, wanted = self._observe()[0], None if jobs is None else set(jobs)
        return [
            self._installed(block)
            for job, block in sorted(found.items())
            if (block.seen.header is not None or block.seen.state is FileState.UNREADABLE)
            and (wanted is None or job in wanted)
        ]

    @cached_property
    def daemon_runs(self) -> bool:
        """True if a cron daemon runs; /proc is read once for all jobs."""
        return is_running()

    # Location of the lines

    @abstractmethod
    def _place(self, job: str) -> Path:
        """Return the file, or the name of the table that has the block."""

    @abstractmethod
    def _observe(self) -> tuple[Mapping[str, Block], bytes]:
        """Return the current lines of each job, and the complete table of a crontab."""

    def _observed(self, jobs: Sequence[str]) -> tuple[Mapping[str, FileStatus], bytes]:
        found, table = self._observe()
        return {job: found[job].seen if job in found else ABSENT for job in jobs}, table

    @abstractmethod
    def _plan(
        self, desired: Mapping[str, bytes | None], seen: Mapping[str, FileStatus], table: bytes
    ) -> Plan:
        """Return the plan that gives each job the desired lines; None for none."""

    @abstractmethod
    def _modified_paths(self, job: str) -> Iterable[Path]:
        """Return paths that change with the job's lines; the time of the first that exists counts."""

    # Content of the lines

    def _lines(self, spec: JobSpec, *, paused: bool) -> RenderedFile:
        check_user_name(spec)
        converted = schedule_lines.cron_lines(spec.schedule)
        user = spec.run_as or "root"
        values = {
            "lines": converted.lines,
            "paused": PAUSED if paused else "",
            "user": f"{_plain(user)} " if self._names_user else "",
            "command": _command(spec.command(if_due=converted.if_due)),
        }
        body = render_file("cron/job.cron.j2", values)
        text = with_header(spec.job, spec.fingerprint, str(spec.config_path), body)
        return RenderedFile(self._place(spec.job), text)

    def _result(self, job: str, after: bytes | None, *, changed: bool, note: str = "") -> InstallResult:
        """Return the result of a job; nothing is enabled without a daemon."""
        paths = (self._place(job),) if changed or after is not None else ()
        notes = [note] if note else []
        if after is None:
            return InstallResult(job=job, paths=paths, changed=changed, notes=tuple(notes))
        enabled = not is_paused(after)
        if not enabled and not changed:
            notes.append(
                msg(
                    "the job stays paused; to enable it, run: {command}",
                    command=command("dify-job", "resume", job),
                )
            )
        commands: tuple[str, ...] = ()
        if not self.daemon_runs:
            start = start_command()
            notes.append(join(": ", (NOT_RUNNING, start)))
            commands = (start,) if enabled else ()
        return InstallResult(
            job=job,
            paths=paths,
            changed=changed,
            enabled=enabled and self.daemon_runs,
            enable_commands=commands,
            notes=tuple(notes),
        )

    def _installed(self, block: Block) -> InstalledJob:
        job, seen = block.job, block.seen
        header = seen.header or Header(job, "", "", "")
        paused = is_paused(seen.content)
        return InstalledJob(
            job=job,
            backend=self.name,
            scope=self.scope,
            files={self._place(job): seen},
            fingerprint=header.config,
            source=header.source,
            python=interpreter_of(seen.text),
            enabled=not paused and self.daemon_runs if seen.header is not None else None,
            paused=paused,
            since=changed_at(self._modified_paths(job)),
            conflicting_setting=block.conflicting_setting,
            mailed=block.mailed,
        )


class CronFiles(Cron):
    """Files of root in /etc/cron.d; each line names its user."""

    _names_user = True

    def __init__(self, directory: Path = CRON_D) -> None:
        super().__init__(Scope.SYSTEM)
        self._directory = directory

    @property
    def directory(self) -> Path:
        """The directory of the files."""
        return self._directory

    def _place(self, job: str) -> Path:
        return self._directory / f"{_PREFIX}{job}"

    def _observe(self) -> tuple[Mapping[str, Block], bytes]:
        try:
            names = [path.name for path in self._directory.iterdir()]
        except OSError as error:
            raise JobError(
                Outcome.DENIED,
                msg("{path} cannot be read: {reason}", path=self._directory, reason=error.strerror),
                command("dify-job", "status", needs_root=True),
            ) from None
        jobs = (name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))
        return {job: Block(job, file_status(self._place(job), job)) for job in jobs}, b""

    def _modified_paths(self, job: str) -> Iterable[Path]:
        return (self._place(job),)

    def _plan(
        self, desired: Mapping[str, bytes | None], seen: Mapping[str, FileStatus], _table: bytes
    ) -> Plan:
        changes, results = [], []
        others_write = self._directory.stat().st_mode & 0o022
        for job, after in desired.items():
            there, note = seen[job], _OPEN if others_write else ""
            change = file_change(self._place(job), there, after)
            changed = change.before != after if after is not None else there.is_managed
            changes += [change] if changed else []
            if after is None:
                foreign = msg(
                    "{path} was not removed, because dify-job did not write it", path=self._place(job)
                )
                note = foreign if there.is_foreign else ""
            results.append(self._result(job, after, changed=changed, note=note))
        return Plan(steps=(change_files(changes),) if changes else (), results=tuple(results))


class UserCrontab(Cron):
    """Blocks in the caller's crontab; also for root without /etc/cron.d, as under busybox."""

    _names_user = False

    @property
    def directory(self) -> Path:
        """The directory of crontab(1)'s tables, for hints."""
        return Path("/var/spool/cron")

    def _place(self, _job: str) -> Path:
        return CRONTAB

    def _observe(self) -> tuple[Mapping[str, Block], bytes]:
        table = crontab.read_table() if subprocesses.is_on_path("crontab") else b""
        return {block.job: block for block in crontab.blocks(table)}, table

    def _modified_paths(self, _job: str) -> Iterable[Path]:
        # Only root can access the table. For others, the directory shows the last change of any table.
        name = access.user_name(os.geteuid())
        return (place for spool in _SPOOLS for place in (spool / name, spool))

    def _plan(
        self, desired: Mapping[str, bytes | None], _seen: Mapping[str, FileStatus], table: bytes
    ) -> Plan:
        observed, changed = table, set()
        for job, after in desired.items():
            old = table
            table = (
                crontab.without_block(table, job) if after is None else crontab.with_block(table, job, after)
            )
            changed |= {job} if table != old else set()
        mailed = {block.job for block in crontab.blocks(table) if block.mailed}
        results = tuple(
            self._result(
                job,
                after,
                changed=job in changed,
                note=NOT_MAILED if after is not None and job not in mailed else "",
            )
            for job, after in desired.items()
        )
        return Plan(steps=(crontab.write_crontab(observed, table),) if changed else (), results=results)


def has_cron_d() -> bool:
    """Return whether cron reads /etc/cron.d; busybox ignores the directory, which packages can create."""
    daemons = (Path(directory, "crond") for directory in _SBIN)
    # busybox.nosuid: a build with BUSYBOX_SPLIT_SUID, as in Yocto
    return CRON_D.is_dir() and not any(resolved(daemon).name.startswith("busybox") for daemon in daemons)


def is_running() -> bool:
    """Return whether cron starts jobs: a daemon, or systemd-cron."""
    return _daemon_runs() or _systemd_cron_runs()


def _systemd_cron_runs() -> bool:
    manager = systemctl.Manager(Scope.SYSTEM)
    unit = manager.show([_SYSTEMD_CRON]).get(_SYSTEMD_CRON) if manager.unavailable_reason() is None else None
    return unit is not None and unit.active


def _daemon_runs() -> bool:
    """Return whether a cron daemon runs; by its pid file if /proc hides other users' processes."""
    with contextlib.suppress(OSError):
        for process_directory in Path("/proc").iterdir():
            if process_directory.name.isdigit():
                with contextlib.suppress(OSError):
                    if (process_directory / "comm").read_text().strip() in _DAEMONS:
                        return True
        if Path("/proc/1/comm").read_text():
            return False  # /proc shows all processes, and Debian's cron does not remove its pid file
    return any(Path(name).exists() for name in ("/run/crond.pid", "/run/cron.pid"))


def changed_at(places: Iterable[Path]) -> datetime | None:
    """Return the time of the last change (ctime) of the first path that exists, or None."""
    for place in places:
        with contextlib.suppress(OSError):
            return datetime.fromtimestamp(place.stat().st_ctime, UTC)
    return None


def start_command() -> str:
    """Return the caller's command that starts or installs the cron daemon."""
    there = [name for name in _PROGRAMS if _exists(name, _SBIN) or subprocesses.is_on_path(name)]
    units = [name for name in _SERVICES if _exists(name, _UNITS)]
    scripts = [name for name in (*_PROGRAMS, "cronie") if _exists(name, _INIT_D)]
    if units and systemctl.is_booted():
        start = f"systemctl enable --now {units[0].removesuffix('.service')}"
    elif not there:
        start = str(install_command("cron"))
    else:
        start = f"service {scripts[0]} start" if scripts and _exists("service", _SBIN) else there[0]
    return f"{sudo_prefix()}{start}"


def _exists(name: str, directories: Iterable[str]) -> bool:
    return any(Path(directory, name).exists() for directory in directories)


def _owns_state(user: str, job: str) -> bool:
    """Return whether BASE/JOB is a directory of the user."""
    path = base_of(system=True) / job
    try:
        return path.is_dir() and path.stat().st_uid == pwd.getpwnam(user).pw_uid
    except (OSError, KeyError):
        return False


def _chown_step(job: str, user: str) -> Step:
    """Return the step that changes the owner of BASE/JOB to the job's user, as StateDirectory= does."""
    restore = contextlib.ExitStack()
    base = base_of(system=True)
    path, private = base / job, private_of(base) / job

    def give() -> None:
        make_base(base)
        if lacks_private(path):
            restore.callback(path.symlink_to, path.readlink())
            path.unlink()
        if private.is_dir() and (path.is_symlink() or not path.exists()):
            # The directory of a dynamic user (systemd.exec(5)); a killed install may have removed its link.
            if path.is_symlink():
                restore.callback(path.symlink_to, path.readlink())
                path.unlink()
            restore.callback(path.rename, private)
            private.rename(path)
        if not path.exists():
            restore.callback(path.rmdir)
            path.mkdir(mode=0o700)
        place = resolved(path)  # only root can have linked it to another disk
        account, seen = pwd.getpwnam(user), place.stat()
        if seen.st_uid != account.pw_uid:
            restore.callback(_chown, place, seen.st_uid, seen.st_gid)
            _chown(place, account.pw_uid, account.pw_gid)

    return Step("give the state away", give, restore.close, (StateChange(path, user),))


def _chown(path: Path | str, user: int, group: int, *, above: int | None = None, depth: int = 0) -> None:
    """Change the owner of a directory and everything below it, as far as runs create it. Raises OSError.

    Links are not followed, and files with several hard links are left: the old owner may have placed them.

    Args:
        path: The directory.
        user: The UID of the new owner.
        group: The GID of the new owner.
        above: The descriptor of the directory that a relative path starts at.
        depth: The number of directories between this one and the first.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        for entry in os.scandir(directory):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) and depth < _MAX_DEPTH:
                _chown(entry.name, user, group, above=directory, depth=depth + 1)
            elif stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.chown(entry.name, user, group, dir_fd=directory, follow_symlinks=False)
        os.fchown(directory, user, group)
    finally:
        os.close(directory)


def with_pause(seen: FileStatus, job: str, *, paused: bool) -> bytes:
    """Return a job's lines, commented out or not; edited lines still count as edited.

    Args:
        seen: The current lines.
        job: The job.
        paused: Whether the result is commented out.

    Raises:
        JobError: (config) The lines are not managed.
    """
    if seen.header is None:
        raise JobError(
            Outcome.CONFIG,
            msg("job {job} is not installed with cron", job=job),
            command("dify-job", "install", job),
        )
    first, _, body = seen.content.decode(errors="surrogateescape").partition("\n")
    lines = [line.removeprefix(PAUSED) for line in body.split("\n")]
    if paused:
        lines = [line if not line or line.startswith("#") else f"{PAUSED}{line}" for line in lines]
    body = "\n".join(lines)
    if seen.state is not FileState.EDITED:
        return with_header(job, seen.header.config, seen.header.source, body).encode()
    return f"{first}\n{body}".encode(errors="surrogateescape")


def is_paused(content: bytes) -> bool:
    """Return whether a pause commented out the lines."""
    return any(line.startswith(PAUSED.encode()) for line in content.splitlines())


def _plain(word: str) -> str:
    if special := _SPECIAL.search(word):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "a crontab line cannot contain {word!r}, because cron or the shell may misread {special!r}",
                word=word,
                special=special[0],
            ),
            msg("use only letters, digits and / . _ - in paths and names"),
        )
    return word


def _command(words: Sequence[str]) -> str:
    command = " ".join(map(_plain, words))
    if len(command) > _MAX_COMMAND:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the command in the crontab line has {length} bytes, but cron allows at most {maximum}",
                length=len(command),
                maximum=_MAX_COMMAND,
            ),
            msg("use shorter paths for the interpreter and the configuration"),
        )
    return command

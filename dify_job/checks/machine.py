"""The machine around a job: clock, journal, state directory and disk."""

import contextlib
import grp
import os
import re
import shlex
import socket
import stat
from functools import cache
from pathlib import Path

from ..messages.command import command
from ..messages.message import join, msg
from ..schedulers import access, systemctl
from ..state.directories import lacks_private, private_of
from ..state.reader import lock_holder
from ..system import subprocesses
from ..system.packages import install_command
from ..system.paths import is_missing, resolved
from .context import HostContext
from .finding import Finding, fail, ok, warn

_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_JOURNAL = Path("/run/systemd/journal/socket")
_SYSLOG = Path("/dev/log")
_READERS = ("systemd-journal", "adm", "wheel")  # groups that journald lets in (systemd-journald.service(8))
_MAX_SKEW = 60.0  # seconds
_MIN_FREE, _LOW_FREE = 10_000_000, 100_000_000  # bytes


def check_clock(context: HostContext) -> Finding:
    """Check the clock, by which schedules run."""
    ahead = context.app.clock_ahead if context.app is not None else None
    set_clock = command("timedatectl", "set-ntp", "true", needs_root=True)
    if ahead is not None and abs(ahead) > _MAX_SKEW:
        if ahead > 0:
            text = msg("this machine's clock is {seconds:.0f} s ahead of the server's clock", seconds=ahead)
        else:
            text = msg("this machine's clock is {seconds:.0f} s behind the server's clock", seconds=-ahead)
        return warn(text, msg("on the machine with the wrong clock, run: {command}", command=set_clock))
    synchronised = _synchronised()
    if synchronised is False:
        return warn(msg("the clock is not synchronised with a time server"), set_clock)
    if ahead is None:
        return ok(
            msg("the clock is synchronised")
            if synchronised
            else msg("dify-job cannot see whether the clock is synchronised")
        )
    return ok(
        msg("the clock is synchronised, and agrees with the server's clock")
        if synchronised
        else msg("the clock agrees with the server's clock")
    )


@cache
def _synchronised() -> bool | None:
    if _SYNCHRONISED.exists():
        return True
    if not systemctl.is_booted():
        return None
    done = subprocesses.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"], limit=5.0)
    return {"yes": True, "no": False}.get(done.text.strip()) if done.code == 0 else None


def check_journal(context: HostContext) -> Finding:
    """Check that the log of a run is stored and can be read later."""
    if not _JOURNAL.exists():
        return _check_without_journal(context)
    if not _has_listener(_JOURNAL):
        again = command(
            "systemctl", "restart", "systemd-journald.socket", "systemd-journald", needs_root=True
        )
        return warn(msg("journald is not running, so the log of each run is lost"), again)
    if _journal_is_disabled():
        there = "/etc/systemd/journald.conf.d"
        store = f"mkdir -p {there} && echo [Journal] >{there}/zz.conf && echo Storage=auto >>{there}/zz.conf"
        fix = command("sh", "-c", f"{store} && systemctl restart systemd-journald", needs_root=True)
        return warn(
            msg(
                "journald stores no logs (Storage=none), so {command} shows nothing",
                command=command("dify-job", "logs"),
            ),
            fix,
        )
    if os.geteuid() == 0 or not context.system or _in_group():
        return ok(
            msg(
                "the journal stores the log; to see it, run: {command}",
                command=command("dify-job", "logs", context.job.name),
            )
        )
    name = access.user_name(os.geteuid())
    text = msg("{user} has no permission to read the journal of system units", user=name)
    return warn(
        text,
        msg(
            "to give {user} this permission, run the command and log in again: {command}",
            user=name,
            command=command("usermod", "-aG", "systemd-journal", name, needs_root=True),
        ),
    )


def _check_without_journal(context: HostContext) -> Finding:
    """Check the log of runs under cron: syslog, otherwise the job's log_file."""
    file = context.job.log_file
    if not context.by_cron or _has_listener(_SYSLOG):
        return ok(
            msg("this machine has no journal; the log goes to syslog")
            if context.by_cron
            else msg("this machine has no journal")
        )
    if file is None:
        text = msg("this machine has neither a journal nor syslog, so the log of each run is lost")
        fix = msg(
            "set log_file in the job, or install a syslog daemon: {command}",
            command=install_command("rsyslog"),
        )
        return warn(text, fix)
    if is_missing(file.parent, stat.S_ISDIR):
        return warn(
            msg("the directory for the log file {file} does not exist", file=file),
            command("mkdir", "-p", str(file.parent)),
        )
    if (
        context.account is not None
        and (why := access.access_error(file.parent, context.account, os.W_OK)) is not None
    ):
        text = msg(
            "{user} cannot write the log file {file}: {why}", user=context.account.name, file=file, why=why
        )
        own = file.parent / "dify-job"
        return warn(
            text,
            msg(
                "set log_file to a file in {directory}; to create this directory, run: {command}",
                directory=own,
                command=command("install", "-d", "-o", context.account.name, str(own), needs_root=True),
            ),
        )
    return ok(msg("this machine has no journal; the log goes to {file}", file=file))


@cache
def _journal_is_disabled() -> bool:
    done = subprocesses.run(["systemd-analyze", "cat-config", "systemd/journald.conf"], limit=5.0)
    data = re.findall(r"(?m)^Storage=(.*)$", done.text)
    return data[-1:] == ["none"]


def _has_listener(address: Path) -> bool:
    """Return whether a daemon receives datagrams; a dead daemon can leave its socket behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        return connection.connect_ex(os.fspath(address)) == 0


def _in_group() -> bool:
    mine = {os.getegid(), *os.getgroups()}
    for name in _READERS:
        try:
            if grp.getgrnam(name).gr_gid in mine:
                return True
        except KeyError:
            continue
    return False


def check_state(context: HostContext) -> Finding:
    """Check that lock and records can be written, and report the holder of the lock."""
    if context.job.state == "none":
        return ok(msg('the job stores no state (state = "none")'))
    directory = context.state
    if context.state_is_hidden:
        return ok(
            msg("you have no permission to look into the state directory {directory}", directory=directory)
        )
    there = _nearest_existing(directory)
    if (bad := _check_writable(context, there)) is not None:
        return bad
    if there != directory:
        return ok(msg("the first run will create the state directory {directory}", directory=directory))
    held = lock_holder(directory, context.now)
    if held is None:
        return ok(
            msg("the state directory {directory} is writable, and no run is in progress", directory=directory)
        )
    who, since = held
    if since > context.job.timeout + 300:
        text = msg(
            "a run of the job ({who}) has been in progress for {minutes:.0f} min, longer than the timeout",
            who=who,
            minutes=since / 60,
        )
        return warn(text, _stop(context, who))
    return ok(
        msg("the state directory is {directory}; a run is in progress ({who})", directory=directory, who=who)
    )


def check_state_links(context: HostContext) -> Finding | None:
    """Check that no link to another disk prevents systemd from creating the state directory."""
    base = context.scheduler.base
    place, private = base / context.job.name, private_of(base) / context.job.name
    if not context.system or context.by_cron or context.job.state == "none":
        return None
    if place.is_symlink() and resolved(place) != resolved(private):
        words = (
            command("rm", str(place), needs_root=True),
            command("mv", str(resolved(place)), str(place), needs_root=True),
        )
        return fail(
            msg(
                "systemd cannot start the unit (status 238), because {place} is a symbolic link", place=place
            ),
            msg(
                "to have state on another disk, mount the disk at {base}; to replace the link with its "
                "directory, run: {command}",
                base=base,
                command=join(" && ", words),
            ),
        )
    # systemd makes BASE/JOB a link to ../private/dify-job/JOB
    if context.account == access.DYNAMIC and resolved(base).parent != resolved(base.parent):
        target = str(resolved(base))
        return fail(
            msg(
                "the unit cannot write its state, because {base} is a symbolic link, and systemd gives the "
                "unit's dynamic user a directory relative to it",
                base=base,
            ),
            msg(
                "set run_as in the job, or mount the directory in place of the link (add the mount to "
                "/etc/fstab): {command}",
                command=join(
                    " && ",
                    (
                        command("rm", str(base), needs_root=True),
                        command("mkdir", str(base), needs_root=True),
                        command("mount", "--bind", target, str(base), needs_root=True),
                    ),
                ),
            ),
        )
    return None


def _check_writable(context: HostContext, there: Path) -> Finding | None:
    """Check write access. there: the state directory, or the nearest parent that exists."""
    directory = context.state
    if (strange := _check_directory(context, there)) is not None:
        return fail(strange, command("mv", str(there), f"{there}.old"))
    account = context.account
    name = account.name if account is not None else context.job.run_as
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        remount = f"mount -o remount,rw $(findmnt -n -o TARGET -T {shlex.quote(str(there))})"
        writable = command("sh", "-c", remount, needs_root=True)
        text = msg(
            "the state directory cannot be written: {there} is on a file system that is mounted read-only",
            there=there,
        )
        return fail(
            text,
            msg(
                "dmesg shows whether a disk error made the file system read-only. To make it "
                "writable, run: {command}",
                command=writable,
            ),
        )
    by_systemd = context.system and not context.by_cron  # StateDirectory= makes it, and gives it to its user
    writer = access.ROOT if there != directory and context.system else account
    why = (
        access.access_error(there, writer, os.W_OK | os.X_OK)
        if writer is not None and not by_systemd
        else None
    )
    if why is not None:
        mine = ("chown", "-R", str(name), str(there))
        create = ("install", "-d", "-o", str(name), str(directory.parent), str(directory))
        text = msg(
            "{user} cannot write to the state directory {there}: {why}", user=name, there=there, why=why
        )
        return fail(text, command(*(mine if there == directory else create), needs_root=True))
    return None


def _check_directory(context: HostContext, there: Path) -> str | None:
    if is_missing(there, stat.S_ISDIR):
        return msg("the state directory cannot be used: {there} is not a directory", there=there)
    private = private_of(there.parent) / there.name
    if not context.system or there != context.state or there.is_symlink() or not os.path.lexists(private):
        return None
    return msg(
        "systemd cannot start the unit (status 238), because the state directory "
        "exists twice: {there} and {private}",
        there=there,
        private=private,
    )


def _stop(context: HostContext, who: str) -> str:
    if context.installed_job is not None and context.installed_job.running:
        return context.systemctl("stop", f"dify-job-{context.job.name}.service")
    pid = who.removeprefix("process ")
    return command("kill", pid) if pid.isdecimal() else command("fuser", "-k", str(context.state / "lock"))


def _nearest_existing(path: Path) -> Path:
    while (not os.path.lexists(path) or lacks_private(path)) and path != path.parent:
        path = path.parent
    return path


def check_disk(context: HostContext) -> Finding:
    """Check the space for records and output."""
    places = {_nearest_existing(context.state)} if context.job.state != "none" else set()
    output = context.job.output.file
    if output and Path(output).is_absolute() and "{" not in output:
        places.add(_nearest_existing(Path(output).parent))
    spaces = []
    for place in sorted(places):
        with contextlib.suppress(OSError):
            seen = os.statvfs(place)
            free = 0 if seen.f_files and not seen.f_favail else seen.f_bavail * seen.f_frsize
            spaces.append((free, place))
    if not spaces:
        return ok(msg("the job writes no files"))
    free, place = min(spaces)
    text = msg("{megabytes:.0f} MB of disk space are free at {place}", megabytes=free / 1e6, place=place)
    look = join("; ", (command("df", "-h", str(place)), command("df", "-i", str(place))))
    if free < _MIN_FREE:
        return fail(
            msg("the disk is nearly full, so a run cannot store its records: {space}", space=text), look
        )
    if free < _LOW_FREE:
        return warn(text, look)
    return ok(text)

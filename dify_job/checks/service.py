"""The scheduler of a job: whether it runs, the installed files, drop-ins, mail."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..messages.errors import JobError
from ..messages.message import join, msg
from ..messages.problem import Command, Problem, command
from ..schedulers import access, crond, crontab, dropins, systemctl
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.job_spec import unit_names
from ..system import subprocesses
from ..system.managed_files import FileState, look
from .context import HostContext
from .finding import fail, ok, place_of, warn

_LINGER = Path("/var/lib/systemd/linger")
_MAILERS = ("/usr/sbin/sendmail", "/usr/lib/sendmail")


def check_backend(context: HostContext) -> Problem:
    """Check that the scheduler itself runs; only a warning where nothing is installed with it yet."""
    bad = fail if context.one is not None else warn
    if context.by_cron:
        if crond.is_running():
            return ok(msg("the cron daemon runs"))
        return bad(msg("the cron daemon does not run"), crond.start_command())
    manager, scope = context.manager, context.scheduler.scope
    why_not = manager.why_not()
    if why_not is None and manager.silent:
        text = msg(
            "the {scope} manager of systemd does not answer: {reason}", scope=scope, reason=manager.silent
        )
        look = command("journalctl", "-b", "-p", "err", "_PID=1", needs_root=True)
        return bad(text, msg("{command} (a frozen one needs a reboot)", command=look))
    if why_not is None:
        version = context.systemd_version
        return ok(msg("systemd {systemd_version}, the {scope} manager", systemd_version=version, scope=scope))
    if not context.system and systemctl.is_booted():
        return bad(why_not, _enable_linger())
    by_cron = context.command("install", context.job.name, "--backend", "cron")
    if context.one is None:
        return bad(why_not, by_cron)
    # with both it would run twice, and install refuses
    return bad(why_not, join(" && ", (_uninstall(context, context.one), by_cron)))


def _uninstall(context: HostContext, one: InstalledJob) -> Command:
    words = ("uninstall", context.job.name, "--backend", one.backend, f"--{one.scope}")
    return command("dify-job", *words, needs_root=one.scope is Scope.SYSTEM)


def _where_asked(context: HostContext) -> tuple[str, ...]:
    """The flags by which install goes where the caller looked, and would not go by itself."""
    backend = ("--backend", "cron") if context.by_cron and systemctl.is_booted() else ()
    return backend if context.system == (os.geteuid() == 0) else (*backend, f"--{context.scheduler.scope}")


def check_units(context: HostContext) -> Problem:
    """Check the installed files: they are there, enabled, unchanged and as configured."""
    job, one = context.job.name, context.one
    if one is None and context.unasked is not None:
        return warn(context.unasked.message, context.unasked.hint)
    if one is None:
        install = context.command("install", job, *_where_asked(context))
        return warn(msg("not installed: no scheduler starts it"), install)
    if len(context.installed) > 1:
        where = join(
            msg(" and "),
            (
                msg("{backend} ({scope})", backend=each.backend, scope=each.scope)
                for _, each in context.installed
            ),
        )
        fix = _uninstall(context, context.installed[1][1])
        return fail(msg("installed twice, in {where}: it runs twice", where=where), fix)
    return _check_cron_file(context, one) if context.by_cron else _check_unit_files(context, one)


def _check_unit_files(context: HostContext, one: InstalledJob) -> Problem:
    job, shown = context.job.name, context.units
    again = context.command("install", job)
    there = {path.name: look(path, job) for path in one.paths}
    for name in unit_names(job):
        seen = there.get(name)
        state = shown[name]["LoadState"] if name in shown else ""
        if (seen is not None and seen.found is FileState.MASKED) or state == "masked":
            start = context.command("install", job, "--start")
            return fail(
                msg("{name} is masked by the administrator", name=name),
                join(" && ", (context.systemctl("unmask", name), start)),
            )
        if seen is None:
            return fail(msg("{name} is missing", name=name), again)
        if state not in ("", "loaded"):
            text = msg("systemd does not load {name}: {state}", name=name, state=state)
            return fail(text, _without(context, shown[name]["DropInPaths"].split()) or _overwrite(context))
    if one.edited:
        return warn(msg("edited by hand, so install does not change them"), _overwrite(context))
    if any(unit["NeedDaemonReload"] == "yes" for unit in shown.values()):
        return warn(msg("changed on disk since systemd read them"), context.systemctl("daemon-reload"))
    if (drift := _drift(context, one)) is not None:
        return drift
    if context.python is not None and systemctl.version() is not None:
        rendered = context.scheduler.render(context.spec)
        if any(look(file.path, job).content != file.text.encode() for file in rendered):
            return warn(msg("written by another version of dify-job, or for another systemd"), again)
    return ok(msg("{sorted}: as configured", sorted=", ".join(sorted(there))))


def _overwrite(context: HostContext) -> str:
    by = ("--backend", "cron") if context.by_cron else ()
    again = context.command("install", context.job.name, *by, "--overwrite-edits")
    return msg("{command} (--diff in its place shows the edits)", command=again)


def _without(context: HostContext, drop_ins: Sequence[str]) -> str | None:
    """What takes drop-ins away; None where there are none."""
    if not drop_ins:
        return None
    return join(" && ", (context.as_owner("rm", *drop_ins), context.systemctl("daemon-reload")))


def _check_cron_file(context: HostContext, one: InstalledJob) -> Problem:
    [path] = one.paths
    where = str(path) if path.is_absolute() else msg("the crontab")
    if path.is_absolute():
        seen = path.stat()
        if seen.st_uid != 0 or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISREG(seen.st_mode):
            text = msg(
                "cron ignores {where} (mode {mode:04o}, owner {owner})",
                where=where,
                mode=stat.S_IMODE(seen.st_mode),
                owner=access.name_of(seen.st_uid),
            )
            owner = command("chown", "root", str(path), needs_root=True)
            return fail(text, join(" && ", (owner, command("chmod", "644", str(path), needs_root=True))))
    if one.edited:
        text = msg("{where} was edited by hand, so install does not change it", where=where)
        return warn(text, _overwrite(context))
    return _drift(context, one) or ok(msg("{where}: as configured", where=where))


def _drift(context: HostContext, one: InstalledJob) -> Problem | None:
    """Another config than the one that was installed; check_program reports another interpreter."""
    if context.config.path is not None and one.source and Path(one.source) != context.config.path.absolute():
        text = msg(
            "installed from {source}, but this command reads {path}",
            source=one.source,
            path=context.config.path,
        )
        return warn(
            text,
            command("dify-job", "--config", one.source, "doctor", context.job.name),
        )
    if context.python is not None and context.spec.fingerprint != one.fingerprint:
        text = msg("the config has changed since it was installed")
        return warn(text, context.command("install", context.job.name))
    return None


def check_overrides(context: HostContext) -> Problem | None:
    """Check what drop-ins change; None for cron."""
    if context.by_cron:
        return None
    names = [path for unit in context.units.values() for path in unit["DropInPaths"].split()]
    if not names:
        return ok(msg("no drop-ins"))
    texts = []
    for name in names:
        try:
            texts.append(Path(name).read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            return warn(
                msg("{path} cannot be read: {strerror}", path=name, strerror=error.strerror),
                command("dify-job", "doctor", context.job.name, needs_root=True),
            )
    found = dropins.effects(texts, timeout=context.job.timeout, catch_up=context.job.schedule.catch_up)
    where = ", ".join(names)
    if not found:
        return ok(msg("{where}: nothing that the job relies on", where=where))
    fix = msg("{without} (if that is not meant)", without=_without(context, names))
    return warn(msg("by {where}: {found}", where=where, found=join("; ", found)), fix)


def check_enabled(context: HostContext) -> Problem | None:
    """Check that the schedule is enabled."""
    job, one = context.job.name, context.one
    if one is None:
        return None
    if one.paused and not one.enabled:
        return warn(msg("paused: its schedule is disabled"), context.command("resume", job))
    if one.enabled is None:
        return warn(
            msg("the service manager cannot be asked whether it is enabled"),
            command("dify-job", "status", job),
        )
    timer = unit_names(job)[1]
    if timer in context.units and not context.units[timer].enabled:
        text = msg("enabled until the next boot only: its timer is not enabled")
        return warn(text, context.systemctl("enable", timer))
    if one.next_run is None:
        return ok(msg("by {backend}", backend=one.backend))
    at = one.next_run.astimezone()
    return ok(msg("by {backend}, next at {at:%Y-%m-%d %H:%M:%S %Z}", backend=one.backend, at=at))


def check_mail(context: HostContext) -> Problem | None:
    """Check that cron can mail what a failed run prints; None for systemd."""
    if not context.by_cron:
        return None
    notify, place = context.job.notify, place_of(context.job, "notify")
    try:
        mailed = context.system or _is_mailed(context.job.name)
    except JobError as error:
        return warn(error.message, error.hint)
    if mailed and (subprocesses.found("sendmail") or any(Path(name).exists() for name in _MAILERS)):
        return ok(msg("cron can mail what a failed run says"))
    if notify.files or notify.healthchecks:
        return ok(msg("none; notify reports failed runs"))
    if not mailed:
        return warn(
            msg("MAILTO is empty above its lines, so cron mails nobody about a failed run"),
            msg(
                "{command} (give MAILTO a value, or put it below them; or set notify in {place})",
                command=command("crontab", "-e"),
                place=place,
            ),
        )
    mailer = command("apt-get", "install", "msmtp-mta", needs_root=True)
    return warn(
        msg("cron reports failed runs by mail, and this machine has no mailer: nobody is notified"),
        msg("{command} (and set it up; or set notify in {place})", command=mailer, place=place),
    )


def _is_mailed(job: str) -> bool:
    table = crond.read_table()
    return all(crontab.is_mailed(table, block) for block in crontab.blocks(table) if block.job == job)


def check_linger(context: HostContext) -> Problem | None:
    """Check that a user's timers run without a login; None for others."""
    if context.by_cron or context.system:
        return None
    name = access.name_of(os.geteuid())
    if (_LINGER / name).exists():
        return ok(msg("{name}'s units run without a login", name=name))
    return warn(msg("its timer runs only while you are logged in"), _enable_linger())


def _enable_linger() -> Command:
    return access.linger_command()

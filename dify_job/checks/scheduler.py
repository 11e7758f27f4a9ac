"""The scheduler of a job: whether it runs, the installed files, drop-ins, mail."""

import os
import stat
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..config.loader import load_config
from ..messages.command import Command, command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..schedule import schedule_lines, zones
from ..schedulers import access, cron, dropins, systemctl
from ..schedulers.job_spec import failure_unit_name, unit_names
from ..schedulers.model import InstalledJob, Scope
from ..schedulers.reconcile import edited_text
from ..schedulers.unit_plan import masked_text, unmask_commands
from ..system import subprocesses
from ..system.managed_files import FileState, FileStatus, file_status
from ..system.opened_file import read_regular
from ..system.packages import install_command
from ..system.paths import is_missing
from .context import HostContext
from .finding import Finding, fail, ok, warn

_TIME_FIELDS = 5  # of a crontab line
_MAILERS = ("/usr/sbin/sendmail", "/usr/lib/sendmail")
_ABSENT = FileStatus(FileState.ABSENT)
NOT_INSTALLED = msg("the job is not installed, so nothing starts it")
OUTDATED = msg("the configuration changed since the job was installed")


def check_backend(context: HostContext) -> Finding:
    """Check that the scheduler runs; a warning if no job is installed with it yet."""
    bad = fail if context.installed_job is not None else warn
    if isinstance(context.scheduler, cron.Cron):
        if context.scheduler.daemon_runs:
            return ok(msg("the cron daemon is running"))
        return bad(cron.NOT_RUNNING, cron.start_command())
    manager, scope = context.scheduler.manager, context.scheduler.scope
    why_not = manager.unavailable_reason()
    if why_not is None and manager.no_answer:
        text = msg(
            "the {scope} service manager of systemd does not respond: {reason}",
            scope=scope,
            reason=manager.no_answer,
        )
        show_errors = command("journalctl", "-b", "-p", "err", "_PID=1", needs_root=True)
        return bad(
            text,
            msg(
                "if the service manager is frozen, reboot the machine; to see the reason, run: {command}",
                command=show_errors,
            ),
        )
    if why_not is None:
        version = context.scheduler.version
        return ok(
            msg("the {scope} service manager of systemd {version} responds", version=version, scope=scope)
        )
    if not context.system and systemctl.is_booted():
        return bad(why_not, access.linger_command())
    by_cron = context.command("install", context.job.name, "--backend", "cron")
    if context.installed_job is None:
        return bad(why_not, by_cron)
    # with two schedulers the job would run twice, so install rejects it
    return bad(why_not, join(" && ", (_uninstall(context, context.installed_job), by_cron)))


def _uninstall(context: HostContext, installed_job: InstalledJob) -> Command:
    words = ("uninstall", context.job.name, "--backend", installed_job.backend, f"--{installed_job.scope}")
    return command("dify-job", *words, needs_root=installed_job.scope is Scope.SYSTEM)


def _scope_flags(context: HostContext) -> tuple[str, ...]:
    """Return the flags that install needs to use the scheduler and scope of this call."""
    backend = ("--backend", "cron") if context.by_cron and systemctl.is_booted() else ()
    return backend if context.system == (os.geteuid() == 0) else (*backend, f"--{context.scheduler.scope}")


def check_installed_files(context: HostContext) -> Finding | None:
    """Check that the scheduler can use the installed files; None if it can."""
    installed_job = context.installed_job
    if installed_job is None:
        return None
    for path, seen in installed_job.files.items():
        if seen.state is FileState.UNREADABLE:
            again = command("dify-job", "doctor", context.job.name, needs_root=True)
            return warn(msg("you have no permission to read {path}", path=path), again)
    return (
        _check_cron_file(context, installed_job)
        if context.by_cron
        else _check_unit_files(context, installed_job)
    )


def check_zone_of_lines(context: HostContext) -> Finding | None:
    """Check that cron starts the job by the time zone that this machine has now; None if it does."""
    installed_job = context.installed_job
    if (
        installed_job is None
        or not context.by_cron
        or installed_job.edited
        or installed_job.fingerprint != context.spec.fingerprint
    ):
        return None
    text = "".join(status.text for status in installed_job.files.values())
    lines = (line.removeprefix(cron.PAUSED).split() for line in text.splitlines())
    installed = {" ".join(words[:_TIME_FIELDS]) for words in lines}
    if installed.issuperset(schedule_lines.cron_lines(context.job.times).lines):
        return None
    return fail(
        msg(
            "cron starts the job at wrong times, because this machine's time zone changed to {zone} after "
            "the installation of the job",
            zone=zones.local_name(),
        ),
        context.command("install", context.job.name),
    )


def check_sync(context: HostContext) -> Finding:
    """Check that the job is installed once, and as configured."""
    job, installed_job = context.job.name, context.installed_job
    if installed_job is None and context.scheduler_error is not None:
        return warn(context.scheduler_error.message, context.scheduler_error.hint)
    if installed_job is None:
        timer = unit_names(job)[1]
        unit = None if context.by_cron else context.scheduler.manager.show([timer]).get(timer)
        if unit is not None and unit.loaded:  # of a package, or linked by an administrator
            text = msg(
                "dify-job did not install the job, but the timer {path} exists", path=unit["FragmentPath"]
            )
            return warn(text, context.systemctl("cat", timer))
        install = context.command("install", job, *_scope_flags(context))
        return warn(NOT_INSTALLED, install)
    if len(context.installed) > 1:
        where = join(
            msg(" and "),
            (
                msg("{backend} ({scope})", backend=each.backend, scope=each.scope)
                for _, each in context.installed
            ),
        )
        fix = _uninstall(context, context.installed[1][1])
        return fail(msg("the job is installed twice ({where}), so it runs twice each time", where=where), fix)
    if installed_job.edited:
        return warn(edited_text(job, installed_job.edited), _overwrite(context))
    if (drift := _drift(context, installed_job)) is not None:
        return drift
    if not context.by_cron and context.python is not None and systemctl.version() is not None:
        rendered = context.scheduler.render(context.spec)
        if any(
            installed_job.files.get(file.path, _ABSENT).content != file.text.encode() for file in rendered
        ):
            return warn(
                msg(
                    "the installed files were written by another version of dify-job, or for "
                    "another version of systemd"
                ),
                context.command("install", job),
            )
    names = sorted(str(path) if context.by_cron else path.name for path in installed_job.paths)
    return ok(msg("the installed files match the configuration: {names}", names=join(", ", names)))


def _check_unit_files(context: HostContext, installed_job: InstalledJob) -> Finding | None:
    job, shown = context.job.name, installed_job.units
    again = context.command("install", job)
    there = {path.name: seen for path, seen in installed_job.files.items()}
    for name in unit_names(job):
        seen = there.get(name)
        state = shown[name]["LoadState"] if name in shown else ""
        if (seen is not None and seen.state is FileState.MASKED) or state == "masked":
            return fail(masked_text(name), join(" && ", unmask_commands(name, job, installed_job.scope)))
        if seen is None:
            return fail(msg("the unit {name} is missing", name=name), again)
        if state not in ("", "loaded"):
            text = msg("systemd cannot load the unit {name}: {state}", name=name, state=state)
            return fail(
                text, _without_drop_ins(context, shown[name]["DropInPaths"].split()) or _overwrite(context)
            )
    if any(unit["NeedDaemonReload"] == "yes" for unit in shown.values()):
        return warn(
            msg("the unit files changed on disk since systemd read them"), context.systemctl("daemon-reload")
        )
    reports = b"\nOnFailure=dify-job-notify@" in there[unit_names(job)[0]].content
    if reports and failure_unit_name(job) not in there:
        place = context.scheduler.directory / failure_unit_name(job)
        if file_status(place).state is FileState.ABSENT:  # an administrator masked it on purpose
            return warn(msg("the unit that reports failed runs is missing"), again)
    return None


def _overwrite(context: HostContext) -> str:
    by = ("--backend", "cron") if context.by_cron else ()
    return msg(
        "to see the edits, run: {show}; to overwrite them, run: {command}",
        show=context.command("install", context.job.name, *by, "--diff"),
        command=context.command("install", context.job.name, *by, "--overwrite-edits"),
    )


def _without_drop_ins(context: HostContext, drop_ins: Sequence[str]) -> str | None:
    """Return the command that removes drop-ins; None if there are none."""
    if not drop_ins:
        return None
    return join(" && ", (context.as_owner("rm", *drop_ins), context.systemctl("daemon-reload")))


def _check_cron_file(context: HostContext, installed_job: InstalledJob) -> Finding | None:
    [path] = installed_job.paths
    if installed_job.conflicting_setting is not None:
        text = msg(
            "cron applies {setting} to the job's crontab lines, because that setting is above them",
            setting=installed_job.conflicting_setting,
        )
        move = context.command("install", installed_job.job, *_scope_flags(context))
        return warn(
            text,
            msg(
                "to move the job's lines above {setting}, run: {command}",
                setting=installed_job.conflicting_setting,
                command=move,
            ),
        )
    if path.is_absolute():
        try:
            seen = path.stat()
        except FileNotFoundError:  # removed since the scheduler looked
            return None
        if seen.st_uid != 0 or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISREG(seen.st_mode):
            text = msg(
                "cron ignores {path}, because its mode is {mode:04o} and its owner is {owner}",
                path=path,
                mode=stat.S_IMODE(seen.st_mode),
                owner=access.user_name(seen.st_uid),
            )
            owner = command("chown", "root", str(path), needs_root=True)
            return fail(text, join(" && ", (owner, command("chmod", "644", str(path), needs_root=True))))
    return None


def _drift(context: HostContext, installed_job: InstalledJob) -> Finding | None:
    """Check for a configuration that changed since install; check_program reports another interpreter."""
    source = Path(installed_job.source)
    if context.config.path is not None and installed_job.source and source != context.config.path.absolute():
        left = _jobs_in(source)
        if left is not None and context.job.name not in left:
            lost = msg(
                "the job was installed from the configuration {source}, which no longer contains it",
                source=source,
            )
            if context.system and os.geteuid() != 0:
                return fail(lost, _uninstall(context, installed_job))
            return fail(lost, context.command("install", context.job.name))
        text = msg(
            "the installed schedule uses the configuration {source}, "
            "but the command that you run now uses {path}",
            source=source,
            path=context.config.path,
        )
        return warn(text, command("dify-job", "--config", installed_job.source, "doctor", context.job.name))
    if context.python is not None and context.spec.fingerprint != installed_job.fingerprint:
        return warn(OUTDATED, context.command("install", context.job.name))
    return None


@cache
def _jobs_in(config: Path) -> tuple[str, ...] | None:
    """Return the names of the jobs in a configuration, read once; None if a file of it cannot be used."""
    try:
        found = load_config(config)
    except JobError:
        return () if is_missing(config) else None
    return None if found.broken_files else found.names


def check_overrides(context: HostContext) -> Finding | None:
    """Check for drop-ins that change the job; None for cron."""
    if context.by_cron:
        return None
    names = [path for unit in context.units.values() for path in unit["DropInPaths"].split()]
    if not names:
        return ok(msg("no drop-in changes the units"))
    texts = []
    for name in names:
        try:
            texts.append(read_regular(Path(name)).decode(errors="replace"))
        except OSError as error:
            return warn(
                msg("the drop-in {path} cannot be read: {reason}", path=name, reason=error.strerror),
                command("dify-job", "doctor", context.job.name, needs_root=True),
            )
    found = dropins.effects(texts, timeout=context.job.timeout, catch_up=context.job.schedule.catch_up)
    where = join(", ", names)
    if not found:
        return ok(msg("the drop-in {where} changes no setting that the job needs", where=where))
    fix = msg(
        "if you did not mean to change the unit, remove the drop-in: {command}",
        command=_without_drop_ins(context, names),
    )
    return warn(
        msg("the drop-in {where} changes the unit: {found}", where=where, found=join("; ", found)), fix
    )


def check_enabled(context: HostContext) -> Finding | None:
    """Check that the schedule is enabled."""
    job, installed_job = context.job.name, context.installed_job
    if installed_job is None:
        return None
    if installed_job.paused and not installed_job.enabled:
        return warn(msg("the job is paused, so nothing starts it"), context.command("resume", job))
    if installed_job.enabled is None:
        return warn(
            msg("the service manager does not say whether the job is enabled"),
            command("dify-job", "status", job),
        )
    timer = unit_names(job)[1]
    if timer in context.units and not context.units[timer].enabled:
        text = msg("the job will not run after the next boot, because its timer is not enabled")
        return warn(text, context.systemctl("enable", timer))
    if installed_job.next_run is None:
        return ok(msg("{backend} starts the job", backend=installed_job.backend))
    at = installed_job.next_run.astimezone()
    return ok(
        msg(
            "{backend} starts the job next at {at:%Y-%m-%d %H:%M:%S %Z}", backend=installed_job.backend, at=at
        )
    )


def check_mail(context: HostContext) -> Finding | None:
    """Check that cron can mail the output of a failed run; None for systemd."""
    if not context.by_cron:
        return None
    notify = context.job.notify
    mailed = context.system or (context.installed_job is not None and context.installed_job.mailed)
    if mailed and (subprocesses.is_on_path("sendmail") or any(Path(name).exists() for name in _MAILERS)):
        return ok(msg("cron can send mail about failed runs"))
    if notify.files or notify.healthchecks:
        return ok(msg("cron sends no mail; the notifications of the job report failed runs"))
    if not mailed:
        return warn(
            cron.NOT_MAILED,
            msg(
                "set notify in the job or in [defaults], or set MAILTO in the crontab to an address: "
                "{command}",
                command=command("crontab", "-e"),
            ),
        )
    mailer = install_command("msmtp-mta")
    return warn(
        msg("nobody is notified of failed runs: cron would send mail, but this machine has no mail program"),
        msg(
            "set notify in the job or in [defaults], or install a mail program and set it up: {command}",
            command=mailer,
        ),
    )


def check_linger(context: HostContext) -> Finding | None:
    """Check that a user's timers run without a login; None for system jobs and for cron."""
    if context.by_cron or context.system:
        return None
    if access.lingers():
        return ok(msg("the units of user {name} run without a login", name=access.user_name(os.geteuid())))
    return warn(msg("the job runs only while you are logged in"), access.linger_command())

"""What starts the job: the back end, its files, and who changed them."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..messages.message import join, msg
from ..messages.problem import Command, Problem, Severity, command
from ..schedulers import access, crond, crontab, dropins, systemctl
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.systemctl import Unit
from ..schedulers.unit_names import unit_names
from ..system import subprocesses
from ..system.managed_files import FileState, look
from .context import HostContext
from .environment import check_environment
from .finding import by_root, fail, ok, place_of, warn
from .program import check_program

_LINGER = Path("/var/lib/systemd/linger")
_MAILERS = ("/usr/sbin/sendmail", "/usr/lib/sendmail")


def check_backend(context: HostContext) -> Problem:
    """Whether the scheduler itself is alive; only a warning where nothing is installed with it yet."""
    bad = fail if context.one is not None else warn
    if context.by_cron:
        if crond.is_running():
            return ok("backend", msg("the cron daemon runs"))
        return bad("backend", msg("the cron daemon does not run"), crond.start_command())
    manager = context.manager
    why_not = manager.why_not()
    if why_not is None and manager.silent:
        text = msg("the {scope} manager of systemd does not answer", scope=context.scheduler.scope)
        return bad(
            "backend",
            text,
            msg("{by_root} (a frozen one needs a reboot)", by_root=by_root("journalctl -b -p err _PID=1")),
        )
    if why_not is None:
        return ok(
            "backend",
            msg(
                "systemd {systemd_version}, the {scope} manager",
                systemd_version=context.systemd_version,
                scope=context.scheduler.scope,
            ),
        )
    if not context.system and systemctl.is_booted():
        return bad(
            "backend",
            why_not,
            command("loginctl", "enable-linger", access.name_of(os.geteuid()), needs_root=True),
        )
    by_cron = context.command("install", context.job.name, "--backend", "cron")
    if context.one is None:
        return bad("backend", why_not, by_cron)
    # with both it would run twice, and install refuses
    return bad("backend", why_not, join(" && ", (_uninstall(context, context.one), by_cron)))


def check_service(context: HostContext, *, alive: bool) -> Iterator[Problem]:
    """The installed files, from being there to being armed; what follows a failure is left out.

    alive: the back end can be asked.
    """
    job, one = context.job.name, context.one
    if one is None:
        install = context.command("install", job, *_where_asked(context))
        yield warn("units", msg("not installed: no scheduler starts it"), install)
        return
    if len(context.installed) > 1:
        where = " and ".join(f"{each.backend} ({each.scope})" for _, each in context.installed)
        fix = _uninstall(context, context.installed[1][1])
        yield fail("units", msg("installed twice, in {where}: it runs twice", where=where), fix)
        return
    shown = context.manager.show(unit_names(job)) if not context.by_cron else {}
    files = _check_units(context, one, shown) if not context.by_cron else _check_cron_file(context, one)
    yield files
    if files.severity is Severity.FAIL:
        return
    yield _check_mail(context) if context.by_cron else _check_overrides(context, list(shown.values()))
    if alive:
        yield _check_armed(context, one, shown)
    yield from check_environment(context)
    yield from check_program(context)
    if not context.by_cron and not context.system:
        yield _check_linger()


# The files


def _uninstall(context: HostContext, one: InstalledJob) -> Command:
    words = ("uninstall", context.job.name, "--backend", one.backend, f"--{one.scope}")
    return command("dify-job", *words, needs_root=one.scope is Scope.SYSTEM)


def _where_asked(context: HostContext) -> tuple[str, ...]:
    """The flags by which install goes where the caller looked, and would not go by itself."""
    backend = ("--backend", "cron") if context.by_cron and systemctl.is_booted() else ()
    return backend if context.system == (os.geteuid() == 0) else (*backend, f"--{context.scheduler.scope}")


def _check_units(context: HostContext, one: InstalledJob, shown: Mapping[str, Unit]) -> Problem:
    job = context.job.name
    again = context.command("install", job)
    there = {path.name: look(path, job) for path in one.paths}
    for name in unit_names(job):
        seen = there.get(name)
        state = shown[name]["LoadState"] if name in shown else ""
        if (seen is not None and seen.found is FileState.MASKED) or state == "masked":
            text = msg("{name} is masked by the administrator", name=name)
            return fail(
                "units",
                text,
                join(" && ", (context.systemctl("unmask", name), context.command("install", job, "--start"))),
            )
        if seen is None:
            return fail("units", msg("{name} is missing", name=name), again)
        if state not in ("", "loaded"):
            text = msg("systemd does not load {name}: {state}", name=name, state=state)
            return fail(
                "units",
                text,
                _without(context, shown[name]["DropInPaths"].split()) or _overwrite(context),
            )
    if one.edited:
        return warn(
            "units",
            msg("edited by hand, so that install refuses to change them"),
            _overwrite(context),
        )
    if any(unit["NeedDaemonReload"] == "yes" for unit in shown.values()):
        text = msg("changed on disk since systemd read them")
        return warn("units", text, context.systemctl("daemon-reload"))
    if (drift := _drift(context, one)) is not None:
        return drift
    if context.python is not None:
        rendered = context.scheduler.render(context.plan)
        if any(look(artifact.path, job).content != artifact.text.encode() for artifact in rendered):
            text = msg("written by another version of dify-job, or for another systemd")
            return warn("units", text, again)
    return ok("units", msg("{sorted}: as configured", sorted=", ".join(sorted(there))))


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
            mode = msg(
                "mode {s_imode:04o}, owner {name_of}",
                s_imode=stat.S_IMODE(seen.st_mode),
                name_of=access.name_of(seen.st_uid),
            )
            return fail(
                "units",
                msg("cron passes over {where} ({mode})", where=where, mode=mode),
                join(" && ", (by_root(f"chown root {path}"), by_root(f"chmod 644 {path}"))),
            )
    if one.edited:
        text = msg("{where} was edited by hand, so that install refuses to change it", where=where)
        return warn("units", text, _overwrite(context))
    return _drift(context, one) or ok("units", msg("{where}: as configured", where=where))


def _drift(context: HostContext, one: InstalledJob) -> Problem | None:
    """Another config than the one that was installed; another interpreter is told elsewhere."""
    if context.config.path is not None and one.source and Path(one.source) != context.config.path.absolute():
        text = msg(
            "installed from {source}, and what you look at is {path}",
            source=one.source,
            path=context.config.path,
        )
        return warn(
            "units",
            text,
            command("dify-job", "--config", one.source, "doctor", context.job.name),
        )
    if context.python is not None and context.plan.fingerprint != one.fingerprint:
        text = msg("the config has changed since it was installed")
        return warn("units", text, context.command("install", context.job.name))
    return None


def _check_overrides(context: HostContext, shown: list[Unit]) -> Problem:
    paths = [Path(path) for unit in shown for path in unit["DropInPaths"].split()]
    if not paths:
        return ok("override", msg("no drop-ins"))
    texts = []
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            return warn(
                "override",
                msg("{path} cannot be read: {strerror}", path=path, strerror=error.strerror),
                command("dify-job", "doctor", context.job.name, needs_root=True),
            )
    found = dropins.effects(texts, timeout=context.job.timeout, catch_up=context.job.schedule.catch_up)
    where = ", ".join(map(str, paths))
    if found:
        fix = msg(
            "{without} (if that is not meant)", without=_without(context, [str(path) for path in paths])
        )
        return warn("override", msg("by {where}: {found}", where=where, found="; ".join(found)), fix)
    return ok("override", msg("{where}: nothing that the job relies on", where=where))


# Armed


def _check_armed(context: HostContext, one: InstalledJob, shown: Mapping[str, Unit]) -> Problem:
    job = context.job.name
    if one.paused and not one.enabled:
        return warn("armed", msg("paused: its schedule is disabled"), context.command("resume", job))
    if one.enabled is None:
        return warn(
            "armed",
            msg("whether it is armed is not known: the manager cannot be asked"),
            command("dify-job", "status", job),
        )
    timer = unit_names(job)[1]
    if timer in shown and not shown[timer].enabled:
        text = msg("armed until the next boot only: its timer is not enabled")
        return warn("armed", text, context.systemctl("enable", timer))
    when = (
        msg(", next at {astimezone:%Y-%m-%d %H:%M:%S %Z}", astimezone=one.next_run.astimezone())
        if one.next_run
        else ""
    )
    return ok("armed", msg("by {backend}{when}", backend=one.backend, when=when))


# Around it


def _check_mail(context: HostContext) -> Problem:
    """Cron mails what a failed run prints."""
    notify, or_notify = (
        context.job.notify,
        msg("or set notify in {place_of}", place_of=place_of(context.job, "notify")),
    )
    mailed = context.system or _is_mailed(context.job.name)
    mailer = subprocesses.found("sendmail") or any(Path(mailer).exists() for mailer in _MAILERS)
    if mailed and mailer:
        return ok("mail", msg("cron can mail what a failed run says"))
    if notify.files or notify.healthchecks:
        return ok("mail", msg("none, and notify tells who wants to know"))
    if not mailed:
        text = msg("MAILTO is empty above its lines: cron mails nobody what a failed run says")
        return warn(
            "mail",
            text,
            msg("crontab -e (give MAILTO a value, or put it below them; {or_notify})", or_notify=or_notify),
        )
    text = msg("cron mails what a failed run says, and this machine has no mailer: nobody will know")
    return warn(
        "mail",
        text,
        msg(
            "{by_root} (and set it up; {or_notify})",
            by_root=by_root("apt-get install msmtp-mta"),
            or_notify=or_notify,
        ),
    )


def _is_mailed(job: str) -> bool:
    table = crond.read_table()
    return all(crontab.is_mailed(table, block) for block in crontab.blocks(table) if block.job == job)


def _check_linger() -> Problem:
    name = access.name_of(os.geteuid())
    if (_LINGER / name).exists():
        return ok("linger", msg("{name}'s units run without a login", name=name))
    text = msg("its timer runs only while you are logged in")
    return warn("linger", text, command("loginctl", "enable-linger", name, needs_root=True))

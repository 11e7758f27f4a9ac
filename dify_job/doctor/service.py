"""What starts the job: the back end, its files, and who changed them."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .. import process
from ..config.model import Job
from ..ownership import Found, look
from ..scheduling import crond, dropins, reach, systemctl, units
from ..scheduling.base import Installed, Scope
from ..scheduling.systemctl import Manager, Unit
from .case import Case
from .check import Check, Level, fail, ok, warn
from .program import check_program

_LINGER = Path("/var/lib/systemd/linger")
_MAILERS = ("/usr/sbin/sendmail", "/usr/lib/sendmail")


def check_backend(case: Case) -> Check:
    """Whether the scheduler itself is alive; only a warning where nothing is installed with it yet."""
    bad = fail if case.one is not None else warn
    if case.by_cron:
        if crond.is_running():
            return ok("backend", "the cron daemon runs")
        start = "systemctl enable --now cron" if systemctl.is_booted() else "service cron start"
        return bad("backend", "the cron daemon does not run", f"sudo {start} (or crond)")
    why_not = Manager(case.wing.scope).why_not()
    if why_not is None:
        return ok("backend", f"systemd {case.systemd_version}, the {case.wing.scope} manager")
    if not case.system and systemctl.is_booted():
        return bad("backend", why_not, f"sudo loginctl enable-linger {reach.name_of(os.geteuid())}")
    return bad("backend", why_not, f"dify-job install {case.job.name} --backend cron")


def check_service(case: Case, *, alive: bool) -> Iterator[Check]:
    """The installed files, from being there to being armed; what follows a failure is left out.

    alive: the back end can be asked.
    """
    job, one = case.job.name, case.one
    if one is None:
        yield warn("units", "not installed: nothing starts it by itself", f"dify-job install {job}")
        return
    if len(case.installed) > 1:
        where = " and ".join(f"{each.backend} ({each.scope})" for _, each in case.installed)
        second = case.installed[1][1]
        sudo = "sudo " if second.scope is Scope.SYSTEM and os.geteuid() != 0 else ""
        mend = f"{sudo}dify-job uninstall {job} --backend {second.backend} --{second.scope}"
        yield fail("units", f"installed twice, in {where}: it runs twice", mend)
        return
    shown = Manager(case.wing.scope).show(units.unit_names(job)) if not case.by_cron else {}
    files = _check_units(case, one, shown) if not case.by_cron else _check_cron_file(case, one)
    yield files
    if files.level is Level.FAIL:
        return
    yield _check_mail(case) if case.by_cron else _check_overrides(case, list(shown.values()))
    if alive:
        yield _check_armed(case, one, shown)
    yield from _check_environment(case)
    yield from check_program(case)
    if not case.by_cron and not case.system:
        yield _check_linger()


def _systemctl(case: Case) -> str:
    return "systemctl" if case.system else "systemctl --user"


# The files


def _check_units(case: Case, one: Installed, shown: Mapping[str, Unit]) -> Check:
    job, systemctl_ = case.job.name, _systemctl(case)
    there = {path.name: look(path, job) for path in one.paths}
    for name in units.unit_names(job):
        seen = there.get(name)
        state = shown[name]["LoadState"] if name in shown else ""
        if (seen is not None and seen.found is Found.MASKED) or state == "masked":
            return fail("units", f"{name} is masked by the administrator", f"{systemctl_} unmask {name}")
        if seen is None:
            return fail("units", f"{name} is missing", f"dify-job install {job}")
        if state not in ("", "loaded"):
            told = f"systemd does not load {name}: {state}"
            return fail("units", told, f"{systemctl_} status {name}; systemd-analyze verify {name}")
    if one.edited:
        told = "edited by hand, so that install refuses to change them"
        return warn(
            "units", told, f"dify-job install {job} --diff; --overwrite-edits puts ours in their place"
        )
    if any(unit["NeedDaemonReload"] == "yes" for unit in shown.values()):
        return warn("units", "changed on disk since systemd read them", f"{systemctl_} daemon-reload")
    if (drift := _drift(case, one)) is not None:
        return drift
    if case.python is not None:
        rendered = case.wing.render(case.plan)
        if any(look(artifact.path, job).content != artifact.text.encode() for artifact in rendered):
            told = "written by another version of dify-job, or for another systemd"
            return warn("units", told, f"dify-job install {job}")
    return ok("units", f"{', '.join(sorted(there))}: as configured")


def _check_cron_file(case: Case, one: Installed) -> Check:
    [path] = one.paths
    where = str(path) if path.is_absolute() else "the crontab"
    if path.is_absolute():
        seen = path.stat()
        if seen.st_uid != 0 or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISREG(seen.st_mode):
            mode = f"mode {stat.S_IMODE(seen.st_mode):04o}, owner {reach.name_of(seen.st_uid)}"
            return fail(
                "units", f"cron passes over {where} ({mode})", f"chown root {path} && chmod 644 {path}"
            )
    if one.edited:
        told = f"{where} was edited by hand, so that install refuses to change it"
        mend = f"dify-job install {case.job.name} --diff; --overwrite-edits puts ours in its place"
        return warn("units", told, mend)
    return _drift(case, one) or ok("units", f"{where}: as configured")


def _drift(case: Case, one: Installed) -> Check | None:
    """Another config than the one that was installed; another interpreter is told elsewhere."""
    if case.config.path is not None and one.source and Path(one.source) != case.config.path.absolute():
        told = f"installed from {one.source}, and what you look at is {case.config.path}"
        return warn("units", told, f"dify-job --config {one.source} doctor {case.job.name}")
    if case.python is not None and case.plan.fingerprint != one.fingerprint:
        told = "the config has changed since it was installed"
        return warn("units", told, f"dify-job install {case.job.name}")
    return None


def _check_overrides(case: Case, shown: list[Unit]) -> Check:
    paths = [Path(path) for unit in shown for path in unit["DropInPaths"].split()]
    if not paths:
        return ok("override", "no drop-ins")
    texts = []
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            return warn(
                "override",
                f"{path} cannot be read: {error.strerror}",
                f"sudo dify-job doctor {case.job.name}",
            )
    found = dropins.effects(texts, timeout=case.job.timeout, catch_up=case.job.schedule.catch_up)
    where = ", ".join(map(str, paths))
    if found:
        mend = f"if that is not meant: rm {' '.join(map(str, paths))} && {_systemctl(case)} daemon-reload"
        return warn("override", f"by {where}: {'; '.join(found)}", mend)
    return ok("override", f"{where}: nothing that the job relies on")


# Armed


def _check_armed(case: Case, one: Installed, shown: Mapping[str, Unit]) -> Check:
    job = case.job.name
    if one.paused and not one.armed:
        return warn("armed", "paused: it does not run by itself", f"dify-job resume {job}")
    if one.armed is None:
        return warn(
            "armed", "whether it is armed is not known: the manager cannot be asked", f"dify-job status {job}"
        )
    if not one.armed and not case.by_cron:  # of cron itself there is a line already
        return fail("armed", "not armed: no timer starts it", f"dify-job resume {job}")
    timer = units.unit_names(job)[1]
    if timer in shown and not shown[timer].enabled:
        mend = f"{_systemctl(case)} enable {timer}"
        return warn("armed", "armed until the next boot only: its timer is not enabled", mend)
    when = f", next at {one.next_run.astimezone():%Y-%m-%d %H:%M:%S %Z}" if one.next_run else ""
    return ok("armed", f"by {one.backend}{when}")


def _check_environment(case: Case) -> Iterator[Check]:
    """What this shell has, and a unit or a crontab line has not: variables of templates, the proxy."""
    bundles = _bundle_variables(case.job)
    wanted = {*case.job.env, *_proxy_variables(case.job.base_url), *bundles}
    if not wanted:
        return
    service = units.unit_names(case.job.name)[0]
    names = set[str]() if case.by_cron else Manager(case.wing.scope).variables(service)
    missing = sorted(wanted - names) if names is not None else []
    if missing:
        told = f"{', '.join(missing)}: a shell may have it, and nothing sets it when the job runs by itself"
        mend = f"[Service] Environment={missing[0]}=...: {_systemctl(case)} edit {service}"
        if missing[0] in bundles:
            mend = f'set ca_file = "{os.environ[missing[0]]}" in the job'
        cron = "cron gives a job no variables; let systemd run it: dify-job install --backend systemd"
        yield warn("environment", told, cron if case.by_cron and missing[0] not in bundles else mend)
    else:
        yield ok("environment", f"set for the service: {', '.join(sorted(wanted))}")


def _bundle_variables(job: Job) -> set[str]:
    """The variables by which requests from this shell trust the server's certificate."""
    names = {name for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE") if os.environ.get(name)}
    return names if job.base_url.startswith("https:") and job.ca_file is None else set()


def _proxy_variables(base_url: str) -> set[str]:
    """The variables by which requests from this shell go through a proxy."""
    parts = urlsplit(base_url)
    if parts.scheme not in getproxies() or proxy_bypass(parts.hostname or ""):
        return set()
    names = {f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper()}
    return {name for name in names if os.environ.get(name)}


# Around it


def _check_mail(case: Case) -> Check:
    """Cron mails what a failed run prints."""
    job = case.job
    if process.found("sendmail") or any(Path(mailer).exists() for mailer in _MAILERS):
        return ok("mail", "cron can mail what a failed run says")
    if job.notify.files or job.notify.healthchecks:
        return ok("mail", "none, and notify tells who wants to know")
    told = "cron mails what a failed run says, and this machine has no mailer: nobody will know"
    return warn("mail", told, "apt-get install msmtp-mta (and set it up), or set notify in the job")


def _check_linger() -> Check:
    name = reach.name_of(os.geteuid())
    if (_LINGER / name).exists():
        return ok("linger", f"{name}'s units run without a login")
    told = "its timer runs only while you are logged in"
    return warn("linger", told, f"sudo loginctl enable-linger {name}")

"""What the configuration says, against the machine: key, output, notifications, schedule, zone."""

import os
import stat
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path

from ..config.model import Config, Job
from ..config.schema import SCHEDULE_KINDS
from ..config.secrets import read_urls
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Command, Problem, command
from ..schedule import oncalendar_expr, schedule_lines, upcoming, zones
from ..schedulers import access, systemctl
from ..system.managed_files import is_missing
from ..system.timespan import timespan_text
from .context import HostContext
from .finding import by_root, fail, ok, place_of, warn
from .program import missing_module

# Directories that many programs share: their owners and modes are not ours to change.
_OF_THE_SYSTEM = tuple(
    map(Path, ("/root", "/etc", "/usr", "/boot", "/dev", "/proc", "/run", "/var/log", "/var/lib"))
)
_DEPTH_OF_SHARED = 2  # parts of /srv
_ZONEINFO = Path("/usr/share/zoneinfo")


def check_config(config: Config) -> Problem:
    """The files that were read."""
    if config.warnings:
        return warn(
            "config",
            "; ".join(config.warnings),
            msg(
                "{show} (it says which value comes from where)",
                show=command("dify-job", "config", "show"),
            ),
        )
    if config.path is None:
        where = f"{config.files[0]}" if config.files else msg("the environment")
        return ok("config", msg("the one job, default, comes from {where}", where=where))
    more = len(config.files) - 1
    return ok("config", f"{config.path}" + (msg(" and {more} in config.d", more=more) if more else ""))


def check_key(context: HostContext) -> Problem:
    """Where the key is and who can read it."""
    job, key = context.job, context.key
    if key is None:
        text = msg(
            "{place} is (correctly) not readable by you, so the server check was skipped",
            place=job.key.file or job.key.encrypted,
        )
        return warn("key", text, command("dify-job", "doctor", job.name, needs_root=True))
    if isinstance(key, JobError):
        return fail("key", key.message, _new_key(context, key))
    if job.key.file is not None:
        seen = job.key.file.stat()
        return ok(
            "key",
            msg(
                "{file} (mode {value:04o}, {name_of})",
                file=job.key.file,
                value=seen.st_mode & 0o777,
                name_of=access.name_of(seen.st_uid),
            ),
        )
    if job.key.encrypted is not None:
        return ok("key", msg("{encrypted}, encrypted for this machine", encrypted=job.key.encrypted))
    if job.key.env is not None:
        return ok("key", msg("the variable {env}; install keeps it in a file", env=job.key.env))
    return ok("key", msg("{origin}; install keeps it in a file", origin=job.key.origin))


def _new_key(context: HostContext, error: JobError) -> str | None:
    """Puts the key where the job looks for it; a mode alone is mended by the error's own command."""
    if context.config.path is None or (isinstance(error.hint, Command) and error.hint.argv[0] == "chmod"):
        return error.hint
    encrypt = ("--encrypt",) if context.job.key.encrypted is not None else ()
    store = context.command("secret", "set", context.job.name, *encrypt)
    return msg("{command} ({hint})", command=store, hint=error.hint) if error.hint else store


def check_output(context: HostContext, account: access.Account) -> Problem | None:
    """The directories of output file and metrics; None where the result goes nowhere else."""
    directories = context.plan.writes
    for directory in directories:
        if is_missing(directory, stat.S_ISDIR):
            text = msg("the output directory {directory} does not exist", directory=directory)
            return fail("output", text, context.as_owner("mkdir", "-p", str(directory)))
        if (why := access.obstacle(directory, account, os.W_OK)) is not None:
            text = msg(
                "{name} cannot write to {directory}: {why}", name=account.name, directory=directory, why=why
            )
            fix = grant_access_command(directory, account, os.W_OK)
            if access.is_hidden(directory, account):
                key = "metrics" if directory == context.plan.figures else "output"
                fix = msg(
                    "edit {key} in {place_of}: another directory, below /srv for example",
                    key=key,
                    place_of=place_of(context.job, key),
                )
            other = msg(
                "set run_as in {place_of} to a user who can write there",
                place_of=place_of(context.job, "run_as"),
            )
            return fail("output", text, fix or other)
    if directories:
        return ok(
            "output",
            msg("{name} can write to {map}", name=account.name, map=", ".join(map(str, directories))),
        )
    return (
        ok("output", msg("{file}, below the state directory", file=context.job.output.file))
        if context.job.output.file
        else None
    )


def grant_access_command(path: Path, account: access.Account, need: int) -> str | None:
    """Return what opens a path to a user; None where nothing does without harm.

    A dynamic user who wants to write is another one at each run. Homes and the directories of the system stay
    as they are.
    """
    if account.uid is None and need == os.W_OK:
        return None
    for above in reversed(path.parents):
        if access.obstacle(above, account, os.X_OK) is not None:
            return None if _belongs_to_others(above) else command("chmod", "a+x", str(above), needs_root=True)
    if need == os.W_OK:
        shared = _belongs_to_others(path) or len(path.parts) <= _DEPTH_OF_SHARED
        return None if shared else command("chown", account.name, str(path), needs_root=True)
    return None if _belongs_to_others(path) else command("chmod", "a+r", str(path), needs_root=True)


def _belongs_to_others(path: Path) -> bool:
    return access.in_home(path) or any(path.is_relative_to(one) for one in _OF_THE_SYSTEM)


def check_notify(context: HostContext) -> Problem | None:
    """Whether somebody can be told; None where nobody is to be."""
    notify = context.job.notify
    if not notify.files:
        return ok("notify", msg("a healthchecks URL")) if notify.healthchecks else None
    for file in notify.files:
        try:
            read_urls(file)
        except JobError as error:
            if os.geteuid() == 0 or is_missing(file) or os.access(file, os.R_OK):
                return warn(
                    "notify",
                    msg("nobody will be told: {message}", message=error.message),
                    _addresses(context, file, error),
                )
    if missing_module(context, "apprise"):
        python = context.python or Path(sys.executable)
        of_python3 = ("python3", "-m", "pip", "--python", str(python))
        pip = of_python3 if missing_module(context, "pip") else (str(python), "-m", "pip")
        text = msg("nobody will be told: {python} has no apprise", python=python)
        return warn("notify", text, context.as_owner(*pip, "install", "apprise"))
    return ok("notify", msg("through apprise, by {map}", map=", ".join(map(str, notify.files))))


def _addresses(context: HostContext, file: Path, error: JobError) -> str | None:
    if not is_missing(file):
        return error.hint
    return msg(
        "{command} (and write one apprise URL a line there; or edit notify in {place})",
        command=context.as_owner("install", "-m", "600", "/dev/null", str(file)),
        place=place_of(context.job, "notify"),
    )


def check_schedule(context: HostContext) -> Problem:
    """Whether the times come at all, and what is odd about them."""
    times = context.job.times
    words = schedule_lines.in_words(times)
    key = next((kind for kind in SCHEDULE_KINDS if kind in context.job.origins), "every")
    edit = msg("edit {key} in {place_of}", key=key, place_of=place_of(context.job, key))
    try:
        upcoming.check(times, context.now)
        ticks = schedule_lines.ticks_of(times, by_cron=context.by_cron)
        runs = list(islice(upcoming.coming(times, context.now, by_cron=context.by_cron), 50))
    except JobError as error:
        return fail("schedule", error.message, msg("{edit}; {hint}", edit=edit, hint=error.hint))
    gap = min(((later - earlier).total_seconds() for earlier, later in pairwise(runs)), default=None)
    if gap is not None and times.jitter >= gap:
        return warn(
            "schedule",
            msg(
                "jitter {timespan_text} is not less than the {timespan_text2} between two runs: they come "
                "in no order, or collapse into one",
                timespan_text=timespan_text(times.jitter),
                timespan_text2=timespan_text(gap),
            ),
            msg("make jitter less in {place_of}", place_of=place_of(context.job, "jitter")),
        )
    if changes := upcoming.clock_warnings(times, context.now, by_cron=context.by_cron):
        fix = msg(
            "{edit} to a time outside that hour; {command} shows the coming runs",
            edit=edit,
            command=command("dify-job", "next", context.job.name),
        )
        return warn("schedule", msg("{words}: {changes}", words=words, changes="; ".join(changes)), fix)
    default = "" if times == context.job.schedule else msg(", the default")
    why = f"; {ticks.why}" if ticks.why else ""
    return ok("schedule", msg("{words}{default}{why}", words=words, default=default, why=why))


def check_zone(job: Job, now: datetime) -> Problem:
    """The zone data that systemd and cron go by, which need not be Python's."""
    names = sorted(_zones(job))
    for name in names:
        if not (_ZONEINFO / name).is_file() and name != "UTC":
            text = msg("{zoneinfo} has no {name}, by which the job is timed", zoneinfo=_ZONEINFO, name=name)
            return fail("zone", text, by_root("apt-get install tzdata"))
    localtime = Path("/etc/localtime")
    if localtime.is_symlink() and not localtime.exists():
        text = msg(
            "/etc/localtime points to {readlink}, which is not there: the clock is UTC",
            readlink=localtime.readlink(),
        )
        return warn("zone", text, _set_zone())
    zone_names = (
        ", ".join(names) if names else msg("{local_name}, the machine's own", local_name=zones.local_name())
    )
    return ok("zone", msg("{zones}; here it is {now:%H:%M %Z}", zones=zone_names, now=now.astimezone()))


def _set_zone() -> str:
    """UTC, which is what the clock is already; which zone is meant, nobody can know."""
    if not (_ZONEINFO / "UTC").exists():
        return by_root("apt-get install tzdata")
    by_hand = f"ln -sfn {_ZONEINFO}/UTC /etc/localtime"
    set_zone = by_root("timedatectl set-timezone UTC" if systemctl.is_booted() else by_hand)
    return msg("{command} (or the zone that is meant)", command=set_zone)


def _zones(job: Job) -> Iterator[str]:
    if job.schedule.timezone:
        yield job.schedule.timezone
    for line in job.schedule.calendar:
        try:
            if (zone := oncalendar_expr.split_zone(line)[1]) is not None:
                yield zone
        except JobError:
            continue  # check_schedule tells it

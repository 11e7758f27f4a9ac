"""Check the settings of a job on this machine: key, user, output, notifications, schedule, time zone."""

import os
import stat
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

from ..config.model import Job, constant_parent
from ..config.schema import SCHEDULE_KINDS
from ..config.secrets import read_urls
from ..exit_codes import Outcome
from ..messages.command import Command, command
from ..messages.errors import JobError
from ..messages.message import has_value, join, msg
from ..schedule import oncalendar_expr, schedule_lines, upcoming, zones
from ..schedulers import access, systemctl
from ..schedulers.cron import UserCrontab
from ..system.packages import install_command
from ..system.paths import is_missing
from ..system.timespan import timespan_text
from .context import HostContext
from .finding import Finding, fail, location_of, ok, warn
from .program import missing_module
from .user_access import grant_access_command

_ZONEINFO = Path("/usr/share/zoneinfo")


def check_config(context: HostContext) -> Finding:
    """Check the configuration files that were read."""
    config = context.config
    if config.warnings:
        show = command("dify-job", "config", "show")
        return warn(
            join("; ", config.warnings), msg("to see each value and its source, run: {show}", show=show)
        )
    if config.path is None:
        where = str(config.files[0]) if config.files else msg("the environment variables")
        return ok(msg("the configuration comes from {where}", where=where))
    if more := len(config.files) - 1:
        return ok(
            msg("the configuration is {path}; further files in config.d: {more}", path=config.path, more=more)
        )
    return ok(str(config.path))


def check_key(context: HostContext) -> Finding:
    """Check that the key can be read and is private. Raises JobError."""
    job, key = context.job, context.key
    place = job.key.file or job.key.encrypted
    if key is None:
        text = msg(
            "you have no permission to read the API key file {place}. That is correct, but dify-job "
            "could not check the server",
            place=place,
        )
        return warn(text, command("dify-job", "doctor", job.name, needs_root=True))
    if isinstance(key, JobError):
        raise key
    if job.key.file is not None:
        seen = job.key.file.stat()
        owner = access.user_name(seen.st_uid)
        return ok(
            msg(
                "the API key is in {file} (mode {mode:04o}, owner {owner})",
                file=place,
                mode=seen.st_mode & 0o777,
                owner=owner,
            )
        )
    if job.key.encrypted is not None:
        return ok(msg("the API key is in {file}, encrypted for this machine", file=place))
    origin = (
        job.key.origin if job.key.env is None else msg("the environment variable {name}", name=job.key.env)
    )
    return ok(msg("the API key comes from {origin}; dify-job install stores it in a file", origin=origin))


def store_key_command(context: HostContext, error: JobError) -> str | None:
    """Return the command that stores a key for the job; for a wrong mode, the error's hint is the fix."""
    if context.config.path is None or (isinstance(error.hint, Command) and error.hint.argv[0] == "chmod"):
        return error.hint
    encrypt = ("--encrypt",) if context.job.key.encrypted is not None else ()
    store = context.command("secret", "set", context.job.name, *encrypt)
    if error.hint is None or error.hint == store or has_value(error.hint, store):
        return error.hint or store
    return msg("{hint}; to store the API key again, run: {command}", command=store, hint=error.hint)


def check_run_as(context: HostContext) -> Finding | None:
    """Check that the user that the job runs as exists, and that the scheduler can start it as that user."""
    run_as = context.job.run_as
    if context.system and isinstance(context.scheduler, UserCrontab) and run_as not in (None, "root"):
        return fail(
            msg(
                "root's crontab starts all jobs as root, so it cannot start the job as {run_as}",
                run_as=run_as,
            ),
            msg(
                "remove run_as in {place}; or log in as {run_as}, and install the job from there: {command}",
                place=location_of(context.job, "run_as"),
                run_as=run_as,
                command=command("dify-job", "install", context.job.name),
            ),
        )
    if context.account is not None:
        return None
    return fail(
        msg("run_as is {run_as}, but this machine has no such user", run_as=run_as),
        msg(
            "edit run_as in {place}, or create the user: {command}",
            command=command("useradd", "--system", str(run_as), needs_root=True),
            place=location_of(context.job, "run_as"),
        ),
    )


def check_output_template(context: HostContext) -> None:
    """Check that the name of the output file can be rendered. Raises JobError."""
    context.unit_templates.output_file()


def check_directory(context: HostContext, setting: str) -> Finding | None:
    """Check that the directory of a file that a run writes exists.

    Args:
        context: The job and the host.
        setting: The key that names the file: `output`, `metrics` or `log_file`.
    """
    job, output = context.job, context.job.output.file
    directories = {
        "output": constant_parent(output) if output is not None else None,
        "metrics": job.metrics.textfile.parent if job.metrics.textfile is not None else None,
        "log_file": job.log_file.parent if job.log_file is not None else None,
    }
    directory = directories[setting]
    if directory is None or not is_missing(directory, stat.S_ISDIR):
        return None
    text = msg("the directory {directory} does not exist", directory=directory)
    found = warn if setting == "log_file" else fail  # a run continues without its log
    return found(text, context.as_owner("mkdir", "-p", str(directory)), Outcome.CANNOT_WRITE)


def check_output(context: HostContext) -> Finding | None:
    """Check that the job's user can write its output and metrics; None if it has neither."""
    account, directories = context.account, context.spec.writes
    if account is None:
        return None
    for directory in directories:
        if (why := access.access_error(directory, account, os.W_OK)) is None:
            continue
        key = "metrics" if directory == context.spec.metrics_directory else "output"
        place = location_of(context.job, key)
        if access.is_hidden(directory, account):
            fix: str = msg(
                'edit the setting "{key}" in {place}: choose another directory, such as one below /srv',
                key=key,
                place=place,
            )
        elif context.system:
            fix = grant_access_command(directory, account, os.W_OK) or msg(
                "set run_as in {place} to a user who can write to the directory",
                place=location_of(context.job, "run_as"),
            )
        else:
            fix = grant_access_command(directory, account, os.W_OK) or msg(
                'edit the setting "{key}" in {place}: choose a directory that {user} can write to',
                key=key,
                place=place,
                user=account.name,
            )
        text = msg(
            "{user} cannot write to {directory}: {why}", user=account.name, directory=directory, why=why
        )
        return fail(text, fix, Outcome.CANNOT_WRITE)
    if directories:
        where = join(", ", map(str, directories))
        return ok(msg("{user} can write to {directories}", user=account.name, directories=where))
    if context.job.output.file:
        return ok(msg("the output file is {file} in the state directory", file=context.job.output.file))
    return None


def check_notify(context: HostContext) -> Finding | None:
    """Check that notifications can be sent; None if the job has none."""
    notify = context.job.notify
    for file in notify.files:
        try:
            read_urls(file)
        except JobError as error:
            if os.geteuid() != 0 and not is_missing(file) and not os.access(file, os.R_OK):
                continue
            text = msg("nobody will be notified of the job's runs: {message}", message=error.message)
            return warn(text, _addresses(context, file, error), error.outcome)
    return None


def check_apprise(context: HostContext) -> Finding | None:
    """Check that the job's interpreter has the library that sends notifications."""
    notify = context.job.notify
    if not notify.files:
        return ok(msg("dify-job pings the healthchecks URL at each run")) if notify.healthchecks else None
    if missing_module(context, "apprise"):
        python = context.python or Path(sys.executable)
        of_python3 = ("python3", "-m", "pip", "--python", str(python))
        pip = of_python3 if missing_module(context, "pip") else (str(python), "-m", "pip")
        text = msg(
            "nobody will be notified: the Python environment of {python} does not contain apprise",
            python=python,
        )
        return warn(text, context.as_owner(*pip, "install", "apprise"))
    return ok(
        msg(
            "Apprise sends the notifications to the URLs in {files}", files=join(", ", map(str, notify.files))
        )
    )


def _addresses(context: HostContext, file: Path, error: JobError) -> str | None:
    if not is_missing(file):
        return error.hint
    return msg(
        'edit the setting "notify" in {place}, or write one Apprise URL per line into {file}; '
        "to create this file, run: {command}",
        file=file,
        command=context.as_owner("install", "-m", "600", "/dev/null", str(file)),
        place=location_of(context.job, "notify"),
    )


def check_times(context: HostContext) -> None:
    """Check that the schedule has a time in the future. Raises JobError."""
    upcoming.check(context.job.times, context.now)


def check_records(context: HostContext) -> Finding | None:
    """Check that a job stores state if its schedule needs the record of the last run. Raises JobError."""
    job = context.job
    converted = schedule_lines.lines_for(job.times, by_cron=context.by_cron)
    if not converted.if_due or job.state != "none":
        return None
    text = msg(
        'job {name} has state = "none", but its schedule needs a record of the last run: {why}',
        name=job.name,
        why=converted.why,
    )
    return fail(text, msg('remove state = "none" from {place}', place=location_of(job, "state")))


def check_schedule(context: HostContext) -> Finding:
    """Check that the scheduler can follow the schedule, and warn about surprises. Raises JobError."""
    job, times, by_cron = context.job, context.job.times, context.by_cron
    words = schedule_lines.schedule_text(times)
    converted = schedule_lines.lines_for(times, by_cron=by_cron)
    runs = list(islice(upcoming.run_times(times, context.now, by_cron=by_cron), 50))
    gap = min(((later - earlier).total_seconds() for earlier, later in pairwise(runs)), default=None)
    if gap is not None and times.jitter >= gap:
        return warn(
            msg(
                "the setting jitter is {jitter}, but two runs can be only {gap} apart, so a run can "
                "start before an earlier one, or at the same time",
                jitter=timespan_text(times.jitter),
                gap=timespan_text(gap),
            ),
            msg("set a shorter jitter in {place}", place=location_of(job, "jitter")),
        )
    if changes := upcoming.clock_warnings(times, context.now, by_cron=by_cron):
        key = _schedule_key(job)
        fix = msg(
            'change the setting "{key}" in {place} to a time that the clock change does not affect; to see '
            "the upcoming runs, run: {command}",
            key=key,
            place=location_of(job, key),
            command=command("dify-job", "next", job.name),
        )
        return warn(msg("the schedule is {words}; {changes}", words=words, changes=join("; ", changes)), fix)
    if times == job.schedule:
        text = msg("the schedule is {words}", words=words)
    else:
        text = msg("the job has the default schedule: {words}", words=words)
    return ok(join("; ", (text, converted.why)) if converted.why else text)


def _schedule_key(job: Job) -> str:
    return next((kind for kind in SCHEDULE_KINDS if kind in job.origins), "every")


def edit_schedule(context: HostContext, error: JobError) -> str:
    """Return how a person fixes a mistake in the schedule."""
    return context.edit(error, _schedule_key(context.job))


def check_zone(context: HostContext) -> Finding:
    """Check the time zone data of the system, which can differ from Python's."""
    names = sorted(_zones(context.job))
    tzdata = install_command("tzdata")
    for name in names:
        if not (_ZONEINFO / name).is_file() and name != "UTC":
            return fail(
                msg("the job's time zone {name} is missing in {zoneinfo}", zoneinfo=_ZONEINFO, name=name),
                tzdata,
            )
    localtime = Path("/etc/localtime")
    if localtime.is_symlink() and not localtime.exists():
        text = msg(
            "the system clock uses UTC, because /etc/localtime points to {target}, which does not exist",
            target=localtime.readlink(),
        )
        if not (_ZONEINFO / "UTC").exists():
            return warn(text, tzdata)
        # The system clock already uses UTC, and dify-job cannot know the intended zone.
        by_hand = ("ln", "-sfn", str(_ZONEINFO / "UTC"), "/etc/localtime")
        words = ("timedatectl", "set-timezone", "UTC") if systemctl.is_booted() else by_hand
        return warn(
            text,
            msg(
                "set this machine's time zone; to set UTC, run: {command}",
                command=command(*words, needs_root=True),
            ),
        )
    own = msg("{zone}, the time zone of this machine", zone=zones.local_name())
    zone_names = join(", ", names) if names else own
    return ok(
        msg(
            "the schedule uses {zones}; this machine's time is {now:%H:%M %Z}",
            zones=zone_names,
            now=context.now.astimezone(zones.zone_of(None)),
        )
    )


def _zones(job: Job) -> Iterator[str]:
    if job.schedule.timezone:
        yield job.schedule.timezone
    for line in job.schedule.calendar:
        try:
            if (zone := oncalendar_expr.split_zone(line)[1]) is not None:
                yield zone
        except JobError:
            continue  # check_times reports it

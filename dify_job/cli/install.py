"""`dify-job install`: bring the host to the configuration; from there the system does the scheduling."""

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click

from ..config import managed
from ..config.loader import load_config, pick_all
from ..config.model import Config, Job, ScheduleConfig
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedule import schedule_lines, upcoming
from ..schedulers import access, installation
from ..schedulers.backend import Backend, InstallOptions, InstallResult, Scope
from ..schedulers.detect import chosen_backend, chosen_scope, config_place
from ..schedulers.http_socket import HttpSocket, HttpSocketConfig
from ..schedulers.installation import PreparedJob
from ..schedulers.job_spec import JobSpec
from .common_options import scope_options, tick_of
from .http_options import http_options, http_socket_config, install_http_socket, remind_of_http_socket
from .options import Globals
from .output import echo, echo_data, echo_err
from .schedule_options import schedule_of_flags, schedule_options

_LINGER = Path("/var/lib/systemd/linger")


@click.command()
@click.argument("jobs", nargs=-1)
@schedule_options
@scope_options
@http_options
@click.option("--run-as", metavar="USER", help=msg("Instead of a dynamic user (systemd) or root (cron.d)."))
@click.option("--dry-run", is_flag=True, help=msg("Print the files whole, write nothing."))
@click.option("--diff", "as_diff", is_flag=True, help=msg("Print what would change, write nothing."))
@click.option("--check", is_flag=True, help=msg("Write nothing; exit 1 when the host is not as configured."))
@click.option("--prune", is_flag=True, help=msg("Also uninstall jobs that are no longer in this config."))
@click.option(
    "--start/--no-start", default=None, help=msg("Arm also what is paused / do not arm what is new.")
)
@click.option("--overwrite-edits", is_flag=True, help=msg("Replace files of ours that were edited by hand."))
@click.pass_context
def install(  # noqa: PLR0913 - one argument an option
    ctx: click.Context,
    /,
    *,
    jobs: tuple[str, ...],
    every: str | None,
    calendar: tuple[str, ...],
    cron: str | None,
    timezone: str | None,
    scope: str | None,
    backend: str,
    run_as: str | None,
    dry_run: bool,
    as_diff: bool,
    check: bool,
    prune: bool,
    start: bool | None,
    overwrite_edits: bool,
    http: bool,
    http_listen: str,
    http_token_file: Path | None,
) -> int:
    """Install the timers or crontab entries of jobs: all of the config, or those named.

    Nothing runs at once. Installing again changes what differs and nothing else.
    """
    options = ctx.ensure_object(Globals)
    where = chosen_scope(scope)
    scheduler = chosen_backend(backend, where)
    config = load_config(options.config_path, options.env_file)
    flags = schedule_of_flags(every, calendar, cron, timezone)
    now = datetime.now(UTC)
    chosen = [] if prune and not (jobs or config.names) else pick_all(config, jobs)
    ready = _prepared(config, chosen, flags, run_as, where)
    for each in ready:
        upcoming.check(each.plan.schedule, now)
    place = config_place(config, where)
    installed = [each.job for each in ready]
    door = http_socket_config(
        installed, scheduler, place, http=http, listen=http_listen, token_file=http_token_file
    )
    orphans = [] if config.broken_files else installation.orphans(scheduler, place, config.names)
    gone = orphans if prune else []
    if dry_run or as_diff or check:
        for one in gone:
            echo(msg("{job} is no longer in {place}, and would be uninstalled", job=one.job, place=place))
        differs = _show([*_compared(scheduler, ready, door)], dry_run=dry_run, as_diff=as_diff, check=check)
        return 1 if check and (differs or gone) else 0
    arm = False if start is None and config.auto_start is False else start
    changes = installation.bring(
        scheduler, ready, place, InstallOptions(start=arm, overwrite_edits=overwrite_edits)
    )
    for warning in config.warnings:
        echo_err(msg("dify-job: {warning}", warning=warning))
    for one in gone:
        installation.take_away(scheduler, [one])
        echo(msg("{job}: uninstalled, it is no longer in {place}", job=one.job, place=place))
    for job in [] if prune else [one.job for one in orphans]:
        echo(
            msg(
                "{job} is no longer in {place}, but still installed: {sudo}dify-job uninstall {job}",
                job=job,
                place=place,
                sudo=where.sudo,
            )
        )
    if door is not None:
        install_http_socket(door, where)
    else:
        remind_of_http_socket(scheduler)
    for change, each in zip(changes, ready, strict=True):
        _tell(scheduler, each, change, config, now)
    _tell_armed(changes, config, where.sudo)
    return 0


def _prepared(
    config: Config, jobs: Sequence[Job], flags: ScheduleConfig | None, run_as: str | None, scope: Scope
) -> list[PreparedJob]:
    if (flags is not None or run_as is not None) and len(jobs) != 1:
        raise JobError(
            Outcome.USAGE,
            msg("a schedule or user from flags is for one job"),
            msg("dify-job install JOB ..."),
        )
    return [installation.prepare(config, job, flags, run_as, scope) for job in jobs]


# Without writing


def _compared(
    scheduler: Backend, ready: Iterable[PreparedJob], door: HttpSocketConfig | None
) -> Iterator[tuple[Path, str, str]]:
    """Each file that is written: its path, its text now, and as it would be."""
    for each in ready:
        for file in each.managed_files:
            text = msg("(the API key)\n") if file.secret else file.content.decode()
            yield file.path, _old_text(file.path, secret=file.secret), text
        yield from scheduler.compared(each.plan)
    for artifact in HttpSocket(scheduler.scope).render(door) if door is not None else ():
        yield artifact.path, _old_text(artifact.path, secret=False), artifact.text


def _show(files: Iterable[tuple[Path, str, str]], *, dry_run: bool, as_diff: bool, check: bool) -> bool:
    """Print what is asked for; True where something differs."""
    differs = False
    for path, old, new in files:
        if dry_run:
            echo_data(f"# {path}\n{new}")
        if old == new:
            continue
        differs = True
        if as_diff:
            lines = difflib.unified_diff(
                old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), f"{path} (new)"
            )
            echo_data("".join(lines).rstrip("\n"))
        elif check and not dry_run:
            echo(msg("{path} {value}", path=path, value="differs" if old else msg("is missing")))
    return differs


def _old_text(path: Path, *, secret: bool) -> str:
    try:
        return msg("(the API key)\n") if secret and path.exists() else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


# Telling


def _tell(
    scheduler: Backend, ready: PreparedJob, change: InstallResult, config: Config, now: datetime
) -> None:
    times = ready.plan.schedule
    done = "installed" if change.changed else "unchanged"
    default = "" if ready.job.schedule.says_when else msg(", the default")
    armed = "armed" if change.enabled else msg("not armed")
    echo(
        msg(
            "{job}: {done}, {in_words}{default}, {armed}",
            job=change.job,
            done=done,
            in_words=schedule_lines.in_words(times),
            default=default,
            armed=armed,
        )
    )
    for note in (*change.notes, *_notes(scheduler, ready, config, now)):
        echo(msg("  {note}", note=note))
    if change.enabled:
        last = tick_of(scheduler.scope.base / change.job)
        coming = islice(upcoming.coming(times, now, by_cron=scheduler.by_cron, last=last), 3)
        runs = ", ".join(f"{at:%Y-%m-%d %H:%M:%S %Z}" for at in coming)
        echo(msg("  next runs  {runs}", runs=runs))
    for line in _commands(scheduler, ready.plan):
        echo(msg("  {line}", line=line))


def _tell_armed(changes: Sequence[InstallResult], config: Config, by: str) -> None:
    unarmed = [change for change in changes if not change.enabled]
    if unarmed and config.auto_start is False:
        echo(
            msg(
                "not armed, because AUTO_START_SCHEDULER is false: {by}dify-job resume {job}",
                by=by,
                job=unarmed[0].job,
            )
        )
    elif len(changes) > 1:
        echo(msg("{value} of {len} armed", value=len(changes) - len(unarmed), len=len(changes)))
    elif unarmed:
        job = unarmed[0].job
        commands = unarmed[0].arm or (msg("dify-job resume {job}", job=job),)
        arm = " && ".join(f"{by}{command.removeprefix(by)}" for command in commands)
        echo(msg("{job} is not armed: {arm}", job=job, arm=arm))
    elif changes:
        echo(msg("{job} is armed", job=changes[0].job))


def _notes(scheduler: Backend, ready: PreparedJob, config: Config, now: datetime) -> list[str]:
    by_cron = scheduler.by_cron
    ticks = schedule_lines.ticks_of(ready.plan.schedule, by_cron=by_cron)
    notes = [ticks.why] if ticks.why else []
    notes += scheduler.lacks(ready.plan)
    notes += [msg("the key is kept in {path}", path=file.path) for file in ready.managed_files if file.secret]
    if config.path is None:
        notes.append(
            msg(
                "the job is kept in {path}",
                path=managed.job_file(ready.plan.config_path, ready.job, whole=True).path,
            )
        )
    notes += upcoming.clock_warnings(ready.plan.schedule, now, by_cron=by_cron)
    login = access.name_of(os.geteuid())
    if not scheduler.by_cron and scheduler.scope is Scope.USER and not (_LINGER / login).exists():
        notes.append(
            msg(
                "runs only while you are logged in; for always: sudo loginctl enable-linger {login}",
                login=login,
            )
        )
    return notes


def _commands(scheduler: Backend, plan: JobSpec) -> list[str]:
    job, by = plan.job, scheduler.scope.sudo
    user = " --user" if scheduler.scope is Scope.USER else ""
    service = f"dify-job-{job}.service"
    start = (
        msg("systemctl{user} start {service}", user=user, service=service)
        if scheduler.starts_by_hand(plan)
        else msg("dify-job run {job}", job=job)
    )
    lines = [msg("run now    {by}{start}", by=by, start=start)]
    if scheduler.by_cron:
        lines += [
            msg("watch      {by}dify-job logs {job} -f", by=by, job=job),
            msg("pause      {by}dify-job pause {job}", by=by, job=job),
        ]
    else:
        lines += [
            msg("watch      {by}journalctl{user} -fu {service}", by=by, user=user, service=service),
            msg("stop       {by}systemctl{user} stop {service}", by=by, user=user, service=service),
        ]
    return [*lines, msg("remove     {by}dify-job uninstall {job}", by=by, job=job)]

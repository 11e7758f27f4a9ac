"""`dify-job install`: bring the host to the configuration; from there the system does the scheduling."""

import difflib
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click

from .. import installing
from ..config import own
from ..config.model import Config, Job
from ..config.read import load_config
from ..errors import JobError
from ..exits import Outcome
from ..installing import Ready
from ..scheduling import preview, schedule
from ..scheduling.base import Change, Plan, Scope, Wishes
from ..scheduling.cron import Cron
from ..scheduling.doorway import Door, Doorway
from ..scheduling.host import Wing, chosen_backend, chosen_scope, config_place
from ..scheduling.systemd import Systemd
from .door import door_of, http_options, open_door, remind_of_door
from .options import Globals
from .output import put, put_data, say
from .scopes import jobs_named, scope_options, sudo
from .times import schedule_of_flags, schedule_options

_LINGER = Path("/var/lib/systemd/linger")


@click.command()
@click.argument("jobs", nargs=-1)
@schedule_options
@scope_options
@http_options
@click.option("--run-as", metavar="USER", help="Instead of a dynamic user (systemd) or root (cron.d).")
@click.option("--dry-run", is_flag=True, help="Print the files whole, write nothing.")
@click.option("--diff", "as_diff", is_flag=True, help="Print what would change, write nothing.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the host is not as configured.")
@click.option("--prune", is_flag=True, help="Also uninstall jobs that are no longer in this config.")
@click.option("--start/--no-start", default=None, help="Arm also what is paused / do not arm what is new.")
@click.option("--overwrite-edits", is_flag=True, help="Replace files of ours that were edited by hand.")
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
    wing = chosen_backend(backend, where)
    config = load_config(options.config_path, options.env_file)
    flags = schedule_of_flags(every, calendar, cron, timezone)
    chosen = jobs_named(config, jobs)
    if (flags is not None or run_as is not None) and len(chosen) != 1:
        raise JobError(
            Outcome.USAGE, "a schedule or user from flags is for one job", "dify-job install JOB ..."
        )
    ready = [installing.prepare(config, job, flags, run_as, where) for job in chosen]
    now = datetime.now(UTC)
    for each in ready:
        preview.check(each.plan.schedule, now)
    place = config_place(config, where)
    installed = [each.job for each in ready]
    door = door_of(installed, wing, place, http=http, listen=http_listen, token_file=http_token_file)
    if dry_run or as_diff or check:
        gone = installing.orphans(wing, place, config.jobs) if prune else []
        for one in gone:
            put(f"{one.job} is no longer in {place}, and would be uninstalled")
        differs = _show(wing, ready, door, dry_run=dry_run, as_diff=as_diff, check=check)
        return 1 if check and (differs or gone) else 0
    arm = False if start is None and config.auto_start is False else start
    wishes = Wishes(start=arm, overwrite_edits=overwrite_edits)
    changes = installing.bring(wing, ready, place, wishes)
    for warning in config.warnings:
        say(f"dify-job: {warning}")
    for one in installing.orphans(wing, place, config.jobs) if prune else []:
        installing.take_away(wing, [one])
        put(f"{one.job}: uninstalled, it is no longer in {place}")
    if door is not None:
        open_door(door, where)
    else:
        remind_of_door(wing)
    _tell(wing, ready, changes, config, now)
    return 0


# Without writing


def _show(
    wing: Wing, ready: Iterable[Ready], door: Door | None, *, dry_run: bool, as_diff: bool, check: bool
) -> bool:
    """Print what is asked for; True where something differs."""
    pairs: list[tuple[Path, str, str]] = []
    for each in ready:
        for file in each.own:
            text = "(the API key)\n" if file.secret else file.content.decode()
            pairs.append((file.path, _old_text(file.path, secret=file.secret), text))
        pairs += wing.compared(each.plan)
    if door is not None:
        pairs += [(a.path, _old_text(a.path, secret=False), a.text) for a in Doorway(wing.scope).render(door)]
    differs = False
    for path, old, new in pairs:
        if dry_run:
            put_data(f"# {path}\n{new}")
        if old == new:
            continue
        differs = True
        if as_diff:
            lines = difflib.unified_diff(
                old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), f"{path} (new)"
            )
            put_data("".join(lines).rstrip("\n"))
        elif check and not dry_run:
            put(f"{path} {'differs' if old else 'is missing'}")
    return differs


def _old_text(path: Path, *, secret: bool) -> str:
    try:
        return "(the API key)\n" if secret and path.exists() else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


# Telling


def _tell(
    wing: Wing, ready: Sequence[Ready], changes: Sequence[Change], config: Config, now: datetime
) -> None:
    plans = {each.plan.job: each for each in ready}
    for change in changes:
        each = plans[change.job]
        times = each.plan.schedule
        done = "installed" if change.changed else "unchanged"
        default = ", the default" if _has_no_schedule(each.job) else ""
        armed = "armed" if change.armed else "not armed"
        put(f"{change.job}: {done}, {schedule.in_words(times)}{default}, {armed}")
        for note in (*change.notes, *_notes(wing, each, config, now)):
            put(f"  {note}")
        if change.armed:
            coming = islice(preview.coming(times, now, by_cron=wing.name == "cron"), 3)
            put("  next runs  " + ", ".join(f"{at:%Y-%m-%d %H:%M:%S %Z}" for at in coming))
        for what, command in _commands(wing, each.plan):
            put(f"  {what:<9}  {command}")
    by = sudo(wing.scope)
    unarmed = [change for change in changes if not change.armed]
    if unarmed and config.auto_start is False:
        put(f"not armed, because AUTO_START_SCHEDULER is false: {by}dify-job resume {unarmed[0].job}")
    elif len(changes) > 1 or not unarmed:
        count = f"{len(changes) - len(unarmed)} of {len(changes)} armed"
        put(count if len(changes) > 1 else f"{changes[0].job} is armed")
    else:
        job = unarmed[0].job
        arm = unarmed[0].arm or (f"dify-job resume {job}",)
        put(f"{job} is not armed: {' && '.join(f'{by}{command.removeprefix(by)}' for command in arm)}")


def _has_no_schedule(job: Job) -> bool:
    return job.schedule.every is None and not job.schedule.calendar and job.schedule.cron is None


def _notes(wing: Wing, ready: Ready, config: Config, now: datetime) -> list[str]:
    by_cron = wing.name == "cron"
    ticks = schedule.ticks_of(ready.plan.schedule, by_cron=by_cron)
    notes = [ticks.why] if ticks.why else []
    notes += wing.lacks(ready.plan) if isinstance(wing, Systemd) else ()
    notes += [f"the key is kept in {file.path}" for file in ready.own if file.secret]
    if config.path is None:
        notes.append(f"the job is kept in {own.job_file(ready.plan.config_path, ready.job, whole=True).path}")
    notes += preview.clock_warnings(ready.plan.schedule, now, by_cron=by_cron)
    if wing.name == "systemd" and wing.scope is Scope.USER and not (_LINGER / _login()).exists():
        notes.append(f"runs only while you are logged in; for always: sudo loginctl enable-linger {_login()}")
    return notes


def _login() -> str:
    import pwd  # noqa: PLC0415 - for a user's own units

    return pwd.getpwuid(os.geteuid()).pw_name


def _commands(wing: Wing, plan: Plan) -> list[tuple[str, str]]:
    job, by = plan.job, sudo(wing.scope)
    if isinstance(wing, Cron):
        return [
            ("run now", f"{by}dify-job run {job}"),
            ("watch", f"{by}dify-job logs {job} -f"),
            ("pause", f"{by}dify-job pause {job}"),
            ("remove", f"{by}dify-job uninstall {job}"),
        ]
    user = " --user" if wing.scope is Scope.USER else ""
    by_hand = wing.starts_by_hand(plan)
    start = f"systemctl{user} start dify-job-{job}.service" if by_hand else f"dify-job run {job}"
    return [
        ("run now", f"{by}{start}"),
        ("watch", f"{by}journalctl{user} -fu dify-job-{job}.service"),
        ("stop", f"{by}systemctl{user} stop dify-job-{job}.service"),
        ("remove", f"{by}dify-job uninstall {job}"),
    ]

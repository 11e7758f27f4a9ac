"""`dify-job uninstall`, `pause` and `resume`: what is ours goes, or rests; nothing of others is touched."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from ..config.loader import pick
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedulers import installation
from ..schedulers.backend import Backend
from ..schedulers.detect import chosen_scope, installed_jobs, visible
from ..state.store import JobState, LockHeld, private_of
from ..system.transaction import locked, removing
from .common_options import check_not_roots, scope_options, try_config
from .http_options import remove_http_socket
from .options import Globals
from .output import echo


@click.command()
@click.argument("jobs", nargs=-1)
@scope_options
@click.option(
    "--purge", is_flag=True, help=msg("Also remove the state: last result, history, in-flight record.")
)
def uninstall(*, jobs: tuple[str, ...], scope: str | None, backend: str, purge: bool) -> None:
    """Remove the units or crontab entries of jobs: of those named, or of all that are installed.

    A run under way is stopped, in Dify too. It works without the configuration.
    """
    where = chosen_scope(scope)
    backends = visible(backend, where.value)
    there = installed_jobs(backends, jobs)
    absent = sorted(set(jobs) - {one.job for _, one in there})
    check_not_roots("uninstall", absent, scope, backend)
    for scheduler in backends:
        mine = [one for backend_of, one in there if backend_of is scheduler]
        if not mine:
            continue
        for change, files in installation.take_away(scheduler, mine):
            echo(
                msg(
                    "{job}: {value} ({name})",
                    job=change.job,
                    value="uninstalled" if change.changed else msg("left as it is"),
                    name=scheduler.name,
                )
            )
            for path in (*change.paths, *files):
                echo(msg("  removed {path}", path=path))
            for note in change.notes:
                echo(msg("  {note}", note=note))
    for job in absent:
        echo(msg("{job}: not installed", job=job))
    if backend != "cron":
        left = [one.job for _, one in installed_jobs(backends)]
        remove_http_socket(where, left, all_jobs=not jobs)
    if purge:
        base = where.base
        with locked(base), removing(base, msg("look at it: ls -la {base}", base=base)):
            busy = [
                f"{job} ({holder})"
                for job in sorted({one.job for _, one in there} | set(jobs))
                if (holder := _purge(job, base)) is not None
            ]
        if busy:
            raise JobError(
                Outcome.BUSY,
                msg("the state of {busy} is in use by a run, and was left", busy=", ".join(busy)),
                msg("give the same command when it has ended"),
            )


@click.command()
@click.argument("jobs", nargs=-1, required=True)
@scope_options
@click.pass_context
def pause(ctx: click.Context, /, *, jobs: tuple[str, ...], scope: str | None, backend: str) -> None:
    """Let jobs not run by themselves, across reboots, until they are resumed; a run under way goes on."""
    _set_paused(ctx.ensure_object(Globals), jobs, scope, backend, paused=True)


@click.command()
@click.argument("jobs", nargs=-1, required=True)
@scope_options
@click.pass_context
def resume(ctx: click.Context, /, *, jobs: tuple[str, ...], scope: str | None, backend: str) -> None:
    """Let paused jobs run by themselves again, from their next time on."""
    _set_paused(ctx.ensure_object(Globals), jobs, scope, backend, paused=False)


def _set_paused(
    options: Globals, jobs: Sequence[str], scope: str | None, backend: str, *, paused: bool
) -> None:
    there: dict[str, Backend] = {
        one.job: scheduler
        for scheduler, one in installed_jobs(visible(backend, chosen_scope(scope).value), tuple(jobs))
    }
    absent = [job for job in jobs if job not in there]
    check_not_roots("pause" if paused else "resume", absent, scope, backend)
    for job in absent:
        if (config := try_config(options)) is not None:
            pick(config, job)
        raise JobError(
            Outcome.CONFIG, msg("job {job} is not installed", job=job), msg("dify-job install {job}", job=job)
        )
    for job in jobs:
        change = there[job].pause(job, paused=paused)
        echo(
            msg(
                "{job}: {value}",
                job=job,
                value="paused" if paused else "armed" if change.enabled else "resumed",
            )
        )
        if not paused and not change.enabled:
            arm = " && ".join(change.arm)
            echo(msg("{job} is not armed: {arm}", job=job, arm=arm))


def _purge(job: str, base: Path) -> str | None:
    """Remove a job's state; where a run holds it, its holder: without the lock a second run could begin."""
    if (base / job).is_dir():
        with contextlib.closing(JobState(base / job)) as state:
            try:
                state.lock()
            except LockHeld as locked_by:
                return locked_by.holder
    for path in (base / job, private_of(base) / job):  # StateDirectory= of a dynamic user is a link
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            continue
        echo(msg("  removed {path}", path=path))
    with contextlib.suppress(OSError):  # with the last job
        private_of(base).rmdir()
    return None

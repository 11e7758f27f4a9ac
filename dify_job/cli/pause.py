"""`dify-job pause` and `dify-job resume`: disable or enable schedules, across reboots."""

from collections.abc import Sequence
from functools import partial

import click

from ..config.loader import pick
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..schedulers import installation
from ..schedulers.backend import Backend
from ..schedulers.detect import chosen_scope, installed_jobs, visible
from .jobs import check_names, check_not_system_jobs, config_or_none
from .options import Globals, all_option, pass_globals, scope_options
from .output import echo_info


@click.command()
@click.argument("jobs", nargs=-1)
@all_option
@scope_options
@pass_globals
def pause(
    options: Globals, /, *, jobs: tuple[str, ...], all_jobs: bool, scope: str | None, backend: str
) -> None:
    """Disable the schedule of one or more jobs, persistently. Does not affect a run in progress."""
    check_names("pause", jobs, all_jobs=all_jobs)
    _set_paused(options, jobs, scope, backend, paused=True)


@click.command()
@click.argument("jobs", nargs=-1)
@all_option
@scope_options
@pass_globals
def resume(
    options: Globals, /, *, jobs: tuple[str, ...], all_jobs: bool, scope: str | None, backend: str
) -> None:
    """Re-enable the schedule of paused jobs."""
    check_names("resume", jobs, all_jobs=all_jobs)
    _set_paused(options, jobs, scope, backend, paused=False)


def _set_paused(
    options: Globals, jobs: Sequence[str], scope: str | None, backend: str, *, paused: bool
) -> None:
    """Pause or resume the named jobs; without names, all installed jobs."""
    there = installed_jobs(visible(backend, chosen_scope(scope).value), tuple(jobs))
    absent = [job for job in jobs if job not in {one.job for _, one in there}]
    check_not_system_jobs("pause" if paused else "resume", absent, scope, backend)
    for job in absent:
        if (config := config_or_none(options)) is not None:
            pick(config, job)
        raise JobError(
            Outcome.CONFIG, msg("job {job} is not installed", job=job), command("dify-job", "install", job)
        )
    by_scheduler: dict[Backend, list[str]] = {}
    for scheduler, one in there:
        by_scheduler.setdefault(scheduler, []).append(one.job)
    for scheduler, names in by_scheduler.items():
        plan = installation.apply_plan(scheduler, partial(scheduler.plan_pause, names, paused=paused))
        for result in plan.results:
            if paused:
                echo_info(msg("{job}: paused", job=result.job))
            elif result.enabled:
                echo_info(msg("{job}: enabled", job=result.job))
            else:
                echo_info(
                    msg(
                        "{job}: resumed, but it is not enabled; to enable it, run: {commands}",
                        job=result.job,
                        commands=join(" && ", result.enable_commands),
                    )
                )

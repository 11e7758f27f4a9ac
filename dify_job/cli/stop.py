"""`dify-job stop`: stop the run in progress, whoever started it, in Dify too."""

import os
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..report.past_runs import find_job, state_of
from ..schedulers.detect import chosen_scope, find_jobs, visible
from ..schedulers.job_spec import unit_names
from ..state.reader import lock_holder, read_abandoned
from .jobs import check_not_system_jobs, config_or_none
from .options import Globals, pass_globals, scope_options
from .output import echo_info

_STOP_TIMEOUT = 45.0  # seconds, like TimeoutStopSec= of the units; a stop in Dify takes at most 20


@click.command()
@click.argument("jobs", nargs=-1, required=True)
@scope_options
@pass_globals
def stop(options: Globals, /, *, jobs: tuple[str, ...], scope: str | None, backend: str) -> None:
    """Stop the current runs of jobs, in Dify too; their schedules stay enabled.

    It stops runs that systemd, cron or a person started, and waits until they have ended. It fails if a run
    may still be in progress in Dify.
    """
    where = chosen_scope(scope)
    there, _ = find_jobs(visible(backend, where.value), jobs)
    config = config_or_none(options)
    installed = [one for _, one in there]
    states = {job: state_of(job, find_job(job, installed, config), config, scope) for job in jobs}
    known = {one.job for one in installed}
    unknown = [job for job in jobs if job not in known and not _holder(states[job])]
    check_not_system_jobs("stop", unknown, scope, backend)
    unsettled = []
    for job in jobs:
        services = [scheduler for scheduler, one in there if one.job == job and one.running]
        for scheduler in services:
            scheduler.manager.call("stop", unit_names(job)[:1])
        by_process = _stop_process(job, states[job])
        if read_abandoned(states[job], datetime.now(UTC)) is not None:
            unsettled.append(job)
            continue
        echo_info(
            msg("{job}: stopped", job=job)
            if services or by_process
            else msg("{job}: no run is in progress", job=job)
        )
    if unsettled:
        raise JobError(
            Outcome.UNKNOWN,
            msg(
                "no process waits for a run of {jobs}, but the run may still be in progress in Dify",
                jobs=", ".join(unsettled),
            ),
            msg("look for the run in the app's Logs in Dify, and stop it there"),
        )


def _holder(directory: Path) -> str | None:
    found = lock_holder(directory, datetime.now(UTC))
    return found[0] if found is not None else None


def _stop_process(job: str, directory: Path) -> bool:
    """End the process that holds the job's lock; return False if no process holds it.

    Raises:
        JobError: The process belongs to another user (denied) or does not end (busy).
    """
    holder = _holder(directory)
    words: Sequence[str] = holder.split() if holder else ()
    if holder is None or not words[-1].isdigit():
        return False
    try:
        os.kill(int(words[-1]), signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError:
        raise JobError(
            Outcome.DENIED,
            msg("the run of job {job} ({holder}) belongs to another user", job=job, holder=holder),
            command("dify-job", "stop", job, needs_root=True),
        ) from None
    until = time.monotonic() + _STOP_TIMEOUT
    while _holder(directory) == holder:
        if time.monotonic() > until:
            raise JobError(
                Outcome.BUSY,
                msg(
                    "dify-job asked the run of job {job} to stop, but the run has not ended yet ({holder})",
                    job=job,
                    holder=holder,
                ),
                command("dify-job", "status", job),
            )
        time.sleep(0.1)
    return True

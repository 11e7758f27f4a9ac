"""The original system's Python functions: run now, start and stop the schedule, query its status.

They use no daemon: `dify-job install` installs the schedule in the operating system, so it continues after
the calling program has ended and after a reboot.
"""

import asyncio
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..checks.registry import check_prepared
from ..config.loader import load_config, pick
from ..config.model import Config, Job, ScheduleConfig
from ..dify.event_queue import EventQueue
from ..exit_codes import Outcome
from ..messages.errors import JobError, no_thread
from ..messages.message import msg
from ..run.api import run_workflow
from ..run.result import Result, not_started
from ..run.run_spec import RunContext
from ..schedule import upcoming
from ..schedulers import installation
from ..schedulers.backend import Backend, InstallOptions
from ..schedulers.detect import chosen_backend, chosen_scope, find_jobs, visible
from ..schedulers.model import InstalledJob

_MAX_HOURS = 24 * 366


class SchedulerStatus(dict[str, Any]):
    """The original system's dict; its four values are attributes, too.

    running: the schedule is enabled. next_run_time: RFC 3339 with offset; None if unknown.
    """

    running: bool
    job_name: str
    next_run_time: str | None
    message: str

    def __init__(self, running: bool, job_name: str, next_run_time: str | None, message: str) -> None:
        """Make the dict.

        Args:
            running: Whether the schedule starts the job.
            job_name: The job.
            next_run_time: RFC 3339 with offset; None if unknown.
            message: In English.
        """
        super().__init__(running=running, job_name=job_name, next_run_time=next_run_time, message=message)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


async def manual_call_dify(
    job: str | None = None, inputs: Mapping[str, Any] | None = None, *, config: str | Path | None = None
) -> Result:
    """Run the workflow of a job once. Cancelling the task stops the run in Dify, too.

    Args:
        job: Its name; None for the only one.
        inputs: They go before those of the job.
        config: The configuration file; None for the usual one.

    Returns:
        The result, with success, message, response_data and call_time.
    """
    events = EventQueue()
    # Not a thread of the loop's pool: long runs would occupy it, and the loop resolves names with it.
    threads = ThreadPoolExecutor(1, "dify-job")
    context = RunContext(time.monotonic(), events)
    run = partial(run_workflow, job, inputs, config=config, context=context)
    try:
        call = asyncio.get_running_loop().run_in_executor(threads, run)
    except RuntimeError as error:
        return not_started(job or "", no_thread(error), context.began)
    threads.shutdown(wait=False)
    try:
        return await call
    except asyncio.CancelledError:
        events.cancel(signal.SIGTERM)
        raise


def start_scheduler(
    interval_hours: int = 1, job: str | None = None, *, config: str | Path | None = None
) -> SchedulerStatus:
    """Schedule a job every so many hours, across reboots; nothing runs at once.

    Args:
        interval_hours: A whole number from 1.
        job: Its name; None for the only one.
        config: The configuration file; None for the usual one.

    Raises:
        JobError: The job cannot be installed.
    """
    wanted, found = checked_hours(interval_hours), _config(config)
    chosen = pick(found, job)
    there, _ = _installed(chosen.name)
    scheduler = there[0] if there is not None else chosen_backend("auto", chosen_scope(None))
    every = ScheduleConfig(every=wanted * 3600.0)
    ready = installation.prepare(found, chosen, every, None, scheduler.scope)
    check_prepared(found, scheduler, [ready], datetime.now(UTC))
    options = InstallOptions(start=True)
    installation.apply_plan(scheduler, lambda: installation.plan_install(scheduler, [ready], options))
    return scheduler_status(chosen.name)


def stop_scheduler(job: str | None = None, *, config: str | Path | None = None) -> SchedulerStatus:
    """Disable the schedule of a job, across reboots; a run in progress goes on.

    Args:
        job: Its name; None for the only one.
        config: The configuration file; None for the usual one.

    Raises:
        JobError: There is no such job, or it cannot be changed.
    """
    name = job or pick(_config(config), None).name
    there, _ = _installed(name)
    if there is not None and (there[1].enabled is not False or not there[1].paused):
        scheduler = there[0]
        installation.apply_plan(scheduler, lambda: scheduler.plan_pause([name], paused=True))
    return scheduler_status(name)


def scheduler_status(job: str | None = None, *, config: str | Path | None = None) -> SchedulerStatus:
    """Return whether the schedule of a job is enabled, and when it runs next.

    Args:
        job: Its name; None for the only one.
        config: The configuration file; None for the usual one.

    Raises:
        JobError: There are several jobs, and none is named.
    """
    name = job or pick(_config(config), None).name
    there, scheduler_error = _installed(name)
    if there is None:
        message = msg("the job is not installed") if scheduler_error is None else scheduler_error.message
        return SchedulerStatus(False, name, None, message)
    scheduler, one = there
    if not one.enabled:
        return SchedulerStatus(False, name, None, msg("the job is installed, but its schedule is disabled"))
    at = one.next_run or _next_by_config(name, one, scheduler)
    when = at.astimezone().isoformat(timespec="seconds") if at is not None else None
    return SchedulerStatus(True, name, when, msg("the job is scheduled with {name}", name=scheduler.name))


def checked_hours(hours: int) -> int:
    """Return a number of hours.

    Args:
        hours: A whole number from 1.

    Raises:
        JobError: (rejected) The value is no such number.
    """
    if not isinstance(hours, int) or isinstance(hours, bool) or not 1 <= hours <= _MAX_HOURS:
        raise JobError(
            Outcome.REJECTED,
            msg(
                "interval_hours must be a whole number from 1 to {maximum}, but is {hours!r}",
                hours=hours,
                maximum=_MAX_HOURS,
            ),
            msg(
                "use a whole number of hours; for other schedules set every, cron or "
                "calendar in the configuration"
            ),
        )
    return hours


def _config(given: str | Path | None) -> Config:
    return load_config(Path(given) if given is not None else None)


def _installed(name: str) -> tuple[tuple[Backend, InstalledJob] | None, JobError | None]:
    """Return the caller's installation of a job, and why an installation may be hidden."""
    found, scheduler_error = find_jobs(visible("auto", chosen_scope(None).value), (name,))
    return (found[0] if found else None), scheduler_error


def _next_by_config(name: str, one: InstalledJob, scheduler: Backend) -> datetime | None:
    """Compute the next run from the configuration that the installation names, because cron reports none."""
    try:
        job: Job = pick(load_config(Path(one.source)), name)
    except JobError:
        return None
    times = job.times
    return next(upcoming.run_times(times, datetime.now(UTC), by_cron=scheduler.by_cron), None)

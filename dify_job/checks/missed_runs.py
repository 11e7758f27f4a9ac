"""Whether the scheduler starts a job at all: its last scheduled times against its records."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..config.model import Job
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Problem, command
from ..schedule.missed_runs import RecordedRun, missed_runs
from ..schedulers.backend import InstalledJob
from ..schedulers.job_spec import unit_names
from ..state.history import RunRecord
from ..state.reader import lock_holder, read_in_flight, read_tick
from .finding import warn

_FIRST_PROCESS = Path("/proc/1/stat")
_START_TIME = 19  # field 22 of proc(5), counted from the one after the name


def check_missed_runs(
    one: InstalledJob, job: Job | None, past: Sequence[RunRecord] | None, now: datetime
) -> Problem | None:
    """Return a warning where the last two scheduled runs left no record, else None.

    A pause, a fresh install and a machine that was off excuse what fell into them.

    Args:
        one: The job as it is installed.
        job: As it is configured; None where its config cannot be read.
        past: Its history; None where that cannot be read.
        now: The current time, aware.
    """
    if job is None or job.state == "none" or past is None:
        return None
    if one.since is None or not one.enabled or one.paused or one.running:
        return None
    if lock_holder(one.state, now) is not None:
        return None
    at = read_tick(one.state)
    try:
        missed = missed_runs(
            job.times,
            now,
            since=max(one.since, _booted_at(now)),
            runs=tuple(_recorded(one, past)),
            by_cron=one.by_cron,
            last=None if at is None else datetime.fromtimestamp(at, UTC),
            asleep=_suspended(),
        )
    except JobError:  # a schedule that the scheduler cannot follow has a finding of its own
        return None
    if not missed:
        return None
    first, second = (f"{each.astimezone():%Y-%m-%d %H:%M}" for each in missed)
    what = msg(
        "no run is on record for the last two scheduled times, {first} and {second}",
        first=first,
        second=second,
    )
    if one.by_cron:
        return warn(
            msg("{what}: cron does not start it", what=what),
            msg(
                "{command} (cron starts nothing for an account or password that has expired, nor at the "
                "expected time where the daemon has a TZ of its own)",
                command=command("journalctl", "-t", "CRON", "-n", "20", needs_root=True),
            ),
        )
    return warn(
        msg("{what}: systemd does not start it", what=what),
        command("systemctl", *one.scope.manager_options, "status", *unit_names(one.job)),
    )


def _recorded(one: InstalledJob, past: Sequence[RunRecord]) -> Iterator[RecordedRun]:
    """The starts that the history, the service manager or a killed process noted."""
    for run in past:
        if (began := run.began) is not None:
            yield RecordedRun(began, began + timedelta(seconds=run.duration or 0.0))
    ending = one.ending
    if ending is not None and (started := ending.began or ending.ended) is not None:
        yield RecordedRun(started, ending.ended or started)
    if (left := read_in_flight(one.state)) is not None:
        try:
            began = datetime.fromisoformat(left.started).astimezone(UTC)
        except ValueError:
            return
        yield RecordedRun(began, began)


def _booted_at(now: datetime) -> datetime:
    """When the machine or container was started, by the current clock: no later step of it counts.

    Args:
        now: the current time, aware.
    """
    return now - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - _start_of_first_process())


def _suspended() -> timedelta:
    """How long the machine slept since it was booted."""
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return timedelta(seconds=max(0.0, asleep))


def _start_of_first_process() -> float:
    """Seconds since the boot of the kernel: a container starts later than the machine that it is on."""
    try:
        fields = _FIRST_PROCESS.read_bytes().rpartition(b")")[2].split()
        return int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0

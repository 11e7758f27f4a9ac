"""Decisions of a scheduled start before the run: due, too late, changed since install, jitter."""

import contextlib
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ..config.model import Config, Job, Notify
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedule import due
from ..schedulers import job_spec
from ..state import history, request_file
from ..state.store import JobState, cannot_write
from ..system import managed_files
from ..system.user import config_home

_DAY = 86400
_CRON_D = Path("/etc/cron.d")
_SYSTEM_UNITS = Path("/etc/systemd/system")


def skip_reason(job: Job, state: JobState | None, *, scheduled: bool, if_due: bool) -> str | None:
    """Return why this start is skipped, or None after the scheduled time was recorded.

    Args:
        job: The job.
        state: The job's open state; None if it has none.
        scheduled: Whether a unit or a crontab entry started the command.
        if_due: Whether --if-due was given.

    Raises:
        JobError: (config, cannot-write) The job stores no record, or it cannot be written.
    """
    if scheduled and started_by_hand():
        return None
    if_due = if_due or (scheduled and under_systemd() and _has_finer_grid(job))
    if not if_due and (not scheduled or job.schedule.max_late is None):
        return None  # most runs return here, without importing the schedule package
    if state is not None and request_file.is_fresh(state):
        return None  # a person started it over HTTP
    times = job.times
    now = datetime.now(UTC)
    if not if_due:
        why = due.too_late(times, now, by_cron=not under_systemd())
        if why is not None and state is not None:
            _record_skip(state, now, why)
        return why
    if state is None:
        raise JobError(
            Outcome.CONFIG,
            msg('--if-due needs the record of the job\'s last run, but the job has state = "none"'),
            msg('remove state = "none" from the job, or leave out --if-due'),
        )
    last = state.last_due()
    decision = due.decide(times, now, None if last is None else datetime.fromtimestamp(last, UTC))
    runs = decision.due or (last is None and not scheduled)  # the first start by a person is a run
    try:
        if decision.new_last_due is not None:
            # Recorded before the run, so that a crash does not repeat it.
            state.put_last_due(decision.new_last_due.timestamp())
    except OSError as error:
        raise cannot_write(state.directory, error) from None
    return None if runs else decision.why


def _record_skip(state: JobState, now: datetime, why: str) -> None:
    """Record a skipped start, so that it does not count as a missed run."""
    at = now.astimezone().isoformat(timespec="milliseconds")
    run = history.RunRecord(
        call_time=at, outcome=Outcome.SKIPPED, exit_code=0, message=msg("the run was skipped: {why}", why=why)
    )
    with contextlib.suppress(OSError):
        state.append_history(run.as_json())


def started_by_hand(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True in a unit that `systemctl start` started, on systemd 252 and newer.

    Args:
        environ: The environment variables.
    """
    timer = environ.get("DIFY_JOB_TIMER")
    return timer is not None and environ.get("TRIGGER_UNIT") != timer


def _has_finer_grid(job: Job) -> bool:
    """Return True for an interval that does not divide a day: its timer fires more often than that."""
    every = job.schedule.every
    return every is not None and _DAY % every != 0


def under_systemd(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if a service manager started this process (systemd.exec(5)).

    Args:
        environ: The environment variables; cron sets no INVOCATION_ID, but busybox passes on its own.
    """
    return "INVOCATION_ID" in environ and not _is_below_crond()


def _is_below_crond() -> bool:
    """Return whether crond is a parent of this process, directly or above shells."""
    process = os.getppid()
    with contextlib.suppress(OSError, ValueError):
        while process > 1:
            before, _, after = Path(f"/proc/{process}/stat").read_bytes().rpartition(b") ")
            if before.endswith(b"(crond"):
                return True
            process = int(after.split()[1])
    return False


def notified_by_unit(job: Job) -> bool:
    """Return True in a unit with a failure unit, which notifies; a packager's own unit has none.

    Args:
        job: The job of the unit.
    """
    if job.notify == Notify() or not under_systemd():
        return False
    return job_spec.has_failure_unit(job.name)


def jitter(job: Job) -> float:
    """Return the seconds to wait before a run under cron; a timer waits itself (RandomizedDelaySec=).

    Args:
        job: The job.
    """
    if not job.schedule.jitter or under_systemd():
        return 0.0
    try:
        host = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        host = ""
    return due.jitter_of(job.schedule, job.name, host or socket.gethostname())


def drift(config: Config, job: Job) -> str | None:
    """Return a warning if the configuration changed since the job was installed, otherwise None.

    Only a configuration file newer than the installed files is compared with them, so that most runs load no
    further module.

    Args:
        config: The configuration of the run.
        job: The job.
    """
    if config.path is None:
        return None
    unit = f"dify-job-{job.name}.service"
    places = (config_home() / "systemd/user" / unit, _SYSTEM_UNITS / unit, _CRON_D / f"dify-job-{job.name}")
    changed = max(filter(None, map(_changed, config.files)), default=0.0)
    for place in places:
        if (written := _changed(place)) is not None and written < changed and _differs(place, config, job):
            return msg(
                "the configuration changed since job {name} was installed; to apply the "
                "changes, run: {command}",
                name=job.name,
                command=command("dify-job", "install", job.name),
            )
    return None


def _differs(place: Path, config: Config, job: Job) -> bool:
    mark = managed_files.file_status(place, job.name).header
    if mark is None or config.path is None or mark.source != str(config.path.absolute()):
        return False
    return mark.config != job_spec.job_spec(job, config.path.absolute()).fingerprint


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None

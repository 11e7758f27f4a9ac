"""Check the past runs of a job: the last outcome, and whether the scheduler starts the job at all."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..exit_codes import TABLE, Outcome, RetrySafety
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.unit_records import latest_run, why_not_started
from ..schedule.missed_runs import RecordedRun, missed_runs
from ..schedulers.job_spec import unit_names
from ..schedulers.model import InstalledJob
from ..state.history import RunRecord
from ..state.reader import lock_holder, read_in_flight, read_last, read_last_due
from .context import HostContext
from .finding import Finding, ok, warn

_FIRST_PROCESS = Path("/proc/1/stat")
_START_TIME = 19  # field 22 of proc(5), counted from the one after the name
_GOOD_OUTCOMES = frozenset({Outcome.SUCCEEDED.value, Outcome.SKIPPED.value})
# Results of a unit for which no process was started (systemd.exec(5), $SERVICE_RESULT).
_NO_PROCESS = {
    "start-limit-hit": msg("the unit was started too often in a short time"),
    "resources": msg("the machine did not have the resources to start the unit"),
}


def check_last_run(context: HostContext) -> Finding:
    """Check the last run, from its record or, without a record, from the service manager."""
    unit_result = context.installed_job.unit_result if context.installed_job is not None else None
    last = latest_run(read_last(context.state), context.history, unit_result, context.abandoned)
    if unit_result is not None and unit_result.result in _NO_PROCESS:
        text = msg(
            "systemd did not start the last run ({result}): {reason}",
            result=unit_result.result,
            reason=_NO_PROCESS[unit_result.result],
        )
        return warn(text, context.systemctl("status", unit_result.unit))
    if last is None:
        if context.state_is_hidden:
            return ok(msg("you have no permission to read the last run in {state}", state=context.state))
        return ok(msg("no run is on record yet"))
    if last.outcome in _GOOD_OUTCOMES:
        at = f"{last.began.astimezone():%Y-%m-%d %H:%M:%S %Z}" if last.began is not None else last.call_time
        return ok(msg("the last run ended with {outcome}, {time}", outcome=last.outcome, time=at))
    job = context.job.name
    if (why := why_not_started(last.exit_code)) is not None:
        fixes = {
            203: context.command("install", job),
            217: context.command("install", job, "--run-as", "USER"),
            243: context.command("secret", "set", job),
        }
        look = context.systemctl("cat", f"dify-job-{job}.service")
        return warn(
            msg("systemd could not start the last run: status {why}", why=why),
            fixes.get(last.exit_code or 0, look),
        )
    outcome = (
        last.outcome
        if last.exit_code is None
        else msg("{outcome} (exit {code})", outcome=last.outcome, code=last.exit_code)
    )
    retry = next((row.retry for row in TABLE if row.code == last.exit_code), None)
    if retry is RetrySafety.SAFE:
        text = msg(
            "the last run ended with {outcome}: {message}. You can safely start it again",
            outcome=outcome,
            message=last.message_text,
        )
    elif retry is RetrySafety.NOT_SAFE:
        text = msg(
            "the last run ended with {outcome}: {message}. Before you start it again, check the run in Dify",
            outcome=outcome,
            message=last.message_text,
        )
    else:
        text = msg("the last run ended with {outcome}: {message}", outcome=outcome, message=last.message_text)
    return warn(text, last.hint_text or command("dify-job", "logs", job))


def check_in_flight(context: HostContext) -> Finding | None:
    """Check for an earlier run with an unknown outcome."""
    abandoned = context.abandoned
    if abandoned is None:
        return None
    run = abandoned.workflow_run_id or msg("run ID unknown")
    text = msg(
        "the outcome of an earlier run is unknown ({run}). Before the next run starts, "
        "dify-job asks Dify for that outcome",
        run=run,
    )
    return warn(text, msg("look for the run in the app's Logs in Dify, or wait for the job's next run"))


def check_missed_runs(context: HostContext) -> Finding | None:
    """Check that the last two scheduled runs left a record.

    Scheduled times during a pause, before the install or while the machine was off do not count.
    """
    one, past, now = context.installed_job, context.history, context.now
    if one is None or past is None or context.job.state == "none":
        return None
    if one.since is None or not one.enabled or one.paused or one.running:
        return None
    if lock_holder(one.state, now) is not None:
        return None
    at = read_last_due(one.state)
    try:
        missed = missed_runs(
            context.job.times,
            now,
            since=max(one.since, _booted_at(now)),
            runs=tuple(_recorded_starts(one, past)),
            by_cron=one.by_cron,
            last=None if at is None else datetime.fromtimestamp(at, UTC),
            asleep=_suspended_time(),
        )
    except JobError:  # a schedule that the scheduler cannot follow has a finding of its own
        return None
    if not missed:
        return None
    first, second = (f"{each.astimezone():%Y-%m-%d %H:%M}" for each in missed)
    if one.by_cron:
        return warn(
            msg(
                "the last two scheduled runs ({first} and {second}) are not on record: cron did "
                "not start them",
                first=first,
                second=second,
            ),
            msg(
                "check that neither the user's account nor the password has expired, and that the cron "
                "daemon has no TZ of its own; to read cron's log, run: {command}",
                command=command("journalctl", "-t", "CRON", "-n", "20", needs_root=True),
            ),
        )
    return warn(
        msg(
            "the last two scheduled runs ({first} and {second}) are not on record: systemd did "
            "not start them",
            first=first,
            second=second,
        ),
        command("systemctl", *one.scope.manager_options, "status", *unit_names(one.job)),
    )


def _recorded_starts(one: InstalledJob, past: Sequence[RunRecord]) -> Iterator[RecordedRun]:
    """Yield the starts in the history, of the service manager and of a killed process."""
    for run in past:
        if (began := run.began) is not None:
            yield RecordedRun(began, began + timedelta(seconds=run.duration or 0.0))
    unit_result = one.unit_result
    if unit_result is not None and (started := unit_result.began or unit_result.ended) is not None:
        yield RecordedRun(started, unit_result.ended or started)
    abandoned = read_in_flight(one.state)
    if abandoned is not None and (began := abandoned.began) is not None:
        yield RecordedRun(began, began)


def _booted_at(now: datetime) -> datetime:
    """Return the boot time of the machine or container by the current clock, free of later clock steps.

    Args:
        now: the current time, aware.
    """
    return now - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - _start_of_first_process())


def _suspended_time() -> timedelta:
    """Return how long the machine was suspended since boot."""
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return timedelta(seconds=max(0.0, asleep))


def _start_of_first_process() -> float:
    """Return the start of PID 1 in seconds after the boot of the kernel; a container starts later."""
    try:
        fields = _FIRST_PROCESS.read_bytes().rpartition(b")")[2].split()
        return int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0

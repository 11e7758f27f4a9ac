"""`dify-job notify`: send a test message; also the command of the OnFailure= unit."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from .. import log
from ..config.loader import DEFAULT_BASE_URL, load_config, pick
from ..config.model import Job, KeySource, Notify
from ..config.schema import FIELDS
from ..exit_codes import Outcome, code_of
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.notifications import Notification, Notifier, is_notified_by_run, past_runs
from ..run.unit_records import record_of
from ..schedulers.model import Scope
from ..schedulers.systemctl import Manager
from ..state.directories import directory_of
from ..state.history import RunRecord
from ..state.store import JobState
from ..system.unit_result import UnitResult
from . import logging_setup
from .options import Globals, option, pass_globals
from .output import echo

_AS_INSTALLED = "DIFY_JOB_NOTIFY"
_JUST_NOW = 60.0  # seconds; a record that `run` stored within them belongs to the unit's last process


@click.command()
@click.argument("job", required=False)
@option("--unit", metavar="UNIT", help=msg("Report the end of a run of this unit (for OnFailure=)."))
@option("--user", is_flag=True, help=msg("Look for the unit in the user manager (with --unit)."))
@pass_globals
def notify(options: Globals, /, *, job: str | None, unit: str | None, user: bool) -> int:
    """Send a test message to every notification address of a job; exit 0 when all were reached.

    Healthchecks gets a log ping, which does not change the status of its check.
    """
    if unit is not None:
        return _handle(options, job or "", unit, user=user)
    chosen = pick(load_config(options.config_path, options.env_file), job)
    if chosen.notify == Notify():
        raise JobError(
            Outcome.CONFIG,
            msg("job {name} has no notify setting, so there is nothing to test", name=chosen.name),
            msg("add a table notify to the job; to see its settings, run: man dify-job.toml"),
        )
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    run = RunRecord(
        call_time=now,
        outcome="test",
        exit_code=None,
        message=msg("this is a test message; no run has failed"),
    )
    data = Notifier(chosen).test(Notification(chosen.name, run, console=chosen.console_url))
    for what, fault in data.items():
        echo(
            msg("{what}: sent", what=what)
            if fault is None
            else msg("{what} could not be sent: {reason}", what=what, reason=fault)
        )
    return 0 if all(fault is None for fault in data.values()) else 1


def _handle(options: Globals, name: str, unit: str, *, user: bool) -> int:
    """Store and notify of an outcome that `run` could not report; an error here is only logged."""
    unit_result = replace(UnitResult.of_environ(os.environ) or _asked(unit, user=user), user=user)
    directory = directory_of(name, options.config_path)
    past = past_runs(directory)
    run = _stored_by_run(past, unit_result)
    code = run.exit_code if run is not None else unit_result.exit_code
    if code is not None and is_notified_by_run(code):
        return 0
    job, fault = _job(options, name)
    logging_setup.set_up(options, job, scheduled=True)
    before = past[:-1]
    if run is None:
        run, before = _store_end(directory, unit_result, fault), past
    log.error(
        msg("the unit {unit} failed: {message}", unit=unit, message=run.message),
        outcome=run.outcome,
        exit_code=run.exit_code,
    )
    Notifier(job, invocation=unit_result.invocation).ended(run, before, directory=directory)
    return 0


def _asked(unit: str, *, user: bool) -> UnitResult:
    """Ask the manager how a unit ended: systemd before 251 passes no result to the failure unit."""
    shown = Manager(Scope.USER if user else Scope.SYSTEM).show([unit]).get(unit)
    return UnitResult.of_properties(unit, shown.properties if shown is not None else {})


def _job(options: Globals, name: str) -> tuple[Job, JobError | None]:
    """Return the configured job; if it cannot be read, one with the stored notifications, and the error."""
    try:
        return pick(load_config(options.config_path, options.env_file), name), None
    except JobError as error:
        try:
            data: Notify = FIELDS["notify"](json.loads(os.environ[_AS_INSTALLED]))
        except (KeyError, ValueError):
            raise error from None
        return Job(name=name, base_url=DEFAULT_BASE_URL, key=KeySource(), notify=data), error


def _stored_by_run(past: Sequence[RunRecord], unit_result: UnitResult) -> RunRecord | None:
    """Return the record that the run itself stored; any new failure if the manager gave no answer."""
    run = past[-1] if past else None
    if run is None or run.began is None or not run.exit_code:
        return None
    ago = (datetime.now(UTC) - run.began).total_seconds() - (run.duration or 0.0)
    return (
        run if ago < _JUST_NOW and (unit_result.unknown or run.exit_code == unit_result.exit_code) else None
    )


def _store_end(directory: Path, unit_result: UnitResult, fault: JobError | None) -> RunRecord:
    """Store and return the record of a run without a record of its own."""
    now = datetime.now().astimezone()
    try:
        with contextlib.closing(JobState(directory)) as state:
            run = record_of(unit_result, state.in_flight(), now)
            if fault is not None and run.exit_code == code_of(fault.outcome):
                run = run._replace(message=log.redact(fault.message), hint=fault.hint)
            state.append_history(run.as_json())
    except OSError as error:
        log.warning(
            msg("dify-job could not add the run to the job's history: {reason}", reason=error.strerror),
            path=str(directory),
        )
        return record_of(unit_result, None, now)
    return run

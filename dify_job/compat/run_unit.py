"""Start a job's service and wait for its end; the run has the user, sandbox and log of the unit."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..config.loader import load_config, pick
from ..config.model import Job
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.unit_records import record_of
from ..schedulers.detect import chosen_scope
from ..schedulers.job_spec import unit_names
from ..schedulers.model import Scope, Unit
from ..schedulers.systemctl import Manager
from ..state import request_file
from ..state.store import JobState, cannot_write
from ..system.unit_result import UnitResult

_GRACE = 120.0  # seconds: the unit's limit is the timeout plus a minute, and a stop takes 45 s


@dataclass(frozen=True, slots=True)
class CallResult:
    """The original's answer. call_time: RFC 3339."""

    success: bool
    message: str
    response_data: dict[str, Any] | None
    call_time: str


def call(name: str, config: Path) -> CallResult:
    """Run a job once, now, in its own service.

    Args:
        name: The job.
        config: The configuration that has it.

    Raises:
        JobError: (config, busy, cannot-write) It is not installed, or runs already.
    """
    call_time = datetime.now().astimezone().isoformat(timespec="milliseconds")
    job = pick(load_config(config), name)
    scope = chosen_scope(None)
    manager, (unit, _) = Manager(scope), unit_names(name)
    shown = manager.show([unit]).get(unit)
    if shown is None or not shown.loaded:
        raise JobError(
            Outcome.CONFIG,
            msg("job {name} is not installed with systemd, so the HTTP interface cannot start it", name=name),
            command("dify-job", "install", name),
        )
    if shown.active:
        raise _busy(name)
    with _requested(job, scope) as state:
        with contextlib.suppress(JobError):
            # Otherwise systemd rejects the sixth start in 10 s (StartLimitBurst=).
            manager.call("reset-failed", [unit])
        complaint = manager.run(unit, job.timeout + job.schedule.jitter + _GRACE)
        data = _take_result(state)
    if data is None:
        return _by_exit_code(unit, manager.show([unit]).get(unit), complaint, call_time)
    return CallResult(
        success=data.get("success") is True,
        message=str(data.get("message")),
        response_data=data.get("response_data"),
        call_time=str(data.get("call_time")),
    )


@contextlib.contextmanager
def _requested(job: Job, scope: Scope) -> Iterator[JobState | None]:
    """Write a request exclusively: the second of two concurrent callers gets `busy`."""
    if job.state == "none":
        yield None
        return
    directory = scope.base / job.name
    try:
        state = JobState(directory)
    except OSError as error:
        raise cannot_write(directory, error) from None
    with contextlib.closing(state), contextlib.ExitStack() as opened:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(job.name) from None
        try:
            request_file.write_request(state)
        except OSError as error:
            raise cannot_write(directory, error) from None
        opened.callback(_take_result, state)
        yield state


def _take_result(state: JobState | None) -> dict[str, Any] | None:
    with contextlib.suppress(OSError):
        return request_file.take_result(state) if state is not None else None
    return None


def _by_exit_code(unit: str, shown: Unit | None, complaint: str, call_time: str) -> CallResult:
    """Return the outcome of a run without an answer, from systemd."""
    unit_result = UnitResult.of_properties(unit, shown.properties if shown is not None else {})
    if not complaint and (unit_result.unknown or unit_result.exit_code == 0):
        return CallResult(True, msg("workflow succeeded"), None, call_time)
    if unit_result.unknown or unit_result.exit_code == 0:
        return CallResult(
            False, msg("the run ended without a result: {reason}", reason=complaint), None, call_time
        )
    run = record_of(unit_result, None, datetime.now(UTC))
    return CallResult(
        False,
        msg(
            "the run ended with {outcome}, but without a response from Dify: {message}",
            outcome=run.outcome,
            message=run.message,
        ),
        None,
        call_time,
    )


def _busy(name: str) -> JobError:
    return JobError(
        Outcome.BUSY,
        msg("another run of job {name} is in progress", name=name),
        msg("send the request again when that run has ended"),
    )

"""The result of `run`, for stdout, the state directory and the last line of the log."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import log
from ..dify.models import FailedNode, WorkflowRun
from ..exit_codes import Outcome, code_of
from ..messages.command import with_job
from ..messages.errors import JobError
from ..messages.message import Message, msg
from ..messages.sanitize import one_line
from ..state.history import RunRecord
from ..system.json_text import dumps
from .outcome import RunOutcome

_PRINTED = (
    "call_time", "schema", "job", "outcome", "exit_code", "attempts", "duration_s", "hint", "failed_node",
)  # fmt: skip
_MAX_TITLE = 100  # characters of a node's title or type


class Result(NamedTuple):
    """The result of a run of a job.

    Attributes:
        job: The name of the job.
        outcome: The outcome in the table of exit codes.
        exit_code: The exit status of the command.
        message: The description.
        hint: The fix, or None.
        call_time: The start, RFC 3339 with offset.
        attempts: The number of POSTs.
        duration: Seconds.
        run: The run; None where none was started.
    """

    job: str
    outcome: Outcome
    exit_code: int
    message: str
    hint: str | None
    call_time: str
    attempts: int
    duration: float
    run: WorkflowRun | None = None

    @property
    def success(self) -> bool:
        """True for exit status 0 only."""
        return self.exit_code == 0

    @property
    def response_data(self) -> dict[str, Any] | None:
        """Ids and data of the run in one form for all sources; None if none was started."""
        return response_of(self.run) if self.run is not None else None

    def as_json(self) -> dict[str, Any]:
        """Return the object for stdout; its first four keys are those of the original system."""
        record = self.record.as_json()
        first = {"success": self.success, "message": self.message, "response_data": self.response_data}
        return first | {key: record[key] for key in _PRINTED}

    @property
    def record(self) -> RunRecord:
        """The line of the history, without outputs, which can be large or private."""
        run = self.run or WorkflowRun()
        return RunRecord(
            call_time=self.call_time,
            outcome=self.outcome.value,
            exit_code=self.exit_code,
            message=self.message,
            duration=round(self.duration, 3),
            attempts=self.attempts,
            run_id=_redacted(run.run_id),
            tokens=run.total_tokens,
            steps=run.total_steps,
            hint=self.hint,
            failed_node=run.failed_node and run.failed_node._asdict(),
            job=self.job,
            task_id=_redacted(run.task_id),
            status=_redacted(run.status),
            elapsed_time=run.elapsed_time,
        )


def _redacted(text: str | None) -> str | None:
    return text and log.redact(text)  # a server can return the key as an id


def response_of(run: WorkflowRun) -> dict[str, Any]:
    """Return the `response_data` of a result in one form for all sources of the run."""
    data = run._asdict()
    del data["task_id"], data["failed_node"]
    data = {"id": data.pop("run_id")} | data | {"outputs": dict(run.outputs or {})}
    return {"task_id": run.task_id, "workflow_run_id": run.run_id, "data": data}


def now_as_text(ago: float = 0.0) -> str:
    """Return a call_time: RFC 3339 in local time.

    Args:
        ago: Seconds before now.
    """
    return (datetime.now().astimezone() - timedelta(seconds=ago)).isoformat(timespec="milliseconds")


def result_of(outcome: RunOutcome, job: str, *, call_time: str, attempts: int, duration: float) -> Result:
    """Return the result of an outcome, with texts of the server redacted, sanitised and truncated.

    Args:
        outcome: The outcome of the run.
        job: The name of the job.
        call_time: The start.
        attempts: The number of POSTs.
        duration: Seconds.
    """
    run = outcome.run
    if run is not None and run.failed_node is not None:
        node = run.failed_node
        printable = FailedNode(
            title=one_line(log.redact(node.title), _MAX_TITLE),
            type=one_line(log.redact(node.type), _MAX_TITLE),
            error=one_line(log.redact(node.error)) if node.error else None,
        )
        run = run._replace(failed_node=printable)
    return Result(
        job=job,
        outcome=outcome.outcome,
        exit_code=code_of(outcome.outcome, outcome.signum or 0),
        message=one_line(log.redact(outcome.message)),
        hint=one_line(log.redact(with_job(outcome.hint, job or "JOB"))) if outcome.hint else None,
        call_time=call_time,
        attempts=attempts,
        duration=duration,
        run=run,
    )


def not_started(job: str, why: RunOutcome | JobError, began: float) -> Result:
    """Return the result of a run that was not started.

    Args:
        job: The name of the job, if it is known.
        why: The reason.
        began: The start of the process, monotonic.
    """
    outcome = RunOutcome(why.outcome, why.message, why.hint) if isinstance(why, JobError) else why
    took = time.monotonic() - began
    return result_of(outcome, job, call_time=now_as_text(took), attempts=0, duration=took)


def exhausted_resource(error: BaseException) -> Message | None:
    """Return the exhausted resource that caused an error; None for other errors."""
    if isinstance(error, MemoryError):
        return msg("the process does not have enough memory")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return msg("the process has too many open files")
    return None


def job_error_of(error: Exception) -> JobError:
    """Return the JobError for an exception before a run, or for an internal error.

    Args:
        error: The exception. The caller shows the traceback of an internal error (outcome `bug`).
    """
    lacking = exhausted_resource(error)
    if lacking is not None:
        return JobError(
            Outcome.UNREACHABLE,
            msg("no run was started, because {lacking}", lacking=lacking),
            msg("raise the memory limit of the process: ulimit -v, or MemoryMax= of the unit")
            if isinstance(error, MemoryError)
            else msg("raise the limit of open files: ulimit -n, or LimitNOFILE= of the unit"),
        )
    return JobError(
        Outcome.BUG,
        msg("internal error of dify-job: {name}", name=type(error).__name__),
        msg(
            "report the error with the traceback in the log. Check the app's Logs in "
            "Dify, because a run may have been started"
        ),
    )


def log_result(result: Result, *, outputs: int = 0) -> None:
    """Log the final line of the run with all fields.

    Args:
        result: The result.
        outputs: The maximum size of logged outputs in bytes.
    """
    run = result.run or WorkflowRun()
    node = run.failed_node
    fields = {
        "outcome": result.outcome.value,
        "exit_code": result.exit_code,
        "elapsed_ms": round(result.duration * 1000),
        "attempt": result.attempts,
        "workflow_run_id": run.run_id,
        "task_id": run.task_id,
        "total_tokens": run.total_tokens,
        "failed_node": node and node.title,
        "failed_node_type": node and node.type,
        "failed_node_error": node and node.error,
        "hint": result.hint,
        "outputs": _cut(run.outputs, outputs) if run.outputs and outputs else None,
    }
    if not result.success:
        log.error(result.message, message_id="failed", line=None, **fields)
        return
    line, kind, seconds = None, "skipped", round(result.duration, 1)
    if result.outcome is not Outcome.SKIPPED:
        kind, line = "finished", msg("succeeded in {seconds} s", seconds=seconds)
        if run.total_tokens:
            tokens = run.total_tokens
            line = msg("succeeded in {seconds} s, {tokens:,} tokens", seconds=seconds, tokens=tokens)
    log.info(result.message, message_id=kind, line=line, **fields)


def _cut(outputs: Mapping[str, Any], limit: int) -> str:
    """Return outputs as JSON, redacted and then truncated to a number of bytes."""
    text = log.redact(dumps(outputs)).encode(errors="replace")
    return text.decode() if len(text) <= limit else text[:limit].decode(errors="ignore") + "…"

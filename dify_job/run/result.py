"""The result of `run`: what stdout, the state directory and the log's last line are made from."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .. import log
from ..dify.models import FailedNode, WorkflowRun
from ..exit_codes import Outcome, code_of
from ..messages.message import Message, msg
from ..messages.problem import about_job
from ..messages.sanitize import one_line
from ..system.json_text import dumps
from ..system.values import dataclass, replace
from .outcome import RunOutcome

SCHEMA = 1
_LONGEST_TITLE = 100  # characters of a node's title or type


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run of a job ended. call_time: RFC 3339 with offset; duration: seconds; attempts counts POSTs."""

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
        """True for exit status 0, and for nothing else."""
        return self.exit_code == 0

    @property
    def response_data(self) -> dict[str, Any] | None:
        """Ids and data of the run, in one shape whatever told it; None where none was started."""
        return response_of(self.run) if self.run is not None else None

    def as_json(self) -> dict[str, Any]:
        """The object on stdout: the first four keys are the original system's."""
        return {
            "success": self.success,
            "message": self.message,
            "response_data": self.response_data,
            "call_time": self.call_time,
            "schema": SCHEMA,
            "job": self.job,
            "outcome": self.outcome.value,
            "exit_code": self.exit_code,
            "attempts": self.attempts,
            "duration_s": round(self.duration, 3),
            "hint": self.hint,
            "failed_node": _node_as_json(self.run.failed_node) if self.run is not None else None,
        }

    def as_record(self) -> Mapping[str, Any]:
        """What the history keeps: the same without outputs, which can be large or private."""
        data = self.as_json()
        del data["response_data"]
        run = self.run or WorkflowRun()
        data |= {
            "workflow_run_id": run.run_id,
            "task_id": run.task_id,
            "status": run.status,
            "elapsed_time": run.elapsed_time,
            "total_tokens": run.total_tokens,
            "total_steps": run.total_steps,
        }
        return log.redacted(data)  # a server can send the key back as an id


def response_of(run: WorkflowRun) -> dict[str, Any]:
    """The `response_data` of a result: one shape whatever path the run came by."""
    return {
        "task_id": run.task_id,
        "workflow_run_id": run.run_id,
        "data": {
            "id": run.run_id,
            "workflow_id": run.workflow_id,
            "status": run.status,
            "outputs": dict(run.outputs or {}),
            "error": run.error,
            "elapsed_time": run.elapsed_time,
            "total_tokens": run.total_tokens,
            "total_steps": run.total_steps,
            "created_at": run.created_at,
            "finished_at": run.finished_at,
        },
    }


def _node_as_json(node: FailedNode | None) -> dict[str, Any] | None:
    return None if node is None else {"title": node.title, "type": node.type, "error": node.error}


def _printable(run: WorkflowRun | None) -> WorkflowRun | None:
    """The run with its failed node fit for one line: the words are the server's."""
    if run is None or run.failed_node is None:
        return run
    node = run.failed_node
    return replace(
        run,
        failed_node=FailedNode(
            title=one_line(log.redact(node.title), _LONGEST_TITLE),
            type=one_line(log.redact(node.type), _LONGEST_TITLE),
            error=one_line(log.redact(node.error)) if node.error else None,
        ),
    )


def now_as_text() -> str:
    """A call_time: RFC 3339 in local time."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def result_of(verdict: RunOutcome, job: str, *, call_time: str, attempts: int, duration: float) -> Result:
    """The result that a verdict becomes; a server's words can hold our key, colours and megabytes."""
    return Result(
        job=job,
        outcome=verdict.outcome,
        exit_code=code_of(verdict.outcome, verdict.signum or 0),
        message=one_line(log.redact(verdict.message)),
        hint=one_line(log.redact(about_job(verdict.hint, job))) if verdict.hint else None,
        call_time=call_time,
        attempts=attempts,
        duration=duration,
        run=_printable(verdict.run),
    )


def log_result(result: Result, *, outputs: int = 0) -> None:
    """The canonical line of the run: everything that a reader of the log needs, once.

    outputs: bytes of the outputs to log, none by default.
    """
    run = result.run
    fields = {
        "outcome": result.outcome.value,
        "exit_code": result.exit_code,
        "elapsed_ms": round(result.duration * 1000),
        "attempt": result.attempts,
        "workflow_run_id": run.run_id if run else None,
        "task_id": run.task_id if run else None,
        "total_tokens": run.total_tokens if run else None,
        "failed_node": run.failed_node.title if run and run.failed_node else None,
        "failed_node_type": run.failed_node.type if run and run.failed_node else None,
        "failed_node_error": run.failed_node.error if run and run.failed_node else None,
        "hint": result.hint,
        "outputs": _cut(run.outputs, outputs) if run and run.outputs and outputs else None,
    }
    tell = log.info if result.success else log.error
    kind = "skipped" if result.outcome is Outcome.SKIPPED else "finished" if result.success else "failed"
    tell(result.message, message_id=kind, line=_line(result), **fields)


def _line(result: Result) -> Message | None:
    """Return how a run that succeeded ended, for people; of others the message says it."""
    if not result.success or result.outcome is Outcome.SKIPPED:
        return None
    tokens = result.run.total_tokens if result.run is not None else None
    seconds = round(result.duration, 1)
    if tokens:
        return msg("succeeded in {seconds} s, {tokens:,} tokens", seconds=seconds, tokens=tokens)
    return msg("succeeded in {seconds} s", seconds=seconds)


def _cut(outputs: Mapping[str, Any], limit: int) -> str:
    """Outputs as JSON in so many bytes; secrets go first, since half a secret would not be found."""
    text = log.redact(dumps(outputs)).encode(errors="replace")
    return text.decode() if len(text) <= limit else text[:limit].decode(errors="ignore") + "…"

"""How a run came about, and its result where nothing was sent for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import log
from ..config.model import Job
from ..exit_codes import Outcome, code_of
from ..messages.errors import JobError
from ..messages.message import msg
from ..state.store import JobState
from ..system.values import dataclass, field
from .event_queue import EventQueue
from .observers import RunObserver
from .result import Result, now_as_text
from .run_spec import RunLimits

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """How a run came about: what the command knows, and a Python program need not say.

    began: monotonic, from which the deadline counts. call_time: RFC 3339. config_path: whence the job came.
    run_id, lost: as run and lost of RunSpec. wait_network, jitter: seconds; jitter is waited first and is no
    part of the deadline. inbox: what a signal handler cancels. held_back: asked first why nothing is to be
    started now. observers: see the run; its result once it is kept, before anybody is notified. by_unit: a
    unit with a handler started it, which notifies of what `run` leaves to it.
    """

    began: float = field(default_factory=time.monotonic)
    call_time: str = field(default_factory=now_as_text)
    config_path: Path | None = None
    run_id: str = ""
    lost: bool = False
    wait_network: float = 0.0
    jitter: float = 0.0
    inbox: EventQueue = field(default_factory=EventQueue)
    held_back: Callable[[Job, JobState | None], str | None] = lambda _job, _state: None
    observers: tuple[RunObserver, ...] = ()
    by_unit: bool = False
    limits: RunLimits = field(default_factory=RunLimits)


def refusal(job: str, error: JobError, start: RunContext) -> Result:
    """The result of a run that an error ended before any call."""
    message = log.redact(error.message)  # it can quote an input
    return not_started(job, start, error.outcome, message, error.hint)


def not_started(
    job: str, start: RunContext, outcome: Outcome, message: str, hint: str | None = None, *, signum: int = 0
) -> Result:
    """The result where nothing was sent; signum: the signal that cancelled it."""
    return Result(
        job=job,
        outcome=outcome,
        exit_code=code_of(outcome, signum),
        message=message,
        hint=hint,
        call_time=start.call_time,
        attempts=0,
        duration=time.monotonic() - start.began,
    )


def no_memory() -> JobError:
    """Return the error for a process that has too little memory to start a run."""
    return JobError(
        Outcome.UNREACHABLE,
        msg("there is not enough memory to start the run; none was started"),
        msg("raise the limit of this process: ulimit -v, MemoryMax= of the unit"),
    )


def fault(job: str, error: Exception, start: RunContext) -> Result:
    """The result of a run that a fault of ours ended; its traceback is the caller's to show."""
    words = msg("a fault of dify-job itself: {name}", name=type(error).__name__)
    hint = msg("please report it with the traceback in the log; a run may have been started")
    return refusal(job, JobError(Outcome.BUG, words, hint), start)

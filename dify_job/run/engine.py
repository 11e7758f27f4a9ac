"""From a job to its result: lock, earlier run, POST with safe retries, pursuit, state.

The same function serves the command and Python users: no printing, no signal handlers, no exit.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import log
from ..dify.client import DifyClient
from ..exit_codes import Outcome
from ..messages.message import msg
from ..state.store import InFlight, JobState, before_the_run, boot_id
from ..system.values import replace
from . import retry
from .concurrency import ConcurrencyGuard
from .event_queue import EventQueue
from .inputs import check_sendable, needs_form
from .monitor import RunMonitor
from .observers import Observers, RunObserver, StateObserver
from .outcome import Next, RunOutcome, unknown
from .result import Result, now_as_text, result_of
from .run_spec import RunSpec
from .stop import cancelled

if TYPE_CHECKING:
    from .input_upload import InputUploader


def run_job(
    request: RunSpec,
    state: JobState | None,
    *,
    inbox: EventQueue | None = None,
    observer: RunObserver | None = None,
    prepare: Callable[[RunSpec], RunSpec] = lambda request: request,
) -> Result:
    """Run the job once; every outcome is a Result, our own faults are raised.

    Args:
        request: The run.
        state: The job's opened state directory; None for `state = "none"`.
        inbox: What a signal handler cancels.
        observer: Sees the run, but not its result: that is the caller's to pass on.
        prepare: Called when it is this run's turn, before anything is sent; returns the run as it is then.
    """
    check_sendable(request.inputs)
    return _Runner(request, state, inbox or EventQueue(), observer or RunObserver(), prepare).run()


class _Runner:
    def __init__(
        self,
        request: RunSpec,
        state: JobState | None,
        inbox: EventQueue,
        observer: RunObserver,
        prepare: Callable[[RunSpec], RunSpec],
    ) -> None:
        self._named = bool(request.run)
        self._request = replace(request, run=request.run or uuid.uuid4().hex[:12])
        self._job = request.job
        self._state = state
        self._inbox = inbox
        self._kept = StateObserver(state)
        self._observers = Observers((self._kept, observer))
        self._prepare = prepare
        self._call_time = now_as_text()
        self._attempts = 0
        self._preparation: InputUploader | None = None
        key = request.key.reveal()
        log.hide(key, is_key=True)
        self._dify = DifyClient(
            request.job.base_url,
            key,
            tell=inbox.tell,
            ca_file=request.job.ca_file,
            connect_timeout=request.job.connect_timeout,
            headers=request.plain_headers,
        )

    def run(self) -> Result:
        verdict = self._turn()
        ours = verdict is None
        if verdict is None:
            self._request = self._prepare(self._request)
            check_sendable(self._request.inputs)
            self._observers.started()
            verdict = self._carry_out()
        if self._job.expect:
            from .assertions import apply_assertions  # noqa: PLC0415 - for jobs that expect something

            verdict = apply_assertions(verdict, self._job.expect)
        result = self._result(verdict)
        self._kept.keep(result, our_turn=ours, unsettled=verdict.unsettled)
        return result

    def _turn(self) -> RunOutcome | None:
        if self._state is None:
            return None
        with before_the_run(self._state):
            return ConcurrencyGuard(self._request, self._state, self._dify, self._inbox).take()

    def _adopt(self) -> RunOutcome | None:
        from .attach import ExistingRunLookup  # noqa: PLC0415 - where the caller names its runs

        request = self._request
        with before_the_run(self._state):
            left = self._state.in_flight() if self._state is not None else None
        ours = left if left is not None and left.run == request.run else None
        return ExistingRunLookup(
            dify=self._dify,
            inbox=self._inbox,
            options=request.call_options,
            lost=request.lost or ours is not None,
            run_id=ours.workflow_run_id if ours is not None else None,
            network_until=request.network_until,
            observer=self._observers,
        ).take()

    def _carry_out(self) -> RunOutcome:
        try:
            return (self._adopt() if self._named else None) or self._submit()
        except MemoryError:
            if self._kept.record is None:
                raise
            return unknown(msg("the server's answer does not fit into memory"))

    # The POST

    def _submit(self) -> RunOutcome:
        """POST until an attempt was accepted, or was refused for good."""
        pauses: list[float] = []
        if cancel := self._inbox.pause(0.0):
            return cancelled(cancel)
        while True:
            verdict = self._attempt()
            if verdict.next is not Next.RETRY:
                return verdict
            self._kept.not_submitted()
            now = time.monotonic()
            if verdict.unsent and now < self._request.network_until:
                pause: float | None = self._request.limits.network_retry
            else:
                self._attempts += 1
                pause = self._pause_after(verdict, pauses)
            if pause is None or now + pause >= self._request.deadline:
                return verdict
            log.info(
                msg("{message}; trying again", message=verdict.message),
                attempt=self._attempts,
                pause_s=round(pause, 1),
            )
            if cancel := self._inbox.pause(now + pause):
                return cancelled(cancel)

    def _pause_after(self, refused: RunOutcome, pauses: list[float]) -> float | None:
        """Seconds until the next POST, None for no more; pauses: those before, to which it is added."""
        pause = retry.pause(
            self._job.retry,
            attempts=self._attempts,
            busy=refused.outcome is Outcome.BUSY,
            pauses=self._request.limits.retry_pauses,
            waited=sum(pauses),
            last=pauses[-1] if pauses else None,
            retry_after=retry.seconds_of(refused.retry_after, datetime.now(UTC)),
            uniform=self._request.limits.uniform,
        )
        pauses += [] if pause is None else [pause]
        return pause

    def _attempt(self) -> RunOutcome:
        request = self._request
        prepared = self._prepared()
        if isinstance(prepared, RunOutcome):
            return prepared
        left = request.deadline - time.monotonic()
        self._kept.submitting(
            InFlight(
                run=request.run,
                user=request.user,
                base_url=self._job.base_url,
                started=self._call_time,
                deadline=time.time() + left,
                boot=boot_id(),
                boot_deadline=time.clock_gettime(time.CLOCK_BOOTTIME) + left,
            )
        )
        monitor = RunMonitor(self._dify, self._inbox, request.call_options, self._observers)
        call = self._dify.run(prepared, request.user, mode=self._job.mode, workflow_id=self._job.workflow_id)
        verdict = monitor.follow(call)
        if verdict.next is not Next.RETRY:
            self._attempts += 1
        return verdict

    def _prepared(self) -> Mapping[str, Any] | RunOutcome:
        """The inputs to send; nearly every run sends what it was given, and asks nothing before."""
        request = self._request
        if not any(request.files.values()) and not needs_form(request.inputs):
            return request.inputs
        if self._preparation is None:
            from .input_upload import InputUploader  # noqa: PLC0415 - for the runs that need it

            self._preparation = InputUploader(request, self._dify, self._inbox)
        return self._preparation.ready() or self._preparation.inputs

    def _result(self, verdict: RunOutcome) -> Result:
        return result_of(
            verdict,
            self._job.name,
            call_time=self._call_time,
            attempts=self._attempts,
            duration=time.monotonic() - self._request.began,
        )

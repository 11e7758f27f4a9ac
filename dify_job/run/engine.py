"""From a job to its result: lock, earlier run, POST with safe retries, pursuit, state.

The same function serves the command and Python users: no printing, no signal handlers, no exit.
"""

import contextlib
import random
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import log
from ..dify.client import DifyClient
from ..dify.models import Event
from ..exit_codes import Outcome
from ..messages.message import msg
from ..state.store import InFlight, JobState, boot_id, cannot_write
from ..system.values import replace
from . import retry
from .concurrency import ConcurrencyGuard
from .event_queue import EventQueue
from .inputs import check_sendable, needs_form
from .monitor import RunMonitor
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
    progress: Callable[[Event], None] = lambda _event: None,
    begins: Callable[[RunSpec], RunSpec] = lambda request: request,
) -> Result:
    """Run the job once and tell how it ended; every outcome is a Result, our own faults are raised.

    state: the job's opened state directory, None for `state = "none"`. inbox: what a signal handler cancels.
    begins: called when it is this run's turn, before anything is sent for it; gives the run as it is then.
    """
    check_sendable(request.inputs)
    return _Runner(request, state, inbox or EventQueue(), progress, begins).run()


class _Runner:
    def __init__(
        self,
        request: RunSpec,
        state: JobState | None,
        inbox: EventQueue,
        progress: Callable[[Event], None],
        begins: Callable[[RunSpec], RunSpec],
    ) -> None:
        self._named = bool(request.run)
        self._request = replace(request, run=request.run or uuid.uuid4().hex[:12])
        self._job = request.job
        self._state = state
        self._inbox = inbox
        self._progress = progress
        self._begins = begins
        self._call_time = now_as_text()
        self._attempts = 0
        self._record: InFlight | None = None
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
            self._request = self._begins(self._request)
            check_sendable(self._request.inputs)
            verdict = self._carry_out()
        if self._job.expect:
            from .assertions import apply_assertions  # noqa: PLC0415 - for jobs that expect something

            verdict = apply_assertions(verdict, self._job.expect)
        result = self._result(verdict)
        self._keep(result, verdict, ours=ours)
        return result

    def _turn(self) -> RunOutcome | None:
        if self._state is None:
            return None
        return ConcurrencyGuard(self._request, self._state, self._dify, self._inbox).take()

    def _adopt(self) -> RunOutcome | None:
        from .attach import ExistingRunLookup  # noqa: PLC0415 - where the caller names its runs

        request = self._request
        left = self._state.in_flight() if self._state is not None else None
        ours = left if left is not None and left.run == request.run else None
        return ExistingRunLookup(
            dify=self._dify,
            inbox=self._inbox,
            options=request.call_options,
            lost=request.lost or ours is not None,
            run_id=ours.workflow_run_id if ours is not None else None,
            network_until=request.network_until,
            noted=self._noted,
            progress=self._progress,
        ).take()

    def _carry_out(self) -> RunOutcome:
        try:
            return (self._adopt() if self._named else None) or self._submit()
        except MemoryError:
            if self._record is None:
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
            self._clear()
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
            uniform=random.uniform,
        )
        pauses += [] if pause is None else [pause]
        return pause

    def _attempt(self) -> RunOutcome:
        request = self._request
        prepared = self._prepared()
        if isinstance(prepared, RunOutcome):
            return prepared
        left = request.deadline - time.monotonic()
        self._put(
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
        monitor = RunMonitor(
            self._dify, self._inbox, request.call_options, noted=self._noted, progress=self._progress
        )
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

    def _put(self, record: InFlight) -> None:
        self._record = record
        if self._state is None:
            return
        try:
            self._state.put_in_flight(record)
        except OSError as error:
            raise cannot_write(self._state.directory, error) from None

    def _clear(self) -> None:
        """The attempt started nothing: a process that is killed before the next one leaves no run."""
        if self._state is not None:
            with contextlib.suppress(OSError):
                self._state.clear_in_flight()

    def _noted(self, run_id: str | None, task_id: str | None, stopped: bool) -> None:
        if self._record is None or self._state is None:
            return
        self._record = replace(self._record, workflow_run_id=run_id, task_id=task_id, stopped=stopped)
        try:
            self._state.put_in_flight(self._record)
        except OSError as error:
            log.warning(msg("the run's id could not be kept"), reason=error.strerror, run=run_id)
        log.debug("the server named the run", workflow_run_id=run_id, task_id=task_id)

    # After the outcome: nothing here may change it

    def _result(self, verdict: RunOutcome) -> Result:
        return result_of(
            verdict,
            self._job.name,
            call_time=self._call_time,
            attempts=self._attempts,
            duration=time.monotonic() - self._request.began,
        )

    def _keep(self, result: Result, verdict: RunOutcome, *, ours: bool) -> None:
        """Keep the result; where it was not our turn only as a line, since another process holds the lock."""
        if self._state is None:
            return
        try:
            if not ours:
                self._state.remember(result.as_record())
                return
            self._state.finish(result.as_record())
            # Last: after a kill in between the next run enters the end, where it is not there.
            if not verdict.unsettled:
                self._state.clear_in_flight()
            elif self._record is not None:
                self._state.put_in_flight(replace(self._record, reported=str(verdict.outcome)))
        except OSError as error:
            log.warning(
                msg("the result could not be kept"), reason=error.strerror, path=str(self._state.directory)
            )

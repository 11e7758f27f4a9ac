"""Run a job: lock, earlier run, POST with safe retries, run monitor, state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import log
from ..config.model import RetryPolicy
from ..dify.client import DifyClient
from ..dify.event_queue import InterruptedRunError
from ..dify.models import read_date
from ..exit_codes import Outcome
from ..messages.message import msg
from ..state.store import InFlight, JobState, boot_id
from . import assertions, input_upload
from .concurrency import ConcurrencyGuard
from .inputs import check_sendable, needs_form
from .monitor import RunMonitor
from .observers import Observers, RunObserver, StateObserver
from .outcome import Next, NoRunError, RunOutcome, cancelled, unknown
from .result import Result, exhausted_resource, now_as_text, result_of
from .run_spec import RunSpec

if TYPE_CHECKING:
    from .files import InputFile


class Engine:
    """The engine of one run. Outcomes are returned, and internal errors are raised."""

    def __init__(self, spec: RunSpec, state: JobState | None, observer: RunObserver) -> None:
        """Send nothing yet.

        Args:
            spec: The specification of the run.
            state: The job's opened state directory; None for `state = "none"`.
            observer: Observes the run, but not its result, which the caller reports.

        Raises:
            JobError: (rejected) The inputs cannot be sent.
        """
        check_sendable(spec.inputs)
        self._named = bool(spec.run)
        self._spec = spec._replace(run=spec.run or os.urandom(6).hex())
        self._job = spec.job
        self._events = spec.context.events
        self._limits = spec.context.limits
        self._state_observer = StateObserver(state)
        self._observers = Observers((self._state_observer, observer))
        self._call_time = now_as_text()
        self._attempts = 0
        self._uploader: input_upload.InputUploader | None = None
        self._dify = connect(spec)
        self._guard = ConcurrencyGuard(self._spec, state, self._dify)
        self._our_turn = False

    def wait_for_turn(self) -> RunOutcome | None:
        """Take the job's lock and settle an earlier run.

        Returns:
            None if it is this run's turn, otherwise the outcome.

        Raises:
            JobError: The state cannot be written (cannot-write).
        """
        try:
            self._guard.acquire()
        except InterruptedRunError as interrupted:
            return cancelled(interrupted.signum)
        except NoRunError as error:
            return error.outcome
        self._our_turn = True
        return None

    def start_and_follow(
        self, inputs: Mapping[str, Any], files: Mapping[str, tuple[InputFile, ...]]
    ) -> RunOutcome:
        """Start the run, or find the run that an earlier process started with this id, and follow it.

        Args:
            inputs: The inputs, rendered after the lock was acquired.
            files: The files by the name of their input, rendered like the inputs.

        Raises:
            JobError: The inputs do not match the form, or the state cannot be written; nothing was started.
        """
        check_sendable(inputs)
        self._spec = self._spec._replace(inputs=inputs, files=files)
        self._observers.started()
        try:
            existing = self._guard.follow_existing(self._observers) if self._named else None
            return existing or self._submit()
        except InterruptedRunError as interrupted:
            # The in-flight record of the earlier process stays, because the outcome is still unknown.
            return cancelled(interrupted.signum)._replace(unsettled=self._state_observer.record is None)
        except (MemoryError, OSError) as error:
            lacking = exhausted_resource(error)
            if lacking is None or self._state_observer.record is None:
                raise
            return unknown(lacking)

    def conclude(self, outcome: RunOutcome) -> Result:
        """Check the job's assertions, and store the result.

        Args:
            outcome: The outcome of the run, or why it had no turn.
        """
        if self._job.expect:
            outcome = assertions.apply_assertions(outcome, self._job.expect)
        duration = time.monotonic() - self._spec.context.began
        result = result_of(
            outcome, self._job.name, call_time=self._call_time, attempts=self._attempts, duration=duration
        )
        self._state_observer.store(result, has_turn=self._our_turn, unsettled=outcome.unsettled)
        return result

    # The POST

    def _submit(self) -> RunOutcome:
        """POST until an attempt is accepted or finally rejected, or no retry is left."""
        pauses: list[float] = []
        self._events.pause(0.0)
        while True:
            try:
                outcome = self._attempt()
            except NoRunError as error:
                outcome = error.outcome
            if outcome.next is not Next.RETRY:
                return outcome
            self._state_observer.not_submitted()
            now = time.monotonic()
            if outcome.unsent and now < self._spec.network_until:
                pause: float | None = self._limits.network_retry
            else:
                self._attempts += 1
                pause = retry_pause(
                    self._job.retry,
                    attempts=self._attempts,
                    busy=outcome.outcome is Outcome.BUSY,
                    bounds=self._limits.retry_pauses,
                    pauses=pauses,
                    retry_after=seconds_of(outcome.retry_after, datetime.now(UTC)),
                    uniform=self._limits.uniform,
                )
                pauses += [] if pause is None else [pause]
            if pause is None or now + pause >= self._spec.deadline:
                return outcome
            log.info(
                msg("{message}; dify-job tries again", message=outcome.message),
                attempt=self._attempts,
                pause_s=round(pause, 1),
            )
            self._events.pause(now + pause)

    def _attempt(self) -> RunOutcome:
        spec = self._spec
        inputs = self._inputs_to_send()
        left = spec.deadline - time.monotonic()
        self._state_observer.submitting(
            InFlight(
                run=spec.run,
                user=spec.user,
                base_url=self._job.base_url,
                started=self._call_time,
                deadline=time.time() + left,
                boot=boot_id(),
                boot_deadline=time.clock_gettime(time.CLOCK_BOOTTIME) + left,
            )
        )
        monitor = RunMonitor(self._dify, self._events, spec.call_options, self._observers)
        call = self._dify.run(inputs, spec.user, mode=self._job.mode, workflow_id=self._job.workflow_id)
        outcome = monitor.follow(call)
        if outcome.next is not Next.RETRY:
            self._attempts += 1
        return outcome

    def _inputs_to_send(self) -> Mapping[str, Any]:
        """Return the inputs for the POST; most runs send the given inputs without a request before."""
        spec = self._spec
        if not any(spec.files.values()) and not needs_form(spec.inputs):
            return spec.inputs
        if self._uploader is None:
            self._uploader = input_upload.InputUploader(spec, self._dify)
        return self._uploader.inputs()


def connect(spec: RunSpec) -> DifyClient:
    """Return the client of a run, whose calls report to its queue; nothing is sent."""
    return DifyClient(
        spec.job.base_url,
        spec.key.reveal(),
        on_event=spec.context.events.put,
        ca_file=spec.job.ca_file,
        connect_timeout=spec.job.connect_timeout,
        headers=spec.plain_headers,
    )


def retry_pause(
    policy: RetryPolicy,
    *,
    attempts: int,
    busy: bool,
    bounds: tuple[float, float],
    pauses: list[float],
    retry_after: float | None,
    uniform: Callable[[float, float], float],
) -> float | None:
    """Return the pause before the POST is repeated in seconds, or None to give up.

    Only a rejection that provably started nothing is retried (Next.RETRY), because Dify has no idempotency
    key. Pauses have decorrelated jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Args:
        policy: The retry policy of the job.
        attempts: The number of POSTs so far.
        busy: The server has too many runs. Then max_wait limits the retries, not the number of attempts,
            unless only one attempt is allowed.
        bounds: The shortest and the longest pause.
        pauses: The pauses so far.
        retry_after: The pause that the server requests; more than the rest of max_wait ends the retries.
        uniform: Returns a random number between two limits.
    """
    if attempts >= policy.attempts and not (busy and policy.attempts > 1):
        return None
    shortest, longest = bounds
    left = policy.max_wait - sum(pauses)
    wanted = min(longest, uniform(shortest, 3 * (pauses[-1] if pauses else shortest)))
    if retry_after is not None:
        return min(max(retry_after, wanted), left) if retry_after <= left else None
    return min(wanted, left) if left > 0 else None


def seconds_of(retry_after: str | None, now: datetime) -> float | None:
    """Return `Retry-After` in seconds; None if it is missing or invalid.

    Args:
        retry_after: A number or an HTTP date (RFC 9110, section 10.2.3).
        now: The current time, aware.
    """
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.strip().isdigit():
        return float(retry_after)
    date = read_date(retry_after)
    return None if date is None else max(0.0, (date - now).total_seconds())

"""Run one job once at a time: the job's lock, and earlier runs with an unknown outcome."""

import time

from .. import log
from ..dify import models
from ..dify.client import DifyClient
from ..dify.models import RunNotFound, WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from ..state.history import read_history
from ..state.store import InFlight, JobState, LockHeldError, cannot_write, errors_as_cannot_write
from . import assertions
from .call_options import CallOptions
from .monitor import RunMonitor
from .observers import RunObserver
from .outcome import NoRunError, RunOutcome, connection_error_hint, decide, unknown
from .poller import Answer, RunPoller, Unreadable
from .result import result_of
from .run_spec import RunSpec


class ConcurrencyGuard:
    """A guard that waits for a run's turn, or rejects the run."""

    def __init__(self, spec: RunSpec, state: JobState | None, dify: DifyClient) -> None:
        """Wait for nothing yet.

        Args:
            spec: The specification of the run.
            state: The job's state directory; None for `state = "none"`.
            dify: The client.
        """
        self._spec = spec
        self._state = state
        self._dify = dify
        self._events = spec.context.events

    def acquire(self) -> None:
        """Take the lock and settle an earlier run.

        The process holds the lock until it ends or closes the state.

        Raises:
            InterruptedRunError: A signal came.
            JobError: The lock or the history cannot be written (cannot-write).
            NoRunError: It is not this run's turn.
        """
        if self._state is None:
            return
        pause, _ = self._spec.context.limits.turn_polls
        hint = msg('wait until the other run ends, or set overlap = "wait" or "skip" in the job')
        with errors_as_cannot_write(self._state):
            while True:
                try:
                    self._state.lock()
                except LockHeldError as held:
                    why = msg("another run of this job is in progress ({holder})", holder=held.holder)
                    self._wait(why, pause, hint)
                else:
                    earlier = self._state.in_flight()
                    if earlier is not None and earlier.run != self._spec.run:
                        self._settle(self._state, earlier)
                    return

    def follow_existing(self, observer: RunObserver) -> RunOutcome | None:
        """Follow a run with this id that an earlier process may have started; None if a POST may start it.

        A missing log row proves nothing on some servers: before 1.11, rows appear when a run ends, and from
        1.13 on, a queued run has no row. So if an earlier process of this id was lost, no run is started.

        Args:
            observer: The observer of the run.
        """
        spec, options = self._spec, self._spec.call_options
        with errors_as_cannot_write(self._state):
            left = self._state.in_flight() if self._state is not None else None
        own = left if left is not None and left.run == spec.run else None
        lost = spec.context.lost or own is not None
        run_id = own.workflow_run_id if own is not None else None
        if not options.searchable:
            return (
                unknown(
                    msg(
                        "an earlier process of this job ended without recording an outcome, and dify-job "
                        "cannot find its run, because the job sets end_user"
                    )
                )
                if lost
                else None
            )
        if run_id is None:
            poller = RunPoller(self._dify, options)
            until = max(spec.network_until, time.monotonic() + options.limits.existing_run)
            found = poller.poll_until(self._events, min(until, options.deadline), absent_is_final=True)
            # The record of a run with an unknown outcome stays for the next start.
            if poller.denied is not None:
                return decide(poller.denied, options)._replace(unsettled=lost)
            if isinstance(found, Unreadable):
                message = msg(
                    "no run was started, because the server could not say whether this run had "
                    "already begun: {reason}",
                    reason=found.reason,
                )
                hint = connection_error_hint(found.reason)
                return RunOutcome(Outcome.UNREACHABLE, message, hint, unsettled=lost)
            if isinstance(found, RunNotFound) and not lost:
                return None
            run_id = poller.run_id
        log.info(
            msg("dify-job follows the run that an earlier process began, and starts no new run"),
            user=options.user,
            run=run_id,
        )
        monitor = RunMonitor(self._dify, self._events, options, observer)
        return monitor.resume(
            run_id, msg("an earlier process of this run ended without recording a final outcome")
        )

    def _wait(self, why: str, pause: float, hint: str) -> None:
        """Wait if the overlap policy is `wait` and time is left; otherwise raise NoRunError."""
        if self._spec.job.overlap == "skip":
            raise NoRunError(RunOutcome(Outcome.SKIPPED, msg("the run was skipped: {why}", why=why)))
        if self._spec.job.overlap == "fail" or time.monotonic() >= self._spec.deadline:
            raise NoRunError(RunOutcome(Outcome.BUSY, why, hint))
        self._pause(pause)

    def _pause(self, seconds: float) -> None:
        self._events.pause(min(self._spec.deadline, time.monotonic() + seconds))

    # The run of an earlier process; it is never stopped

    def _settle(self, state: JobState, earlier: InFlight) -> None:
        """Wait until the earlier run has ended or is given up, and record its outcome. Raises NoRunError."""
        pause, longest = self._spec.context.limits.turn_polls
        while True:
            match self._look_up(earlier):
                case RunOutcome() as settled:
                    break
                case str() as message:
                    end = f"{earlier.overdue_at(self._spec.job.queue_time):%Y-%m-%d %H:%M}"
                    hint = msg(
                        "dify-job waits for the earlier run until {end}, when its timeout and queue_time "
                        "have passed. To wait no longer, stop that run in the app's Logs in Dify",
                        end=end,
                    )
                    self._wait(message, pause, hint)
                    if time.monotonic() >= self._spec.deadline:  # no time for another poll
                        raise NoRunError(RunOutcome(Outcome.BUSY, message, hint))
                    pause = min(longest, 2 * pause)
                case Unreadable(reason):
                    self._on_unreadable(reason)
        self._record(state, earlier, settled)
        if time.monotonic() >= self._spec.deadline:
            text = msg(
                "the deadline passed while dify-job looked for an earlier run of this job; no run was started"
            )
            hint = msg(
                "start the job again: the outcome of the earlier run is now known. If this happens "
                "often, set a longer timeout"
            )
            raise NoRunError(RunOutcome(Outcome.BUSY, text, hint))

    def _on_unreadable(self, reason: str) -> None:
        """Wait for a server that does not report the earlier run. Raises NoRunError at the deadline."""
        now, kind, message = time.monotonic(), Outcome.BUSY, ""
        if now >= self._spec.deadline:
            message = msg(
                "the deadline passed while dify-job looked for an earlier run of this job "
                "({reason}); no run was started",
                reason=reason,
            )
        elif now >= self._spec.network_until:
            kind = Outcome.UNREACHABLE
            message = msg(
                "no run was started, because the server could not say how an earlier run of "
                "this job ended: {reason}",
                reason=reason,
            )
        if message:
            raise NoRunError(RunOutcome(kind, message, connection_error_hint(reason)))
        self._pause(self._spec.context.limits.network_retry)

    def _look_up(self, earlier: InFlight) -> RunOutcome | str | Unreadable:
        """Return the outcome of an earlier run that ended or is given up, or why it may still run."""
        job = self._spec.job
        overdue = earlier.overdue(job.queue_time)
        ids = WorkflowRun(earlier.workflow_run_id, earlier.task_id) if earlier.workflow_run_id else None
        if earlier.base_url != job.base_url:
            why = msg("{reason}, and the job now uses another server", reason=earlier.ended)
            server = msg(
                "an earlier run of this job may still be in progress at {server}", server=earlier.base_url
            )
            return unknown(why)._replace(run=ids) if overdue else server
        until = min(self._spec.deadline, time.monotonic() + self._spec.context.limits.earlier_run)
        options = CallOptions(
            user=earlier.user,
            deadline=until,
            searchable=earlier.user.endswith(earlier.run),
            limits=self._spec.context.limits,
        )
        poller = RunPoller(self._dify, options, earlier.workflow_run_id)
        found = poller.poll_until(self._events, until, absent_is_final=False)
        if poller.denied is not None:
            raise NoRunError(decide(poller.denied))
        if isinstance(found, Unreadable) and poller.searchable:
            return found
        if isinstance(found, WorkflowRun) and (found.ended or found.status == models.PAUSED):
            run = found.with_ids(earlier.workflow_run_id, earlier.task_id)
            return decide(run, CallOptions(partial=job.partial))
        if overdue or _is_given_up(earlier, found, poller):
            return unknown(poller.search_result(earlier.ended))._replace(run=ids)
        if isinstance(found, WorkflowRun) and found.run_id is not None:
            return msg("run {run_id} of this job is still in progress", run_id=found.run_id)
        return msg("an earlier run of this job may still be in progress, or wait in Dify's queue")

    def _record(self, state: JobState, earlier: InFlight, outcome: RunOutcome) -> None:
        """Add the earlier run's outcome to the history, unless its own process did."""
        if self._spec.job.expect:
            outcome = assertions.apply_assertions(outcome, self._spec.job.expect)
        kind = outcome.outcome
        log.info(
            msg("the outcome of an earlier run is now known"), run=earlier.workflow_run_id, outcome=kind.value
        )
        duration = (outcome.run.elapsed_time if outcome.run else None) or 0.0
        record = result_of(
            outcome, self._spec.job.name, call_time=earlier.started, attempts=1, duration=duration
        ).record
        try:
            has_record = record.run_id is not None and any(
                (run.run_id, run.outcome) == (record.run_id, record.outcome)
                for run in read_history(state.directory)
            )
            if not (kind == earlier.reported or has_record):
                state.append_history(record.as_json())
            state.clear_in_flight()
        except OSError as error:
            raise cannot_write(state.directory, error) from None


def _is_given_up(earlier: InFlight, found: Answer, poller: RunPoller) -> bool:
    """Return True if the run is certainly absent, or was stopped without a record of its end.

    The record of a stopped run stays `running` up to 1.12 (`stop-streaming-detail-after`), and in later
    versions after its worker was killed (`worker-kill-detail-after-stop`).
    """
    if isinstance(found, RunNotFound):
        return earlier.workflow_run_id is None and poller.empty_log_is_proof
    return isinstance(found, WorkflowRun) and earlier.stopped

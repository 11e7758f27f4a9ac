"""Whose turn it is: the job's lock, and a run that an earlier process left without an end."""

import time
from collections.abc import Mapping
from typing import Any

from .. import log
from ..dify import models
from ..dify.client import DifyClient
from ..dify.models import RunNotFound, WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from ..state.store import InFlight, JobState, LockHeld, cannot_write
from ..system.values import dataclass, replace
from .event_queue import Cancel, EventQueue
from .outcome import CallTerms, Next, RunOutcome, connection_error_hint, decide, unknown
from .poller import RunPoller, Unreadable
from .result import result_of
from .run_spec import CallOptions, RunSpec
from .stop import cancelled

_POLICY = msg('let it end, or set overlap = "wait" or "skip" in the job')


@dataclass(frozen=True)
class _Settled:
    """The earlier run has ended, or is given up; outcome: as it enters the history."""

    outcome: RunOutcome


@dataclass(frozen=True)
class _Pending:
    """The earlier run goes on, or may wait in a queue."""

    message: str


_LookUp = _Settled | _Pending | Unreadable | RunOutcome  # RunOutcome: this start ends with it


@dataclass(frozen=True)
class ConcurrencyGuard:
    """What it takes to wait for, or refuse, a run's turn; what is left of that run is not an earlier one."""

    request: RunSpec
    state: JobState
    dify: DifyClient
    inbox: EventQueue

    def take(self) -> RunOutcome | None:
        """Take the lock and settle an earlier run; None when it is our turn, else what the policy says.

        The lock is held until the process ends, or the caller closes it. Raises JobError (cannot-write).
        """
        pause, _ = self.request.limits.turn_polls
        while True:
            try:
                self.state.lock()
            except LockHeld as locked:
                why = msg("another run of this job is under way ({holder})", holder=locked.holder)
                if (outcome := self._held(why, pause, _POLICY)) is not None:
                    return outcome
            except OSError as error:
                raise cannot_write(self.state.directory, error) from None
            else:
                return self._settle_earlier()

    def _held(self, why: str, pause: float, hint: str) -> RunOutcome | None:
        """The overlap policy's outcome; None after a wait: try again."""
        if self.request.job.overlap == "skip":
            return RunOutcome(Outcome.SKIPPED, msg("skipped: {why}", why=why))
        now = time.monotonic()
        if self.request.job.overlap == "fail" or now >= self.request.deadline:
            return RunOutcome(Outcome.BUSY, why, hint)
        cancel = self.inbox.pause(min(self.request.deadline, now + pause))
        return cancelled(cancel) if cancel is not None else None

    def _settle_earlier(self) -> RunOutcome | None:
        earlier = self.state.in_flight()
        if earlier is None or earlier.run == self.request.run:
            return None
        pause, longest = self.request.limits.turn_polls
        while True:
            match self._look_up(earlier):
                case _Settled(outcome):
                    self._enter(earlier, outcome)
                    break
                case _Pending(message):
                    if (held := self._held(message, pause, self._hint(earlier))) is not None:
                        return held
                    pause = min(longest, 2 * pause)
                case Unreadable(reason):
                    if (unread := self._unread(reason)) is not None:
                        return unread
                case RunOutcome() as outcome:
                    return outcome
        if time.monotonic() < self.request.deadline:
            return None
        return RunOutcome(
            Outcome.BUSY,
            msg("the deadline passed while an earlier run of this job was looked up; none was started"),
            msg("the earlier run is settled: start the job again, or set a longer timeout"),
        )

    def _unread(self, reason: str) -> RunOutcome | None:
        """The outcome where the server does not say how the earlier run stands; None after a wait."""
        now = time.monotonic()
        if now >= self.request.deadline:
            return RunOutcome(
                Outcome.BUSY,
                msg(
                    "the deadline passed while an earlier run of this job was looked up ({reason}); "
                    "none was started",
                    reason=reason,
                ),
                connection_error_hint(reason),
            )
        if now >= self.request.network_until:
            return RunOutcome(
                Outcome.UNREACHABLE,
                msg(
                    "an earlier run of this job could not be looked up ({reason}); none was started",
                    reason=reason,
                ),
                connection_error_hint(reason),
            )
        cancel = self.inbox.pause(min(self.request.deadline, now + self.request.limits.network_retry))
        return cancelled(cancel) if cancel is not None else None

    def _hint(self, earlier: InFlight) -> str:
        end = f"{earlier.overdue_at(self.request.job.queue_time):%Y-%m-%d %H:%M}"
        return msg(
            "it is waited for until {end} at the longest (its deadline and queue_time); "
            "stop it in the app's Logs in Dify if it is not wanted",
            end=end,
        )

    def _look_up(self, earlier: InFlight) -> _LookUp:
        """Find out about the run of an earlier process; it is never stopped."""
        if earlier.base_url != self.request.job.base_url:
            return self._elsewhere(earlier)
        until = min(self.request.deadline, time.monotonic() + self.request.limits.earlier_run)
        poller = RunPoller(self.dify, self._options(earlier, until))
        if earlier.workflow_run_id is not None:
            poller.learn_run_id(earlier.workflow_run_id)
        poller.poll_alone(accepted=True)
        found = self._look_until(poller, until)
        if isinstance(found, Cancel):
            return cancelled(found)
        if poller.denied is not None:
            return replace(decide(poller.denied), next=Next.FINAL)
        if isinstance(found, Unreadable) and poller.searchable:
            return found
        return self._standing(earlier, found, poller)

    def _standing(
        self, earlier: InFlight, found: WorkflowRun | RunNotFound | Unreadable, poller: RunPoller
    ) -> _Settled | _Pending:
        if isinstance(found, WorkflowRun) and (found.ended or found.status == models.PAUSED):
            run = found.with_ids(earlier.workflow_run_id, earlier.task_id)
            return _Settled(decide(run, CallTerms(partial=self.request.job.partial)))
        if self._is_overdue(earlier) or _is_given_up(earlier, found, poller):
            return _Settled(replace(unknown(poller.found_nothing(earlier.ended)), run=_run_of(earlier)))
        if isinstance(found, WorkflowRun):
            return _Pending(msg("run {run_id} of this job is still under way", run_id=found.run_id))
        return _Pending(msg("an earlier run of this job may still wait in Dify's queue, or be under way"))

    def _elsewhere(self, earlier: InFlight) -> _Settled | _Pending:
        if self._is_overdue(earlier):
            why = msg("{ended}, and the job now calls another server", ended=earlier.ended)
            return _Settled(replace(unknown(why), run=_run_of(earlier)))
        server = earlier.base_url
        return _Pending(msg("an earlier run of this job may still be under way at {server}", server=server))

    def _is_overdue(self, earlier: InFlight) -> bool:
        return earlier.overdue(self.request.job.queue_time)

    def _look_until(self, poller: RunPoller, until: float) -> WorkflowRun | RunNotFound | Unreadable | Cancel:
        """Look until the server says how the run stands; where absence is proof the run has time to show."""
        while True:
            found = poller.look(self.inbox, until)
            if isinstance(found, WorkflowRun) and not poller.knows_run and found.run_id is not None:
                poller.learn_run_id(found.run_id)
                continue
            absent = isinstance(found, RunNotFound) and poller.empty_log_is_proof
            final = not (absent or isinstance(found, Unreadable)) or poller.denied is not None
            if final or not poller.searchable:
                return found
            if (cancel := self.inbox.pause(min(until, poller.look_at))) is not None:
                return cancel
            if time.monotonic() >= until:
                return found

    def _options(self, earlier: InFlight, until: float) -> CallOptions:
        return CallOptions(
            user=earlier.user,
            deadline=until,
            idle=self.request.job.idle_timeout,
            searchable=earlier.user.endswith(earlier.run),
            limits=self.request.limits,
        )

    def _has_entered(self, record: Mapping[str, Any]) -> bool:
        """True where the process that began a run had entered this end of it before it was killed."""
        same = ("workflow_run_id", "outcome")
        return record["workflow_run_id"] is not None and any(
            all(entry.get(key) == record[key] for key in same) for entry in self.state.history()[-2:]
        )

    def _enter(self, earlier: InFlight, verdict: RunOutcome) -> None:
        """Enter the earlier run's end in the history; what is still running then will never be known."""
        if self.request.job.expect:
            from .assertions import apply_assertions  # noqa: PLC0415 - for jobs that expect something

            verdict = apply_assertions(verdict, self.request.job.expect)
        outcome = verdict.outcome
        log.info(msg("an earlier run was settled"), run=earlier.workflow_run_id, outcome=outcome.value)
        result = result_of(
            verdict,
            self.request.job.name,
            call_time=earlier.started,
            attempts=1,
            duration=(verdict.run.elapsed_time if verdict.run else None) or 0.0,
        )
        record = result.as_record()
        try:
            if not (outcome == earlier.reported or self._has_entered(record)):
                self.state.remember(record)
            self.state.clear_in_flight()
        except OSError as error:
            raise cannot_write(self.state.directory, error) from None


def _run_of(earlier: InFlight) -> WorkflowRun | None:
    if earlier.workflow_run_id is None:
        return None
    return WorkflowRun(earlier.workflow_run_id, earlier.task_id)


def _is_given_up(earlier: InFlight, found: WorkflowRun | RunNotFound | Unreadable, poller: RunPoller) -> bool:
    """True where nothing more is to be expected: no row where that is proof, or a stop that no record shows.

    The record of a stopped run says `running` for ever to 1.12 (`stop-streaming-detail-after`), and later
    where its worker was killed (`worker-kill-detail-after-stop`).
    """
    if isinstance(found, RunNotFound):
        return earlier.workflow_run_id is None and poller.empty_log_is_proof
    return isinstance(found, WorkflowRun) and earlier.stopped

"""One workflow run, from its POST or its id to its outcome: follow the stream, poll, recover, stop.

A single loop over an inbox with alarms. Four kinds of call report to it: the POST, a joined stream of events
(1.14), looks at the server's records, and stop. What servers do when things break: tests/data/recordings.
"""

import time

from ..dify import models
from ..dify.client import (
    ConnectionLost,
    DifyClient,
    InternalError,
    PendingCall,
    Reply,
    StreamEvent,
    StreamOpened,
)
from ..dify.client import Message as CallMessage
from ..dify.models import ApiError, Event, RunNotFound, WorkflowRun
from ..dify.nodes import NodeTracker
from ..messages.message import msg
from ..system.values import replace
from .event_queue import Cancel, EventQueue
from .observers import RunIds, RunObserver
from .outcome import CallEnd, Next, NotSent, RunOutcome, decide, ended_by_stop, refused_run
from .poller import RunPoller
from .run_spec import CallOptions
from .stop import Stop

_EVENTS_ENDPOINT = (1, 14)


class RunMonitor:
    """Follow one run to its outcome: one that was just begun, or one that was begun before.

    observer: sees each event, and the run's ids before anything else waits.
    """

    def __init__(
        self,
        dify: DifyClient,
        inbox: EventQueue,
        options: CallOptions,
        observer: RunObserver,
    ) -> None:
        self._dify = dify
        self._inbox = inbox
        self._options = options
        self._observer = observer
        self._records = RunPoller(dify, options)
        self._run_id: str | None = None
        self._task_id: str | None = None
        self._known_running = False
        self._accepted = False
        self._call: PendingCall | None = None  # the POST, as long as it can tell
        self._joined: PendingCall | None = None
        self._stop: Stop | None = None
        self._nodes = NodeTracker()
        self._lost = ""  # why the POST can no longer tell
        self._reported: CallEnd | None = None  # an `error` event, or an end without a status
        self._doubted: WorkflowRun | None = None  # a failure that the record has not confirmed
        self._settled: RunOutcome | None = None  # what the record says
        self._settled_at = float("inf")

    def follow(self, call: PendingCall) -> RunOutcome:
        """Follow a POST that was just begun; ends at the latest 20 s after the deadline."""
        self._call = call
        return self._loop(None)

    def resume(self, run_id: str | None, why: str) -> RunOutcome:
        """Follow a run that an earlier process began, as one whose POST was lost.

        Args:
            run_id: Its id; None to find it.
            why: How its POST was lost.
        """
        self._accepted = True
        self._learn_ids(run_id, None)
        return self._loop(self._lose(why))

    def _loop(self, outcome: RunOutcome | None) -> RunOutcome:
        try:
            while outcome is None:
                heard = self._inbox.get(self._next_alarm())
                if heard is None:
                    outcome = self._alarm(time.monotonic())
                elif isinstance(heard, Cancel):
                    outcome = self._begin_stop(heard) if self._stop is None else self._leave(self._stop)
                else:
                    outcome = self._hear(*heard)
        finally:
            for call in (self._call, self._joined, self._records.call):
                if call is not None:
                    call.hang_up()
        if outcome.run is None and self._exists:
            run = WorkflowRun(
                self._run_id,
                self._task_id,
                status=models.RUNNING if self._known_running else None,
                failed_node=self._nodes.running_node if self._stop is not None else None,
            )
            outcome = replace(outcome, run=run)
        return outcome

    @property
    def _exists(self) -> bool:
        """True where the server named the run, and did not deny it afterwards."""
        return (self._run_id is not None or self._task_id is not None) and not self._refused

    @property
    def _refused(self) -> bool:
        """True where a stream said `failed` of a run of which nothing else was seen."""
        if self._doubted is None or self._nodes.seen:
            return False
        return self._task_id is None or self._records.absent_for >= self._options.limits.first_ids

    # Alarms

    def _next_alarm(self) -> float:
        alarms = [self._records.look_at, self._settled_at]
        alarms.append(self._stop.until if self._stop is not None else self._options.deadline)
        if (idle_at := self._idle_at()) is not None:
            alarms.append(idle_at)
        return min(alarms)

    def _idle_at(self) -> float | None:
        """When a stream without a byte is given up; a blocking answer has none before its end."""
        call = self._call
        if self._stop is not None or call is None:
            return None
        if not (self._options.streaming and call.witness.connected):
            return None
        return max(call.last_byte, call.witness.since) + self._options.idle

    def _alarm(self, now: float) -> RunOutcome | None:
        if now >= self._settled_at:
            return self._settled
        if self._stop is not None:
            if now >= self._stop.until:
                return self._leave(self._stop)
        elif now >= self._options.deadline:
            return self._begin_stop(None)
        elif (idle_at := self._idle_at()) is not None and now >= idle_at:
            return self._lose(msg("not a byte came for {idle:.0f} s", idle=self._options.idle))
        if now >= self._records.look_at:
            self._records.ask()
        return None

    # What calls say

    def _hear(self, call: PendingCall, message: CallMessage) -> RunOutcome | None:
        if isinstance(message, InternalError):
            raise message.error
        if call is self._call:
            return self._hear_post(message)
        if call is self._records.call:
            return self._hear_look(message)
        if call is self._joined and isinstance(message, StreamEvent):
            return self._hear_event(message.event)
        if self._stop is not None and call is self._stop.call:
            self._stop.hear(message)
            if self._stop.accepted:
                self._observer.ids(RunIds(self._run_id, self._task_id, stop_accepted=True))
        return None

    def _hear_post(self, message: CallMessage) -> RunOutcome | None:
        match message:
            case StreamOpened(headers):
                self._accepted = True
                self._records.learn_version(models.version_of(headers))
            case StreamEvent(event):
                return self._hear_event(event)
            case Reply():
                return self._hear_answer(message)
            case ConnectionLost(sent=False, reason=reason):
                return decide(NotSent(reason))
            case ConnectionLost(reason=reason):
                return self._lose(msg("{reason}", reason=reason))
            case _:
                return self._lose(msg("the stream ended without a result"))
        return None

    def _hear_event(self, event: Event) -> RunOutcome | None:
        self._nodes.observe(event)
        self._learn_ids(event.run_id, event.task_id)
        if self._run_id or self._task_id:
            self._known_running = True
        if self._stop is None and self._doubted is None:  # such a stream may never bring the end
            self._records.poll_beside_stream()
        self._observer.event(event)
        if event.run is not None:
            return self._doubt(event.run) if event.unconfirmed else self._conclude(event.run)
        if event.refusal is not None:
            refusal = replace(event.refusal, version=self._records.version)
            if self._run_id is None:
                return decide(refusal, self._options.terms)
            self._reported = refusal
            said = refusal.message or refusal.code
            return self._lose(msg("Dify reported an error: {said}", said=said))
        return None

    def _doubt(self, run: WorkflowRun) -> RunOutcome | None:
        """Ask the record about a failure that may be a refusal, or none at all."""
        self._doubted = run
        return self._lose(
            msg("Dify reported a failure that its record did not confirm: {error}", error=run.error or "")
        )

    def _hear_answer(self, reply: Reply) -> RunOutcome | None:
        self._records.learn_version(models.version_of(reply.headers))
        terms = self._options.terms
        if not 200 <= reply.status < 300:
            outcome = decide(models.read_refusal(reply.status, reply.headers, reply.body, reply.url), terms)
            return self._lose(outcome.why) if outcome.next is Next.SEARCH else outcome
        match models.read_answer(reply.body):
            case WorkflowRun() as run:
                self._learn_ids(run.run_id, run.task_id)
                return self._conclude(run)
            case ApiError() as refusal:
                return decide(replace(refusal, version=self._records.version), terms)
        if models.is_cut_off(reply.headers, reply.body):
            return self._lose(msg("the answer was cut off"))
        return decide(ApiError(reply.status, from_dify=False), terms)

    def _hear_look(self, message: CallMessage) -> RunOutcome | None:
        match self._records.hear(message):
            case RunNotFound():
                return self._hear_absence()
            case WorkflowRun() as run:
                return self._hear_record(run)
        return None

    def _hear_absence(self) -> RunOutcome | None:
        if self._call is not None or self._run_id is None:
            return self._records.give_up(self._lost) if self._call is None else None
        if self._doubted is not None and self._refused:
            return refused_run(self._doubted)
        if self._reported is not None:
            return decide(self._reported, self._options.terms)
        return self._records.give_up(self._lost)

    def _hear_record(self, run: WorkflowRun) -> RunOutcome | None:
        self._known_running = run.under_way
        if self._run_id is None:  # a row of the log, which has no outputs
            self._learn_ids(run.run_id, None)
            return None
        if not run.ended and run.status != models.PAUSED:
            task_may_come = self._joined is not None or (self._call is not None and self._options.streaming)
            if self._stop is not None and self._stop.call is None and not task_may_come:
                return self._leave(self._stop)
            return None
        if self._call is None:
            return self._conclude(run)
        if self._settled is None:
            self._settled = self._conclude(run)
            self._settled_at = time.monotonic() + self._options.limits.last_event
        return None

    # What follows from it

    def _learn_ids(self, run_id: str | None, task_id: str | None) -> None:
        # In the snapshot of a resumed run the task id is the run id (`human-input-events-late-snapshot`).
        known = (self._run_id or run_id, self._task_id or (task_id if task_id != run_id else None))
        if known == (self._run_id, self._task_id):
            return
        self._run_id, self._task_id = known
        self._observer.ids(RunIds(self._run_id, self._task_id))
        if self._run_id is not None:
            self._records.learn_run_id(self._run_id)
            if self._call is None or self._stop is not None:
                self._join()
        if self._stop is not None and self._stop.call is None and self._task_id is not None:
            self._send_stop(self._stop, self._task_id)

    def _conclude(self, run: WorkflowRun) -> RunOutcome | None:
        if run.under_way:
            return self._lose(msg("the answer says that the run is {status}", status=run.status))
        if run.status is None and self._run_id is not None and self._reported is None:
            self._reported = run
            return self._lose(msg("the answer does not say how the run ended"))
        run = run.with_ids(self._run_id, self._task_id)
        run = replace(run, failed_node=self._nodes.failed_node(run))
        if self._stop is not None and ended_by_stop(run):
            return self._stop.confirmed(run)
        return decide(run, self._options.terms)

    def _lose(self, why: str) -> RunOutcome | None:
        if self._call is not None:
            self._call.hang_up()
        self._call = None
        self._lost = why
        self._known_running = False
        if self._settled is not None:
            return self._settled
        if (outcome := self._records.give_up(why)) is not None:
            return outcome
        self._records.poll_alone(accepted=self._accepted)
        if not self._refused:
            self._join()
        return None

    def _join(self) -> None:
        """Join the events of the run; its pings prove nothing, so run detail is asked beside it.

        Of a blocking run they never bring the end (`events-join-blocking-run`), but the task id for stop.
        """
        if self._joined is not None or self._run_id is None:
            return
        if not self._options.streaming and self._stop is None:
            return
        if (self._records.version or _EVENTS_ENDPOINT) >= _EVENTS_ENDPOINT:
            self._joined = self._dify.join(self._run_id, self._options.user)

    # Stop

    def _begin_stop(self, cancel: Cancel | None) -> RunOutcome | None:
        """Ask for the end of the run. Without a task id its names are looked for once more, for a moment."""
        if self._settled is not None:
            return self._settled
        stop = self._stop = Stop(cancel, self._options.limits, known_running=self._known_running)
        if self._call is not None and not self._call.witness.connected:
            self._call.hang_up()
            if not self._call.witness.connected:  # shut before it stood: nothing can leave any more
                return stop.before_anything_left()
        self._lost = self._records.found_nothing(self._lost) if self._lost else self._lost
        self._records.poll_for_end(at_once=self._call is None or self._task_id is None)
        if self._task_id is not None:
            self._send_stop(stop, self._task_id)
        elif cancel is not None and not self._options.streaming:
            return self._leave(stop)
        else:
            self._join()
        return None

    def _send_stop(self, stop: Stop, task_id: str) -> None:
        stop.send(self._dify, task_id, self._options.user)

    def _leave(self, stop: Stop) -> RunOutcome:
        if self._settled is not None:
            return self._settled
        return stop.unconfirmed(
            streaming=self._options.streaming,
            known_running=self._known_running,
            lost=self._lost,
            node=self._nodes.running_node,
        )

"""One submitted call, from its POST to a verdict: follow the stream, look, recover, stop.

A single loop over an inbox with alarms. Four kinds of call report to it: the POST, a joined stream of events
(1.14), looks at the server's records, and stop. What servers do when things break: tests/data/recordings.
"""

import time
from collections.abc import Callable

from ..dify import models
from ..dify.client import (
    ConnectionLost,
    DifyClient,
    InternalError,
    Message,
    PendingCall,
    Reply,
    StreamEvent,
    StreamOpened,
)
from ..dify.models import ApiError, Event, RunNotFound, WorkflowRun
from ..dify.nodes import NodeTracker
from ..messages.message import msg
from ..system.values import replace
from .event_queue import Cancel, EventQueue
from .outcome import End, RunOutcome, decide, ended_by_stop
from .poller import CallOptions, RunPoller
from .stop import Stop

_OWN_WORDS = 2.0  # once the record has ended the stream may still say so: where the two differ it wins
_EVENTS_ENDPOINT = (1, 14)


class RunMonitor:
    """Pursue one call to its verdict.

    noted: called with run id, task id and whether stop is about to be sent, each time one of them is new and
    before anything else waits: the caller puts them on disk. progress: called with each event.
    """

    def __init__(
        self,
        dify: DifyClient,
        inbox: EventQueue,
        terms: CallOptions,
        *,
        noted: Callable[[str | None, str | None, bool], None],
        progress: Callable[[Event], None],
    ) -> None:
        self._dify = dify
        self._inbox = inbox
        self._terms = terms
        self._noted = noted
        self._progress = progress
        self._records = RunPoller(dify, terms)
        self._run_id: str | None = None
        self._task_id: str | None = None
        self._known_running = False
        self._call: PendingCall | None = None  # the POST, as long as it can tell
        self._joined: PendingCall | None = None
        self._stop: Stop | None = None
        self._nodes = NodeTracker()
        self._lost = ""  # why the POST can no longer tell
        self._reported: ApiError | None = None  # an `error` event of a run that has an id
        self._settled: RunOutcome | None = None  # what the record says
        self._settled_at = float("inf")

    def follow(self, call: PendingCall) -> RunOutcome:
        """Follow a POST that was just begun; ends at the latest 20 s after the deadline."""
        self._call = call
        return self._loop(None)

    def resume(self, run_id: str | None, why: str) -> RunOutcome:
        """Follow a run that an earlier process began, as one whose POST was lost; run_id: None to find it."""
        self._learn_ids(run_id, None)
        return self._loop(self._lose(why))

    def _loop(self, verdict: RunOutcome | None) -> RunOutcome:
        try:
            while verdict is None:
                heard = self._inbox.get(self._next_alarm())
                if heard is None:
                    verdict = self._alarm(time.monotonic())
                elif isinstance(heard, Cancel):
                    verdict = self._begin_stop(heard) if self._stop is None else self._leave(self._stop)
                else:
                    verdict = self._hear(*heard)
        finally:
            for call in (self._call, self._joined, self._records.call):
                if call is not None:
                    call.hang_up()
        if verdict.run is None and (self._run_id or self._task_id):
            status = models.RUNNING if self._known_running else None
            node = self._nodes.running_node if self._stop is not None else None
            run = WorkflowRun(self._run_id, self._task_id, status=status, failed_node=node)
            verdict = replace(verdict, run=run)
        return verdict

    # Alarms

    def _next_alarm(self) -> float:
        alarms = [self._records.look_at, self._records.give_up_at, self._settled_at]
        alarms.append(self._stop.until if self._stop is not None else self._terms.deadline)
        if (idle_at := self._idle_at()) is not None:
            alarms.append(idle_at)
        return min(alarms)

    def _idle_at(self) -> float | None:
        """When a stream without a byte is given up; a blocking answer has none before its end."""
        call = self._call
        if self._stop is not None or call is None or not (self._terms.streaming and call.witness.connected):
            return None
        return max(call.last_byte, call.witness.since) + self._terms.idle

    def _alarm(self, now: float) -> RunOutcome | None:
        if now >= self._settled_at:
            return self._settled
        if self._stop is not None:
            if now >= self._stop.until:
                return self._leave(self._stop)
        elif now >= self._terms.deadline:
            return self._begin_stop(None)
        elif (idle_at := self._idle_at()) is not None and now >= idle_at:
            return self._lose(msg("not a byte came for {idle:.0f} s", idle=self._terms.idle))
        if now >= self._records.give_up_at:
            return self._records.useless(self._lost)
        if now >= self._records.look_at:
            self._records.ask()
        return None

    # What calls tell

    def _hear(self, call: PendingCall, message: Message) -> RunOutcome | None:
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
        return None

    def _hear_post(self, message: Message) -> RunOutcome | None:
        match message:
            case StreamOpened(headers):
                self._records.learn_version(models.version_of(headers))
            case StreamEvent(event):
                return self._hear_event(event)
            case Reply():
                return self._hear_answer(message)
            case ConnectionLost(sent=False, reason=reason):
                return decide(End(unsent=reason))
            case ConnectionLost(reason=reason):
                return self._lose(reason)
            case _:
                return self._lose(msg("the stream ended without a result"))
        return None

    def _hear_event(self, event: Event) -> RunOutcome | None:
        self._learn_ids(event.run_id, event.task_id)
        if self._run_id or self._task_id:
            self._known_running = True
        if self._stop is None:
            self._records.beside_a_stream()
        self._nodes.observe(event)
        self._progress(event)
        if event.run is not None:
            return self._conclude(event.run)
        if event.refusal is not None:
            if self._run_id is None:
                return self._decide(End(refusal=event.refusal, in_stream=True))
            self._reported = event.refusal
            return self._lose(
                msg("Dify reported an error: {value}", value=event.refusal.message or event.refusal.code)
            )
        return None

    def _hear_answer(self, reply: Reply) -> RunOutcome | None:
        self._records.learn_version(models.version_of(reply.headers))
        if reply.status != 200:
            verdict = self._decide(
                End(refusal=models.read_refusal(reply.status, reply.headers, reply.body, reply.url))
            )
            return self._lose(verdict.why) if verdict.look else verdict
        match models.read_answer(reply.body):
            case WorkflowRun() as run:
                self._learn_ids(run.run_id, run.task_id)
                return self._conclude(run)
            case ApiError() as refusal:
                return self._decide(End(refusal=refusal, in_stream=True))
        if models.is_cut_off(reply.headers, reply.body):
            return self._lose(msg("the answer was cut off"))
        return self._decide(End(refusal=ApiError(reply.status, from_dify=False)))

    def _hear_look(self, message: Message) -> RunOutcome | None:
        found = self._records.hear(message)
        if isinstance(found, RunNotFound):
            return self._absent()
        if found is None:
            return self._untold()
        self._known_running = found.under_way
        if self._run_id is None:  # a row of the log, which has no outputs
            self._learn_ids(found.run_id, None)
            return None
        if not found.ended and found.status != models.PAUSED:
            return self._still_running()
        if self._call is None:
            return self._conclude(found)
        if self._settled is None:
            self._settled = self._conclude(found)
            self._settled_at = time.monotonic() + _OWN_WORDS
        return None

    def _untold(self) -> RunOutcome | None:
        """A look told nothing of the run; Records knows whether Dify refused it."""
        return None

    def _still_running(self) -> RunOutcome | None:
        """A look told that the run goes on."""
        task_may_come = self._joined is not None or (self._call is not None and self._terms.streaming)
        if self._stop is not None and self._stop.call is None and not task_may_come:
            return self._leave(self._stop)
        return None

    def _absent(self) -> RunOutcome | None:
        if self._reported is not None:
            return self._decide(End(refusal=self._reported, in_stream=True))
        return self._records.useless(self._lost) if self._call is None else None

    # What follows from it

    def _learn_ids(self, run_id: str | None, task_id: str | None) -> None:
        # In the snapshot of a resumed run the task id is the run id (`human-input-events-late-snapshot`).
        known = (self._run_id or run_id, self._task_id or (task_id if task_id != run_id else None))
        if known == (self._run_id, self._task_id):
            return
        self._run_id, self._task_id = known
        self._noted(self._run_id, self._task_id, False)
        if self._run_id is not None:
            self._records.learn_run_id(self._run_id)
            if self._call is None or self._stop is not None:
                self._join()
        if self._stop is not None and self._stop.call is None and self._task_id is not None:
            self._send_stop(self._stop, self._task_id)

    def _conclude(self, run: WorkflowRun) -> RunOutcome | None:
        if run.under_way:
            return self._lose(msg("the answer says that the run is {status}", status=run.status))
        run = run.with_ids(self._run_id, self._task_id)
        run = replace(run, failed_node=self._nodes.failed_node(run))
        if self._stop is not None and ended_by_stop(run):
            return self._stop.confirmed(run)
        return self._decide(End(run=run))

    def _decide(self, end: End) -> RunOutcome:
        return decide(end, partial=self._terms.partial, workflow_id=self._terms.workflow_id)

    def _lose(self, why: str) -> RunOutcome | None:
        if self._call is not None:
            self._call.hang_up()
        self._call = None
        self._lost = why
        self._known_running = False
        if self._settled is not None:
            return self._settled
        if (verdict := self._records.useless(why)) is not None:
            return verdict
        self._records.alone()
        self._join()
        return None

    def _join(self) -> None:
        """Join the events of the run; its pings prove nothing, so run detail is asked beside it.

        Of a blocking run they never bring the end (`events-join-blocking-run`), but the task id for stop.
        """
        if self._joined is not None or self._run_id is None:
            return
        if not self._terms.streaming and self._stop is None:
            return
        if (self._records.version or _EVENTS_ENDPOINT) >= _EVENTS_ENDPOINT:
            self._joined = self._dify.join(self._run_id, self._terms.user)

    # Stop

    def _begin_stop(self, cancel: Cancel | None) -> RunOutcome | None:
        """Ask for the end of the run. Without a task id its names are looked for once more, for a moment."""
        if self._settled is not None:
            return self._settled
        stop = self._stop = Stop(cancel, known_running=self._known_running)
        if self._call is not None and not self._call.witness.connected:
            self._call.hang_up()
            if not self._call.witness.connected:  # shut before it stood: nothing can leave any more
                return stop.before_anything_left()
        self._records.for_the_end(at_once=self._call is None or self._task_id is None)
        if self._task_id is not None:
            self._send_stop(stop, self._task_id)
        elif cancel is not None and not self._terms.streaming:
            return self._leave(stop)
        else:
            self._join()
        return None

    def _send_stop(self, stop: Stop, task_id: str) -> None:
        self._noted(self._run_id, task_id, True)
        stop.send(self._dify, task_id, self._terms.user)

    def _leave(self, stop: Stop) -> RunOutcome:
        if self._settled is not None:
            return self._settled
        return stop.unconfirmed(
            streaming=self._terms.streaming, known_running=self._known_running, lost=self._lost
        )

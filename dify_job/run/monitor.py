"""Monitor one workflow run from its POST or its id to its outcome: follow the stream, poll, recover, stop.

One event loop with timers receives the events of four kinds of call: the POST, a joined stream (1.14), polls
of the server's records, and stop. tests/data/recordings has the behaviour of servers in failures.

The states of a run, in their order; a state ends with an outcome or with another state:

    state      field       polls                it ends
    answering  `_post`     15 s to 60 s after   with the end in the answer; lost, if the answer ends without
                           the last event       it; settled, if run detail has the end first
    settled    `_settled`  as before            with the end in the answer, after 2 s with that in run detail
    lost       `_lost`     0.5 s to 30 s apart  with the end in run detail or a joined stream; with `unknown`,
                                                if the poller gives up
    stopping   `_stop`     1 s apart            with the end that confirms the stop; unconfirmed 10 s after
                                                the stop request, after 5 s without a task id, at once if none
                                                can come, or at the second signal

The deadline and the first signal begin the state stopping, while another state continues. `resume` begins
with the state lost. Not every end is final:

    end                                      it is
    a final status in the answer             the outcome
    an `error` event before the run began    the outcome
    an `error` event after that              `_if_absent`: lost; the outcome, if the server has no such run
    an end without a status                  `_if_absent`, too
    a failure without a creator              `_unconfirmed`: lost; a rejection, if no node began and the
                                             server has no such run after 5 s
"""

import time

from ..dify import models
from ..dify.client import CallEvent, ConnectionLost, DifyClient, PendingCall, Reply, StreamEvent, StreamOpened
from ..dify.event_queue import Cancel, EventQueue
from ..dify.models import ApiError, Event, FailedNode, RunNotFound, WorkflowRun
from ..dify.nodes import NodeTracker
from ..exit_codes import Outcome
from ..messages.message import msg
from .call_options import CallOptions
from .observers import RunIds, RunObserver
from .outcome import Next, NotSent, RunOutcome, cancelled, decide, ended_by_stop, rejected_run, unknown
from .poller import RunPoller

_EVENTS_ENDPOINT = (1, 14)


class RunMonitor:
    """A monitor of one run until its outcome is known, whether it was started now or earlier."""

    def __init__(
        self, dify: DifyClient, events: EventQueue, options: CallOptions, observer: RunObserver
    ) -> None:
        """Monitor nothing yet.

        Args:
            dify: The client.
            events: The queue of calls and signals.
            options: The options of the call.
            observer: Observes each event; it receives the run's ids before the next wait.
        """
        self._dify = dify
        self._events = events
        self._options = options
        self._observer = observer
        self._poller = RunPoller(dify, options)
        self._run_id: str | None = None
        self._task_id: str | None = None
        self._accepted = False  # the server answered the POST with 200, so the run may wait in a queue
        self._known_running = False  # an event or a record reported it, and the answer was not lost since
        self._nodes = NodeTracker()
        # The states and the ends that are not final, as in the docstring of the module
        self._post: PendingCall | None = None
        self._joined: PendingCall | None = None
        self._settled: RunOutcome | None = None
        self._settled_at = float("inf")  # the time at which it is final
        self._lost = ""
        self._unconfirmed: WorkflowRun | None = None
        self._if_absent: ApiError | WorkflowRun | None = None
        self._stop: _Stop | None = None
        self._signals = 0

    def follow(self, call: PendingCall) -> RunOutcome:
        """Follow a POST that was just sent, until at most 20 s after the deadline."""
        self._post = call
        return self._loop(None)

    def resume(self, run_id: str | None, why: str) -> RunOutcome:
        """Follow a run that an earlier process started.

        Args:
            run_id: The run id; None to search for it.
            why: Why its POST was lost.
        """
        self._accepted = True
        self._learn_ids(run_id, None)
        return self._loop(self._on_lost(why))

    def _loop(self, outcome: RunOutcome | None) -> RunOutcome:
        try:
            while outcome is None:
                event = self._events.get(self._next_timer())
                if event is None:
                    outcome = self._on_timer(time.monotonic())
                elif isinstance(event, Cancel):
                    outcome = self._on_signal(event)
                else:
                    outcome = self._on_event(*event)
        finally:
            for call in (self._post, self._joined, self._poller.call):
                if call is not None:
                    call.close()
        if self._stop is not None and self._stop.cancel is not None:
            if outcome.next is Next.RETRY:
                return cancelled(self._stop.cancel.signum)
            if outcome.outcome is Outcome.UNKNOWN:
                outcome = self._end_unconfirmed(self._stop)
        if outcome.run is None and (self._run_id or self._task_id) and not self._looks_rejected:
            run = WorkflowRun(
                self._run_id,
                self._task_id,
                status=models.RUNNING if self._known_running else None,
                failed_node=self._nodes.running_node if self._stop is not None else None,
            )
            outcome = outcome._replace(run=run)
        return outcome

    @property
    def _looks_rejected(self) -> bool:
        """Return True if an unconfirmed failure is all that the server reported of the run.

        Rejected inputs look so from 1.15 on; the id of their run leads nowhere, so the result omits it.
        """
        if self._unconfirmed is None or self._nodes.seen:
            return False
        return self._task_id is None or self._poller.absent_for >= self._options.limits.first_ids

    # Timers

    def _next_timer(self) -> float:
        until = self._options.deadline
        if self._stop is not None:
            until = min(self._stop.until, self._stop.again_at)
        return min(self._poller.poll_at, self._settled_at, until, self._idle_at())

    def _idle_at(self) -> float:
        """Return the time at which a silent stream is given up; infinity for a blocking answer."""
        call = self._post
        if self._stop is not None or call is None:
            return float("inf")
        if not (self._options.streaming and call.tracker.connected):
            return float("inf")
        return max(call.last_byte, call.tracker.since) + self._options.idle

    def _on_timer(self, now: float) -> RunOutcome | None:
        if now >= self._settled_at:
            return self._settled
        if self._stop is not None:
            if now >= self._stop.until:
                return self._end_unconfirmed(self._stop)
            if now >= self._stop.again_at and self._task_id is not None:
                self._stop.send(self._dify, self._task_id, self._options.user)
        elif now >= self._options.deadline:
            return self._begin_stop(None)
        elif now >= self._idle_at():
            return self._on_lost(msg("the server sent no data for {idle:.0f} s", idle=self._options.idle))
        if now >= self._poller.poll_at:
            self._poller.poll()
        return None

    # Events of calls

    def _on_event(self, call: PendingCall, event: CallEvent | Exception) -> RunOutcome | None:
        if isinstance(event, Exception):
            raise event
        if call is self._post:
            return self._on_post(event)
        if call is self._poller.call:
            return self._on_poll(event)
        if call is self._joined and isinstance(event, StreamEvent):
            return self._on_stream_event(event.event)
        if self._stop is not None and call is self._stop.call:
            self._stop.on_answer(event)
            if self._stop.accepted:
                self._observer.ids(RunIds(self._run_id, self._task_id, stop_accepted=True))
        return None

    def _on_post(self, event: CallEvent) -> RunOutcome | None:
        match event:
            case StreamOpened(headers):
                self._accepted = True
                self._poller.learn_version(models.version_of(headers))
            case StreamEvent(stream_event):
                return self._on_stream_event(stream_event)
            case Reply():
                return self._on_reply(event)
            case ConnectionLost(sent=False, reason=reason):
                return decide(NotSent(reason))
            case ConnectionLost(reason=reason):
                return self._on_lost(reason)
            case _:
                return self._on_lost(msg("the server ended the stream without a result"))
        return None

    def _on_stream_event(self, event: Event) -> RunOutcome | None:
        self._nodes.observe(event)
        self._learn_ids(event.run_id, event.task_id)
        if self._run_id or self._task_id:
            self._known_running = True
        if self._stop is None and self._unconfirmed is None:  # such a stream may never report the end
            self._poller.on_stream_alive()
        self._observer.event(event)
        if event.run is not None:
            if self._run_id not in (None, event.run.run_id):
                return self._on_lost(msg("the stream reported the end of another run"))
            if not event.unconfirmed:
                return self._conclude(event.run)
            self._unconfirmed = event.run  # it may be a rejection or no failure at all: ask run detail
            why = msg(
                "the stream reported a failure ({error}), which Dify's record of the run did not confirm",
                error=event.run.error or "",
            )
            return self._on_lost(why)
        if event.error is not None:
            error = event.error._replace(version=self._poller.version)
            outcome = decide(error, self._options)
            may_have_begun = self._run_id is not None or (
                outcome.next is Next.RETRY and (self._task_id is not None or self._nodes.seen)
            )
            if not may_have_begun:
                return outcome
            self._if_absent = error
            return self._on_lost(
                msg("Dify reported an error in the stream: {said}", said=error.message or error.code)
            )
        return None

    def _on_reply(self, reply: Reply) -> RunOutcome | None:
        self._poller.learn_version(models.version_of(reply.headers))
        late = self._post is not None and self._post.tracker.age > self._options.limits.prompt_rejection
        if not 200 <= reply.status < 300:
            error = models.read_error(reply.status, reply.headers, reply.body, reply.url)
            outcome = decide(error, self._options)
            if late and outcome.next is Next.RETRY:  # a proxy may have waited for Dify's answer
                outcome = decide(error._replace(passed_on=True), self._options)
            return self._on_lost(outcome.why) if outcome.next is Next.SEARCH else outcome
        match models.read_answer(reply.body):
            case WorkflowRun() as run:
                self._learn_ids(run.run_id, run.task_id)
                return self._conclude(run)
            case ApiError() as error:
                return decide(error._replace(version=self._poller.version), self._options)
        if models.is_cut_off(reply.headers, reply.body):
            return self._on_lost(msg("the answer of the server was cut off"))
        if late:  # the page of a proxy whose wait for Dify ended
            return self._on_lost(msg("the answer of the server does not come from Dify"))
        return decide(ApiError(reply.status, from_dify=False), self._options)

    def _on_poll(self, event: CallEvent) -> RunOutcome | None:
        match self._poller.on_answer(event):
            case RunNotFound():
                return self._on_absent()
            case WorkflowRun() as run:
                return self._on_record(run)
        return None

    def _on_absent(self) -> RunOutcome | None:
        """Handle a poll without the run, which proves nothing while the POST is answered."""
        if self._post is not None:
            return None
        if self._run_id is not None and self._unconfirmed is not None and self._looks_rejected:
            return rejected_run(self._unconfirmed)
        if self._run_id is not None and self._if_absent is not None:
            return decide(self._if_absent, self._options)._replace(next=Next.FINAL)
        return self._poller.outcome_if_given_up(self._lost)

    def _on_record(self, run: WorkflowRun) -> RunOutcome | None:
        """Handle run detail, or a log row, which has no outputs and only leads to run detail."""
        self._known_running = run.under_way
        if self._run_id is None:
            self._learn_ids(run.run_id, None)
            return None
        if not run.ended and run.status != models.PAUSED:
            task_may_come = self._joined is not None or (self._post is not None and self._options.streaming)
            if self._stop is not None and self._stop.call is None and not task_may_come:
                return self._end_unconfirmed(self._stop)
            return None
        if self._post is None:
            return self._conclude(run)
        if self._settled is None:
            self._settled = self._conclude(run)
            self._settled_at = time.monotonic() + self._options.limits.last_event
        return None

    # What follows from them

    def _learn_ids(self, run_id: str | None, task_id: str | None) -> None:
        # In the snapshot of a resumed run, the task id is the run id (`human-input-events-late-snapshot`).
        known = (self._run_id or run_id, self._task_id or (task_id if task_id != run_id else None))
        if known == (self._run_id, self._task_id):
            return
        self._run_id, self._task_id = known
        self._observer.ids(RunIds(self._run_id, self._task_id))
        if self._run_id is not None:
            self._poller.learn_run_id(self._run_id)
            if self._post is None or self._stop is not None:
                self._join()
        if self._stop is not None and self._stop.call is None and self._task_id is not None:
            self._stop.send(self._dify, self._task_id, self._options.user)

    def _conclude(self, run: WorkflowRun) -> RunOutcome | None:
        """Return the outcome of a reported end; None if it is no end, so the run counts as lost."""
        if run.under_way:
            return self._on_lost(msg("the server answered that the run is {status}", status=run.status))
        if run.status is None and self._run_id is not None and self._if_absent is None:
            self._if_absent = run
            return self._on_lost(msg("the server's answer does not contain the run's outcome"))
        run = run.with_ids(self._run_id, self._task_id)
        run = run._replace(failed_node=self._nodes.failed_node(run))
        if self._stop is not None and ended_by_stop(run):
            return self._stop.confirmed(run)
        return decide(run, self._options)

    def _on_lost(self, why: str) -> RunOutcome | None:
        """Begin the state lost; return an outcome if run detail had the end, or nothing can find the run."""
        if self._post is not None:
            self._post.close()
        self._post = None
        self._lost = why
        self._known_running = False
        if self._settled is not None:
            return self._settled
        if (outcome := self._poller.outcome_if_given_up(why)) is not None:
            return outcome
        self._poller.on_stream_lost(accepted=self._accepted)
        if not self._looks_rejected:
            self._join()
        return None

    def _join(self) -> None:
        """Join the events of the run, and poll run detail at the same time, because pings prove nothing.

        The events of a blocking run never include its end (`events-join-blocking-run`), but they have the
        task id for stop.
        """
        if self._joined is not None or self._run_id is None:
            return
        if not self._options.streaming and self._stop is None:
            return
        if (self._poller.version or _EVENTS_ENDPOINT) >= _EVENTS_ENDPOINT:
            self._joined = self._dify.join(self._run_id, self._options.user)

    # Stop

    def _begin_stop(self, cancel: Cancel | None) -> RunOutcome | None:
        """Request a stop of the run. Without a task id, first search for the run's ids for a short time."""
        if self._settled is not None:
            return self._settled
        stop = self._stop = _Stop(cancel, self._options, known_running=self._known_running)
        if self._post is not None and not self._post.tracker.connected:
            self._post.close()
            if not self._post.tracker.connected:  # closed before it was established, so no byte can leave
                if cancel is not None:
                    return cancelled(cancel.signum)
                return decide(
                    NotSent(msg("the server did not accept a connection before the deadline"))
                )._replace(next=Next.FINAL)
        self._lost = self._poller.search_result(self._lost) if self._lost else self._lost
        self._poller.on_stop(at_once=self._post is None or self._task_id is None)
        if self._task_id is not None:
            stop.send(self._dify, self._task_id, self._options.user)
        elif cancel is not None and not self._options.streaming:
            return self._end_unconfirmed(stop)
        else:
            self._join()
        return None

    def _on_signal(self, cancel: Cancel) -> RunOutcome | None:
        """Stop the run, or leave at the second signal; the first one does not interrupt a deadline's stop."""
        self._signals += 1
        if self._stop is None:
            return self._begin_stop(cancel)
        return self._end_unconfirmed(self._stop) if self._signals > 1 else None

    def _end_unconfirmed(self, stop: "_Stop") -> RunOutcome:
        """Return the outcome of a stop that nothing confirmed until now."""
        if self._settled is not None:
            return self._settled
        return stop.unconfirmed(
            known_running=self._known_running, lost=self._lost, node=self._nodes.running_node
        )


class _Stop:
    """One stop of one run.

    Attributes:
        cancel: The signal that requested the stop; None for the deadline.
        accepted: The server answered with success, which proves nothing (`stop-unknown-task`).
        call: The stop request, once it is sent.
        until: Monotonic time limit for a confirmation.
        again_at: Monotonic time at which a lost stop request is repeated, which is safe.
    """

    def __init__(self, cancel: Cancel | None, options: CallOptions, *, known_running: bool) -> None:
        """Send nothing yet.

        Args:
            cancel: The signal that requested the stop; None for the deadline.
            options: The options of the call.
            known_running: The run is known to be running when the stop begins.
        """
        self.cancel = cancel
        self._options = options
        self._was_running = known_running
        self._problem: str = msg("the task ID of the run was not known yet")
        self.accepted = False
        self.call: PendingCall | None = None
        self.until = time.monotonic() + options.limits.first_ids
        self.again_at = float("inf")

    def send(self, dify: DifyClient, task_id: str, user: str) -> None:
        if self.call is None:
            self._problem = msg("the server did not answer")
            self.until = time.monotonic() + self._options.limits.stop_confirmation
        self.call = dify.stop(task_id, user)
        self.again_at = float("inf")

    def on_answer(self, event: CallEvent) -> None:
        match event:
            case Reply(status=status, body=body):
                said = models.json_object(body)  # None for a proxy's page
                if 200 <= status < 300 and said is not None and said.get("result", "success") == "success":
                    self.accepted = True
                    return
                self._problem = msg("HTTP {status}", status=status)
            case ConnectionLost(reason=reason):
                self._problem = reason
        self.again_at = time.monotonic() + self._options.limits.stop_poll

    def confirmed(self, run: WorkflowRun) -> RunOutcome:
        """Return the outcome of a confirmed stop."""
        how = msg("dify-job asked the server to stop the run, and the server confirmed it")
        outcome = self._outcome(how, run.failed_node, known_running=True)
        return outcome._replace(run=run, unsettled=False)

    def unconfirmed(self, *, known_running: bool, lost: str, node: FailedNode | None) -> RunOutcome:
        """Return the outcome without a confirmation.

        Args:
            known_running: The run is known to be running now. After the deadline, 124 needs this, now or
                when the stop began; otherwise the outcome is `unknown`.
            lost: Why the answer of the POST was lost; empty if it was not.
            node: The running node, if it is known.
        """
        known_running |= self._was_running
        if self.call is None and not self._options.streaming:
            how = msg(
                "the run could not be stopped, because a blocking call has no task ID; the "
                "run may still be in progress"
            )
        elif self.call is None:
            how = msg(
                "the run could not be stopped: {reason}; it may still be in progress", reason=self._problem
            )
        elif not self.accepted:
            how = msg(
                "dify-job asked the server to stop the run, but got no confirmation: "
                "{reason}; the run may still be in progress",
                reason=self._problem,
            )
        else:
            how = msg(
                "dify-job asked the server to stop the run, but the server did not confirm "
                "it; the run may still be in progress"
            )
        if self.cancel is None and not known_running:
            return unknown(msg("{lost}; {how}", lost=lost or msg("the deadline of the run passed"), how=how))
        return self._outcome(how, node, known_running=known_running)

    def _outcome(self, how: str, node: FailedNode | None, *, known_running: bool) -> RunOutcome:
        hint = msg("check the app's Logs in Dify: a run that waits in Dify's queue can start later")
        if known_running:
            hint = msg(
                "check the run in the app's Logs in Dify; Dify still finishes the node that is executing"
            )
        if self.cancel is not None:
            message = msg("the run was cancelled; {how}", how=how)
            return RunOutcome(Outcome.CANCELLED, message, hint, signum=self.cancel.signum, unsettled=True)
        message = msg("the deadline of the run passed; {how}", how=how)
        if node is not None:
            message = msg(
                'the deadline of the run passed at "{title}" ({kind}); {how}',
                title=node.title,
                kind=node.type,
                how=how,
            )
        return RunOutcome(Outcome.TIMEOUT, message, hint, unsettled=True)

"""One submitted call, from its POST to a verdict: follow the stream, look, recover, stop.

A single loop over an inbox with alarms. Four kinds of call report to it: the POST, a joined stream of events
(1.14), looks at run detail or the logs, and stop. What servers do when things break: tests/data/recordings.
"""

import random
import time
from collections.abc import Callable

from ..dify import dialects
from ..dify.client import Arrived, Broken, Call, Crashed, Dify, Message, Opened, Reply
from ..dify.dialects import Event, Refusal, WorkflowRun
from ..exits import Outcome
from ..values import dataclass, replace
from .inbox import Cancel, Inbox
from .outcome import End, Verdict, decide, ended_by_stop, unknown
from .stop import Stop, cancelled

_FIRST_LOOK = (
    15.0  # seconds of nothing but pings before run detail is asked: to 1.12 a pause is not announced
)
_LONGEST_PAUSE = 60.0  # between looks beside a stream
_RECOVERY_PAUSES = (0.5, 30.0)  # the first and the longest between looks once the stream is lost
_STOP_PAUSE = 1.0  # between looks for the end that stop should bring
_LOOK_LIMIT = 10.0  # for the answer to one look
_OWN_WORDS = 2.0  # once the record has ended the stream may still say so: where the two differ it wins
_SEARCH = 30.0  # how long a run without an id is looked for
_ABSENT = 120.0  # how long run detail may deny an id that the server gave (`celery-store-run`)

_LOG_ROWS_AT_START = (1, 10)
_EVENTS_ENDPOINT = (1, 14)


@dataclass(frozen=True)
class Terms:
    """What the job asks of a call. deadline: monotonic; idle: seconds.

    searchable: the end user is this run's own, so a log row of that user is this run.
    """

    user: str
    deadline: float
    idle: float
    streaming: bool = True
    searchable: bool = True
    partial: str = "failure"
    workflow_id: str | None = None


class Pursuit:
    """Pursue one call to its verdict.

    noted: called with run id, task id and whether stop is about to be sent, each time one of them is new and
    before anything else waits: the caller puts them on disk. progress: called with each event.
    """

    def __init__(
        self,
        dify: Dify,
        inbox: Inbox,
        terms: Terms,
        *,
        noted: Callable[[str | None, str | None, bool], None],
        progress: Callable[[Event], None],
    ) -> None:
        self._dify = dify
        self._inbox = inbox
        self._terms = terms
        self._noted = noted
        self._progress = progress
        self._run_id: str | None = None
        self._task_id: str | None = None
        self._version: tuple[int, int] | None = None
        self._known_running = False
        self._call: Call | None = None  # the POST, as long as it can tell
        self._joined: Call | None = None
        self._look: Call | None = None
        self._stop: Stop | None = None
        self._lost = ""  # why the POST can no longer tell
        self._reported: Refusal | None = None  # an `error` event of a run that has an id
        self._absent_since: float | None = None
        self._look_at = time.monotonic() + _FIRST_LOOK
        self._pause = _FIRST_LOOK
        self._give_up_at = float("inf")
        self._settled: Verdict | None = None  # what the record says
        self._settled_at = float("inf")
        self._only_looking = False
        self._answered = False

    def follow(self, call: Call) -> Verdict:
        """Follow a POST that was just begun; ends at the latest 20 s after the deadline."""
        self._call = call
        return self._loop(None)

    def resume(self, run_id: str | None, why: str) -> Verdict:
        """Follow a run that an earlier process began, as one whose POST was lost; run_id: None to find it."""
        self._run_id = run_id
        return self._loop(self._lose(why))

    def look_up(self, run_id: str | None, why: str) -> Verdict:
        """Find out about a run of an earlier process until the deadline in terms, and never stop it.

        TIMEOUT says that it is known to be running, UNREACHABLE that no answer came at all.
        """
        self._run_id = run_id
        self._only_looking = True
        return self._loop(self._lose(why))

    def _loop(self, verdict: Verdict | None) -> Verdict:
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
            for call in (self._call, self._joined, self._look):
                if call is not None:
                    call.hang_up()
        if verdict.run is None and (self._run_id or self._task_id):
            status = dialects.RUNNING if self._known_running else None
            verdict = replace(verdict, run=WorkflowRun(self._run_id, self._task_id, status=status))
        return verdict

    # Alarms

    def _next_alarm(self) -> float:
        alarms = [self._look_at, self._give_up_at, self._settled_at]
        if self._stop is not None:
            alarms.append(self._stop.until)
        else:
            alarms.append(self._terms.deadline)
            if self._call is not None:
                alarms.append(self._call.last_byte + self._terms.idle)
        return min(alarms)

    def _alarm(self, now: float) -> Verdict | None:
        if now >= self._settled_at:
            return self._settled
        if self._stop is not None:
            if now >= self._stop.until:
                return self._leave(self._stop)
        elif now >= self._terms.deadline:
            return self._begin_stop(None)
        elif self._call is not None and now >= self._call.last_byte + self._terms.idle:
            return self._lose(f"not a byte came for {self._terms.idle:.0f} s")
        if now >= self._give_up_at:
            return unknown(f"{self._lost}, and the server's log does not show it")
        if now >= self._look_at:
            self._ask(now)
        return None

    # What calls tell

    def _hear(self, call: Call, message: Message) -> Verdict | None:
        if isinstance(message, Crashed):
            raise message.error
        if call is self._call:
            return self._hear_post(message)
        if call is self._look:
            return self._hear_look(message)
        if call is self._joined and isinstance(message, Arrived):
            return self._hear_event(message.event)
        if self._stop is not None and call is self._stop.call:
            self._stop.hear(message)
        return None

    def _hear_post(self, message: Message) -> Verdict | None:
        match message:
            case Opened(headers):
                self._learn_version(dialects.version_of(headers))
            case Arrived(event):
                return self._hear_event(event)
            case Reply():
                return self._hear_answer(message)
            case Broken(sent=False, reason=reason):
                return decide(End(unsent=reason))
            case Broken(reason=reason):
                return self._lose(reason)
            case _:
                return self._lose("the stream ended without a result")
        return None

    def _hear_event(self, event: Event) -> Verdict | None:
        self._learn_ids(event.run_id, event.task_id)
        if self._run_id or self._task_id:
            self._known_running = True
        if self._stop is None:
            self._pause = _FIRST_LOOK
            self._look_at = time.monotonic() + self._pause
        self._progress(event)
        if event.run is not None:
            return self._conclude(event.run)
        if event.refusal is not None:
            if self._run_id is None:
                return self._decide(End(refusal=event.refusal, in_stream=True))
            self._reported = event.refusal
            return self._lose(f"Dify reported an error: {event.refusal.message or event.refusal.code}")
        return None

    def _hear_answer(self, reply: Reply) -> Verdict | None:
        version = dialects.version_of(reply.headers)
        self._learn_version(version)
        if reply.status != 200:
            verdict = self._decide(
                End(refusal=dialects.read_refusal(reply.status, reply.headers, reply.body))
            )
            return self._lose(verdict.why) if verdict.look else verdict
        match dialects.read_answer(reply.body):
            case WorkflowRun() as run:
                self._learn_ids(run.run_id, run.task_id)
                return self._conclude(run)
            case Refusal() as refusal:
                return self._decide(End(refusal=refusal, in_stream=True))
        kind = reply.headers.get("Content-Type", "")
        if version is not None or not reply.body or not kind or "json" in kind:
            # Half an answer, even half a head, which http.client takes for a whole one.
            return self._lose("the answer was cut off")
        return self._decide(End(refusal=Refusal(reply.status, from_dify=False)))

    def _hear_look(self, message: Message) -> Verdict | None:
        self._look = None
        longest = _RECOVERY_PAUSES[1] if self._call is None else _LONGEST_PAUSE
        self._pause = _STOP_PAUSE if self._stop is not None else min(longest, 2 * self._pause)
        self._look_at = time.monotonic() + self._pause * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
        if not isinstance(message, Reply):
            return None
        self._answered = True
        self._learn_version(dialects.version_of(message.headers))
        if self._run_id is None:
            rows = dialects.read_logs(message.body, self._terms.user) if message.status == 200 else ()
            if rows:
                self._learn_ids(rows[0].run_id, None)
                self._known_running = not rows[0].ended
                self._look_at = time.monotonic()
            return None
        if message.status not in (200, 404):
            return None
        run = dialects.read_detail(message.body) if message.status == 200 else None
        return self._absent() if run is None else self._hear_record(run)

    def _hear_record(self, run: WorkflowRun) -> Verdict | None:
        self._absent_since = None
        self._known_running = not run.ended
        if not run.ended and run.status != dialects.PAUSED:
            return self._begin_stop(None) if self._only_looking else None
        if self._call is None:
            return self._conclude(run)
        if self._settled is None:
            self._settled = self._conclude(run)
            self._settled_at = time.monotonic() + _OWN_WORDS
        return None

    def _absent(self) -> Verdict | None:
        if self._reported is not None:
            return self._decide(End(refusal=self._reported, in_stream=True))
        now = time.monotonic()
        self._absent_since = self._absent_since or now
        if self._call is None and now > self._absent_since + _ABSENT:
            return unknown(f"{self._lost}, and the server does not know run {self._run_id}")
        return None

    # What follows from it

    def _learn_ids(self, run_id: str | None, task_id: str | None) -> None:
        # In the snapshot of a resumed run the task id is the run id (`human-input-events-late-snapshot`).
        known = (self._run_id or run_id, self._task_id or (task_id if task_id != run_id else None))
        if known == (self._run_id, self._task_id):
            return
        self._run_id, self._task_id = known
        self._noted(self._run_id, self._task_id, False)
        if self._run_id is not None:
            self._give_up_at = float("inf")
            if self._call is None:
                self._join()
        if self._stop is not None and self._stop.call is None and self._task_id is not None:
            self._send_stop(self._stop, self._task_id)

    def _learn_version(self, version: tuple[int, int] | None) -> None:
        self._version = self._version or version
        if version is not None and version < _LOG_ROWS_AT_START:
            self._give_up_at = float("inf")  # the row comes when the run ends: search until the deadline

    def _conclude(self, run: WorkflowRun) -> Verdict:
        run = run.with_ids(self._run_id, self._task_id)
        if self._stop is not None and ended_by_stop(run):
            return self._stop.confirmed(run)
        return self._decide(End(run=run))

    def _decide(self, end: End) -> Verdict:
        return decide(end, partial=self._terms.partial, workflow_id=self._terms.workflow_id)

    def _lose(self, why: str) -> Verdict | None:
        if self._call is not None:
            self._call.hang_up()
        self._call = None
        self._lost = why
        self._known_running = False
        now = time.monotonic()
        self._pause, self._look_at = _RECOVERY_PAUSES[0], now
        if self._settled is not None:
            return self._settled
        if self._run_id is not None:
            self._join()
        elif not self._terms.searchable:
            return unknown(f"{why}; with a fixed end_user the server's log cannot tell this run from others")
        elif self._version is None or self._version >= _LOG_ROWS_AT_START:
            self._give_up_at = now + _SEARCH
        return None

    def _join(self) -> None:
        """Join the events of the run; its pings prove nothing, so run detail is asked beside it."""
        if self._only_looking:
            return
        if self._joined is None and self._run_id and (self._version or _EVENTS_ENDPOINT) >= _EVENTS_ENDPOINT:
            self._joined = self._dify.join(self._run_id, self._terms.user)

    def _ask(self, now: float) -> None:
        if self._look is not None:
            self._look.hang_up()
            self._look = None
        self._look_at = now + _LOOK_LIMIT
        if self._run_id is not None:
            self._look = self._dify.detail(self._run_id)
        elif self._terms.searchable:
            self._look = self._dify.logs(self._terms.user)

    # Stop

    def _begin_stop(self, cancel: Cancel | None) -> Verdict | None:
        if self._only_looking:
            return self._looked_enough(cancel)
        stop = self._stop = Stop(cancel)
        if self._call is not None and not self._call.witness.connected:
            self._call.hang_up()
            if not self._call.witness.connected:  # shut before it stood: nothing can leave any more
                return stop.before_anything_left()
        now = time.monotonic()
        self._look_at = now if self._call is None else now + _STOP_PAUSE
        if self._task_id is not None:
            self._send_stop(stop, self._task_id)
        elif cancel is None and not self._known_running:
            return unknown(self._lost or "the deadline passed before the server named the run")
        elif not self._terms.streaming or (self._call is None and self._joined is None):
            return self._leave(stop)
        return None

    def _send_stop(self, stop: Stop, task_id: str) -> None:
        self._noted(self._run_id, task_id, True)
        stop.send(self._dify, task_id, self._terms.user)

    def _leave(self, stop: Stop) -> Verdict:
        if self._settled is not None:
            return self._settled
        return stop.unconfirmed(
            streaming=self._terms.streaming, known_running=self._known_running, lost=self._lost
        )

    def _looked_enough(self, cancel: Cancel | None) -> Verdict:
        if cancel is not None:
            return cancelled(cancel)
        if self._known_running:
            return Verdict(Outcome.TIMEOUT, f"{self._lost}, and it is still running", unsettled=True)
        if self._answered:
            return unknown(self._lost)
        unreachable = decide(End(unsent="an earlier run of this job could not be looked up"))
        return replace(unreachable, again=False, unsettled=True)

"""The states of a run and the pauses between polls, with scripted calls in virtual time."""

import json
import signal
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from dify_job.dify import models
from dify_job.dify.client import CallEvent, ConnectionLost, Reply, StreamClosed, StreamEvent, StreamOpened
from dify_job.dify.event_queue import Cancel, EventQueue
from dify_job.dify.models import ApiError, Event, WorkflowRun
from dify_job.run.call_options import CallOptions, RunLimits
from dify_job.run.monitor import RunMonitor
from dify_job.run.observers import RunObserver
from dify_job.run.outcome import Next, RunOutcome

HEAD = {"X-Version": "1.16.1"}
OPENED, CLOSED = StreamOpened(HEAD), StreamClosed()
STARTED = StreamEvent(Event("workflow_started", "r", "t"))
NODE = StreamEvent(Event("node_started", "r", "t", node="Sum up", node_id="n", node_type="llm"))
ABSENT = Reply(404, HEAD, b'{"code": "not_found", "message": "no", "status": 404}')
NO_ROWS = Reply(200, HEAD, b'{"data": [], "has_more": false}')
STOPPED = Reply(200, HEAD, b'{"result": "success"}')
Script = list[tuple[float, CallEvent]]  # the events of one call, each with seconds after its request


def end(status: str, *, unconfirmed: bool = False, error: str | None = None) -> StreamEvent:
    run = WorkflowRun("r", "t", status=status, error=error)
    return StreamEvent(Event("workflow_finished", "r", "t", run=run, unconfirmed=unconfirmed))


def error_event(code: str) -> StreamEvent:
    return StreamEvent(Event("error", "r", "t", error=ApiError(500, code, "said", in_stream=True)))


def record(status: str) -> Reply:
    return Reply(200, HEAD, json.dumps({"id": "r", "status": status}).encode())


class ScriptedCall:
    """One call, whose events come at virtual times."""

    def __init__(self, clock: "VirtualTime", kind: str, script: Script) -> None:
        self.kind = kind
        self.events = [(clock.now + pause, event) for pause, event in script]
        self.last_byte = clock.now
        self.tracker = SimpleNamespace(connected=True, age=0.0, since=clock.now)

    def close(self) -> None:
        self.events.clear()


class VirtualTime(EventQueue):
    """The client and the queue of a run: a wait ends at once, and the time is the end of the wait.

    Attributes:
        now: The virtual time in seconds.
        requests: The kind and time of each request.
    """

    def __init__(self, signals: list[float], scripts: Mapping[str, list[Script]]) -> None:
        super().__init__()
        self.now = 0.0
        self.requests: list[tuple[str, float]] = []
        self._signals = signals
        self._scripts = {kind: list(given) for kind, given in scripts.items()}
        self._calls: list[ScriptedCall] = []

    def monotonic(self) -> float:
        return self.now

    def start(self, kind: str) -> ScriptedCall:
        """Begin a call with the next script of its kind; the last one repeats."""
        scripts = self._scripts.get(kind, [[]])
        call = ScriptedCall(self, kind, scripts.pop(0) if len(scripts) > 1 else scripts[0])
        self.requests.append((kind, round(self.now, 3)))
        self._calls.append(call)
        return call

    def times(self, kind: str) -> list[float]:
        return [at for one, at in self.requests if one == kind]

    def get(self, until: float) -> Any:
        calls = [call for call in self._calls if call.events]
        call = min(calls, key=lambda one: one.events[0][0], default=None)
        arrives = call.events[0][0] if call is not None else float("inf")
        if self._signals and self._signals[0] <= min(arrives, until):
            self.now = max(self.now, self._signals.pop(0))
            return Cancel(signal.SIGTERM)
        if call is None or arrives > until:
            assert until < 1e6, "the monitor waits for nothing"
            self.now = max(self.now, until)
            return None
        at, event = call.events.pop(0)
        self.now = call.last_byte = max(self.now, at)
        return call, event

    # The client

    def detail(self, _run_id: str) -> ScriptedCall:
        return self.start("detail")

    def logs(self, _user: str, _page: int) -> ScriptedCall:
        return self.start("logs")

    def join(self, _run_id: str, _user: str) -> ScriptedCall:
        return self.start("join")

    def stop(self, _task_id: str, _user: str) -> ScriptedCall:
        return self.start("stop")


Follow = Callable[..., tuple[RunOutcome, VirtualTime]]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Return a function that follows a run to its outcome."""

    def _follow(
        *,
        resumed: bool = False,
        deadline: float = 1e5,
        signals: tuple[float, ...] = (),
        **scripts: list[Script],
    ) -> tuple[RunOutcome, VirtualTime]:
        time = VirtualTime(list(signals), scripts)
        for module in ("monitor", "poller"):
            monkeypatch.setattr(f"dify_job.run.{module}.time", time)
        limits = RunLimits(uniform=lambda _, longest: longest)
        options = CallOptions(user="u", deadline=deadline, streaming=True, limits=limits)
        monitor = RunMonitor(time, time, options, RunObserver())  # type: ignore[arg-type]
        if resumed:
            return monitor.resume("r", "its process ended"), time
        return monitor.follow(time.start("post")), time  # type: ignore[arg-type]

    return _follow


def test_final_status_in_the_answer_is_the_outcome_without_a_poll(follow: Follow) -> None:
    outcome, time = follow(post=[[(0, OPENED), (1, STARTED), (9, end("succeeded"))]])
    assert (outcome.outcome, time.now, time.times("detail")) == ("succeeded", 9, [])


def test_silent_stream_is_polled_after_15_s_and_then_at_most_every_60_s(follow: Follow) -> None:
    outcome, time = follow(
        post=[[(0, OPENED), (1, STARTED), (250, end("failed"))]], detail=[[(0, record("running"))]]
    )
    assert outcome.outcome == "failed"
    assert time.times("detail") == [16, 46, 106, 166, 226]


@pytest.mark.parametrize(("own_end", "at", "outcome"), [(17.0, 17, "succeeded"), (50.0, 18, "stopped")])
def test_answer_has_2_s_for_its_own_end_after_that_of_run_detail(
    follow: Follow, own_end: float, at: float, outcome: str
) -> None:
    found, time = follow(
        post=[[(0, OPENED), (1, STARTED), (own_end, end("succeeded"))]], detail=[[(0, record("stopped"))]]
    )
    assert (found.outcome, time.now) == (outcome, at)


@pytest.mark.parametrize("ending", [CLOSED, ConnectionLost(sent=True, reason="reset")])
def test_lost_run_is_joined_and_polled_at_once_with_growing_pauses(follow: Follow, ending: CallEvent) -> None:
    running: Script = [(0, record("running"))]
    outcome, time = follow(
        post=[[(0, OPENED), (1, STARTED), (2, ending)]], detail=[*[running] * 5, [(0, record("succeeded"))]]
    )
    assert outcome.outcome == "succeeded"
    assert (time.times("join"), time.times("detail")) == ([2], [2, 3, 5, 9, 17, 33])


def test_lost_run_ends_with_the_end_of_a_joined_stream(follow: Follow) -> None:
    outcome, time = follow(
        post=[[(0, OPENED), (1, STARTED), (2, CLOSED)]],
        join=[[(0, OPENED), (7, end("succeeded"))]],
        detail=[[(0, record("running"))]],
    )
    assert (outcome.outcome, time.now) == ("succeeded", 9)


def test_run_that_no_record_shows_is_unknown_and_final(follow: Follow) -> None:
    outcome, time = follow(post=[[(0, OPENED), (1, STARTED), (2, CLOSED)]], detail=[[(0, ABSENT)]])
    assert (outcome.outcome, outcome.next, outcome.unsettled) == ("unknown", Next.FINAL, True)
    assert 120 < time.now < 160


def test_accepted_run_without_an_id_may_wait_in_the_queue_until_the_deadline(follow: Follow) -> None:
    outcome, time = follow(deadline=600, post=[[(0, OPENED), (2, CLOSED)]], logs=[[(0, NO_ROWS)]])
    assert outcome.outcome == "unknown"
    assert "does not contain this run" in outcome.message
    assert time.now == 605, "5 s for the ids of a run that is to be stopped"


@pytest.mark.parametrize(
    ("detail", "outcome"),
    [(ABSENT, "denied"), (record("succeeded"), "succeeded"), (record("failed"), "failed")],
)
def test_error_event_after_the_start_is_the_outcome_only_without_a_record(
    follow: Follow, detail: Reply, outcome: str
) -> None:
    found, _ = follow(
        post=[[(0, OPENED), (1, STARTED), (2, error_event("unauthorized"))]], detail=[[(0, detail)]]
    )
    assert (found.outcome, found.next) == (outcome, Next.FINAL)


@pytest.mark.parametrize(
    ("before", "detail", "outcome", "run_id"),
    [
        ([STARTED], ABSENT, "rejected", None),
        ([STARTED, NODE], ABSENT, "unknown", "r"),
        ([STARTED], record("succeeded"), "succeeded", "r"),
    ],
)
def test_failure_without_a_creator_needs_run_detail(
    follow: Follow, before: list[CallEvent], detail: Reply, outcome: str, run_id: str | None
) -> None:
    failure = end("failed", unconfirmed=True, error="text is required in input form")
    post: Script = [(0, OPENED), *((1.0, event) for event in before), (2, failure)]
    found, time = follow(post=[post], detail=[[(0, detail)]])
    assert (found.outcome, found.run.run_id if found.run else None) == (outcome, run_id)
    if outcome == "rejected":
        assert 7 <= time.now < 20


def test_confirmed_stop_at_the_deadline(follow: Follow) -> None:
    outcome, time = follow(
        deadline=30,
        post=[[(0, OPENED), (1, STARTED)]],
        stop=[[(0, STOPPED)]],
        detail=[*[[(0, record("running"))]] * 3, [(0, record("stopped"))]],
    )
    assert (outcome.outcome, outcome.unsettled) == ("timeout", False)
    assert time.times("stop") == [30]
    assert time.times("detail") == [16, 31, 32, 33, 34]
    assert time.now == 35, "the stream has 2 s for its own end"


@pytest.mark.parametrize(
    ("signals", "at", "outcome"), [((), 40, "timeout"), ((10,), 20, "cancelled"), ((10, 12), 12, "cancelled")]
)
def test_unconfirmed_stop_ends_10_s_after_its_request_or_at_the_second_signal(
    follow: Follow, signals: tuple[float, ...], at: float, outcome: str
) -> None:
    found, time = follow(
        deadline=30,
        signals=signals,
        post=[[(0, OPENED), (1, STARTED)]],
        stop=[[(0, STOPPED)]],
        detail=[[(0, record("running"))]],
    )
    assert (found.outcome, found.unsettled, time.now) == (outcome, True, at)


def test_lost_stop_request_is_repeated(follow: Follow) -> None:
    lost: Script = [(0, ConnectionLost(sent=True, reason="reset"))]
    _, time = follow(
        deadline=30,
        post=[[(0, OPENED), (1, STARTED)]],
        stop=[lost, lost, [(0, STOPPED)]],
        detail=[[(0, record("running"))]],
    )
    assert time.times("stop") == [30, 31, 32]


def test_stop_waits_5_s_for_the_task_id_and_then_is_sent(follow: Follow) -> None:
    _, time = follow(
        signals=(1,),
        post=[[(0, OPENED), (4, STARTED)]],
        stop=[[(0, STOPPED)]],
        detail=[[(0, record("stopped"))]],
    )
    assert time.times("stop") == [4]
    outcome, time = follow(signals=(1,), post=[[(0, OPENED)]], logs=[[(0, NO_ROWS)]])
    assert (outcome.outcome, time.times("stop"), time.now) == ("cancelled", [], 6)


def test_resumed_run_begins_lost(follow: Follow) -> None:
    outcome, time = follow(
        resumed=True, detail=[[(0, record(models.RUNNING))], [(0, record("partial-succeeded"))]]
    )
    assert outcome.outcome == "partial"
    assert time.requests == [("join", 0), ("detail", 0), ("detail", 1)]

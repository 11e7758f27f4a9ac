"""The failed node of a run, from recorded and from constructed streams."""

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dify_job.dify.models import Event, FailedNode, WorkflowRun, read_event
from dify_job.dify.nodes import NodeTracker
from dify_job.dify.sse import Parser
from dify_job.run.outcome import decide
from tests.support.recordings import VERSIONS, load, names


def failed_node(events: Iterable[Event]) -> FailedNode | None:
    tracker, run = NodeTracker(), WorkflowRun()
    for event in events:
        tracker.observe(event)
        run = event.run or run
    return tracker.failed_node(run)


def recorded(version: str, name: str) -> FailedNode | None:
    events = (read_event(raw) for raw in Parser().feed(load(version, name).bytes))
    return failed_node(event for event in events if event is not None)


@pytest.mark.parametrize(
    ("name", "title", "node_type", "error"),
    [
        ("run-streaming-fail", "boom", "http-request", "[Errno 111] Connection refused"),
        ("run-streaming-fail-retry", "boom", "http-request", "[Errno 111] Connection refused"),
        ("run-streaming-partial", "boom", "http-request", "Unknown error"),
        ("run-streaming-partial-default", "boom", "http-request", "Unknown error"),
        ("stop-streaming-stream", "wait", "http-request", None),
        ("run-streaming-echo", None, None, None),
        ("run-streaming-iteration", None, None, None),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_stream_names_its_failed_node(
    version: str, name: str, title: str | None, node_type: str, error: str | None
) -> None:
    if name not in names(version):
        pytest.skip(f"{name} was not recorded with {version}")
    node = recorded(version, name)
    assert (node and (node.title, node.type, node.error)) == (title and (title, node_type, error))


@dataclass
class Script:
    """Builds the events of a run."""

    events: list[Event] = field(default_factory=list)

    def node(self, title: str, kind: str, status: str = "", error: str = "", inside: str = "") -> "Script":
        about = {"node_id": title, "title": title, "node_type": "code", "iteration_id": inside or None}
        self._add(kind, about | ({"status": status, "error": error} if status else {}))
        return self

    def end(self, status: str, error: str | None = None) -> FailedNode | None:
        self._add("workflow_finished", {"id": "r", "status": status, "error": error})
        return failed_node(self.events)

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        text = json.dumps({"event": kind, "workflow_run_id": "r", "task_id": "t", "data": data})
        for raw in Parser().feed(b"data: " + text.encode() + b"\n\n"):
            if (event := read_event(raw)) is not None:
                self.events.append(event)


def test_node_inside_an_iteration_is_the_cause() -> None:
    script = Script().node("loop", "iteration_started").node("inner", "node_started", inside="loop")
    script.node("inner", "node_finished", "failed", "no quota", inside="loop")
    script.node("loop", "iteration_completed", "failed", "iteration failed: no quota")
    node = script.end("failed", "iteration failed: no quota")
    assert node == FailedNode(title="inner", type="code", error="no quota")


def test_failure_that_an_iteration_continued_after_is_not_the_cause() -> None:
    script = Script().node("inner", "node_started", inside="loop")
    script.node("inner", "node_finished", "failed", "one of many", inside="loop")
    script.node("loop", "iteration_completed", "succeeded")
    script.node("last", "node_started").node("last", "node_finished", "failed", "disk full")
    node = script.end("failed", "disk full")
    assert node == FailedNode(title="last", type="code", error="disk full")


def test_handled_failure_is_not_the_cause_of_a_failed_run() -> None:
    script = Script().node("first", "node_finished", "exception", "boom")
    node = script.node("second", "node_finished", "failed", "bang").end("failed", "bang")
    assert node == FailedNode(title="second", type="code", error="bang")


def test_time_limit_names_the_running_node() -> None:
    script = Script().node("slow", "node_started")
    node = script.end("failed", "Aborted: Maximum execution time exceeded: 9.10s > 5s")
    assert node == FailedNode(title="slow", type="code")


def test_succeeded_run_has_no_failed_node() -> None:
    assert Script().node("inner", "node_finished", "failed", "x", inside="l").end("succeeded") is None


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (WorkflowRun(status="failed", error="boom"), "workflow failed: boom"),
        (WorkflowRun(status="failed"), "workflow failed"),
        (
            WorkflowRun(status="failed", error="boom", failed_node=FailedNode(title="Sum up", type="llm")),
            'workflow failed at "Sum up" (llm): boom',
        ),
        (
            WorkflowRun(status="failed", failed_node=FailedNode(title="S", type="llm", error="bang")),
            'workflow failed at "S" (llm): bang',
        ),
        (
            WorkflowRun(status="stopped", error="by hand", failed_node=FailedNode(title="S", type="llm")),
            'workflow was stopped on the server at "S" (llm): by hand',
        ),
    ],
)
def test_message_names_the_failed_node(run: WorkflowRun, message: str) -> None:
    assert decide(run).message == message


def test_memory_is_bounded_for_any_number_of_nodes() -> None:
    def events() -> Iterator[Event]:
        for number in range(3_000):
            started = Event("node_started", node_id=str(number), node="x" * 10)
            yield started
            error = ("cause " if number == 5 else "") + str(number) * 10_000
            yield started._replace(kind="node_finished", node_status="failed", node_error=error)
            yield started._replace(node_id=f"{number} never ends", node="y" * 10_000)

    tracker = NodeTracker()
    tracemalloc.start()
    for event in events():
        tracker.observe(event)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 8_000_000
    cause = tracker.failed_node(WorkflowRun(status="failed", error=f"cause {'5' * 10_000}"))
    assert cause is not None
    assert (cause.error or "").startswith("cause ")
    last = tracker.failed_node(WorkflowRun(status="failed", error="other"))
    assert last is not None
    assert (last.error or "").startswith("2999")
    assert tracker.running_node is not None

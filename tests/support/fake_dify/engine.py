"""Execution of runs, independent of the request that starts them; behaviour as recorded."""

import json
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .apps import App, Node


@dataclass(slots=True)
class RunRecord:
    """A workflow run, with the data of run detail and logs.

    Attributes:
        over: The run has ended, or waits for a human.
        stop_asked: Set by a stop request.
        listeners: Queues of further events; None ends one.
        past: Events so far.
    """

    app: App
    user: str
    inputs: Mapping[str, Any]
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    workflow_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "running"
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    created_at: float = field(default_factory=time.time)
    finished_at: float | None = None
    steps: int = 0
    tokens: int = 0
    exceptions: int = 0
    nodes_after_stop: int = 0
    over: bool = False
    stop_asked: threading.Event = field(default_factory=threading.Event)
    listeners: list["queue.SimpleQueue[dict[str, Any] | None]"] = field(default_factory=list)
    past: list[dict[str, Any]] = field(default_factory=list)


class Engine:
    """Executes runs in threads (`drop-streaming-at-first-event`: a run continues without its caller).

    Args:
        version: Dify version to imitate.
    """

    def __init__(self, version: tuple[int, int]) -> None:
        self.version = version
        self.runs: dict[str, RunRecord] = {}
        self.worker = threading.Event()  # cleared: no worker executes queued runs (`queued-run-streaming`)
        self.worker.set()
        self.released = threading.Event()  # set: no node takes any time
        self.queue_limit = 300.0  # seconds without an event before a stream ends (`no-worker-streaming`)
        self._lock = threading.Lock()

    @property
    def in_worker(self) -> bool:
        """True since 1.13: streaming runs have a worker, and a stop is recorded (`stop-streaming-stream`)."""
        return self.version >= (1, 13)

    @property
    def rejects_by_run(self) -> bool:
        """True since 1.15: invalid inputs give a stream of a failed run (`error-input-required-null-*`)."""
        return self.version >= (1, 15)

    def start(
        self, app: App, user: str, inputs: Mapping[str, Any], *, streaming: bool = False
    ) -> tuple[RunRecord, "queue.SimpleQueue[dict[str, Any] | None]"]:
        """Start a run, or queue it.

        A queued run has no run detail and ignores a stop (`queued-run-stop-while-queued`).

        Returns:
            The run, and a queue of all its events.
        """
        run = RunRecord(app, user, inputs)
        listener = self.listen(run)
        if not (streaming and self.in_worker):
            self._create(run)
        threading.Thread(target=self._execute_from_queue, args=(run,), daemon=True).start()
        return run, listener

    def _create(self, run: RunRecord) -> None:
        with self._lock:
            self.runs[run.run_id] = run

    def _execute_from_queue(self, run: RunRecord) -> None:
        if run.run_id not in self.runs:
            self.worker.wait()
            self._create(run)
        self._execute(run)

    def listen(self, run: RunRecord) -> "queue.SimpleQueue[dict[str, Any] | None]":
        """Return a queue of the run's further events; None ends it."""
        listener: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            run.listeners.append(listener)
            if run.over:
                listener.put(None)
        return listener

    def events(
        self,
        listener: "queue.SimpleQueue[dict[str, Any] | None]",
        ping: float = 10.0,
        *,
        queued: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Yield events as they occur, and a ping at each full interval (`ping-streaming-45s`).

        Args:
            listener: Queue of the events.
            ping: Interval of pings in seconds.
            queued: Send no ping before the first event, and end the stream after `queue_limit` without one.
        """
        if queued:
            try:
                first = listener.get(timeout=self.queue_limit)
            except queue.Empty:
                return
            if first is None:
                return
            yield first
        next_ping = time.monotonic() + ping
        while True:
            try:
                event = listener.get(timeout=max(0.0, next_ping - time.monotonic()))
            except queue.Empty:
                next_ping += ping
                yield {"event": "ping"}
                continue
            if event is None:
                return
            yield event

    def stop(self, task_id: str) -> None:
        """Stop a run by its task ID; unknown ones are ignored (`stop-unknown-task`)."""
        for run in list(self.runs.values()):
            if run.task_id == task_id and not run.over and not run.stop_asked.is_set():
                run.stop_asked.set()
                if self.in_worker:
                    text = "stopped" if self.rejects_by_run else "failed"
                    self._end(run, "stopped", error="Aborted: User requested stop", reported_status=text)
                else:
                    self._finish_stream(run, "stopped", "Stopped by user.", {})

    def is_full(self, app: App, *, streaming: bool) -> bool:
        """True if the app's limit rejects a run.

        A streaming run counts twice, but only until it has started (`rate-limit-1-*`, `rate-limit-2-*`).
        """
        if streaming and self.rejects_by_run:
            return app.limit == 1
        under_way = sum(not run.over for run in list(self.runs.values()) if run.app.key == app.key)
        return bool(app.limit) and under_way >= app.limit

    def _execute(self, run: RunRecord) -> None:
        self._emit(run, "workflow_started", {**self._head(run), "inputs": dict(run.inputs)})
        for index, node in enumerate(run.app.nodes):
            if run.stop_asked.is_set() and (self.in_worker or self._second_after_stop(run)):
                return
            if not self._node(run, node, index):
                return
        if run.stop_asked.is_set():
            return  # until 1.12 run detail stays `running` (`stop-streaming-detail-after`)
        default = {"result": "".join(node.text for node in run.app.nodes) or None, **run.inputs}
        outputs = run.app.outputs if run.app.outputs is not None else default
        self._end(run, "partial-succeeded" if run.exceptions else "succeeded", outputs=outputs)

    @staticmethod
    def _second_after_stop(run: RunRecord) -> bool:
        """True for the second node after a stop; the first one still runs until 1.12 (`stop-two-nodes-*`)."""
        run.nodes_after_stop += 1
        return run.nodes_after_stop > 1

    def _node(self, run: RunRecord, node: Node, index: int) -> bool:
        """Execute a node; return False if the run ends with it."""
        about = {
            "id": str(uuid.uuid4()),
            "node_id": f"n{index}",
            "node_type": node.node_type,
            "title": node.title,
        }
        self._emit(run, "node_started", {**about, "index": 1, "inputs": None, "created_at": int(time.time())})
        for word in node.text.split(" "):
            if word:
                self._emit(
                    run, "text_chunk", {"text": word + " ", "from_variable_selector": [f"n{index}", "text"]}
                )
        if node.seconds:
            self.released.wait(node.seconds)
        if node.pauses:
            return self._pause(run)
        if node.stops:
            self._end(run, "stopped", error="Stopped by user.")
            return False
        run.steps += 1
        run.tokens += node.tokens
        status = "succeeded" if node.error is None else "exception" if node.absorbed else "failed"
        metadata = {"total_tokens": node.tokens} if node.tokens else None
        self._emit(
            run,
            "node_finished",
            {**about, "status": status, "error": node.error, "outputs": {}, "execution_metadata": metadata},
        )
        if node.error is not None and not node.absorbed:
            self._end(run, "failed", error=node.error)
            return False
        run.exceptions += node.error is not None
        return True

    def _pause(self, run: RunRecord) -> bool:
        run.status = "paused"
        if self.in_worker:  # older servers send no event for a pause (`human-input-streaming`)
            self._emit(run, "human_input_required", {"form_id": "f", "form_token": None, "node_title": "Ask"})
            self._emit(
                run, "workflow_paused", {"paused_nodes": [], "reasons": [], "status": "paused", "outputs": {}}
            )
            self._close(run)
        return False

    def _end(
        self,
        run: RunRecord,
        status: str,
        *,
        outputs: Mapping[str, Any] | None = None,
        error: str | None = None,
        reported_status: str | None = None,
    ) -> None:
        if run.over:
            return
        run.status, run.outputs, run.error = status, outputs or {}, error
        run.finished_at = time.time()
        self._finish_stream(run, reported_status or status, error, run.outputs)

    def _finish_stream(
        self, run: RunRecord, status: str, error: str | None, outputs: Mapping[str, Any]
    ) -> None:
        self._emit(run, "workflow_finished", self.finished(run, status, error, outputs))
        self._close(run)

    def _close(self, run: RunRecord) -> None:
        with self._lock:
            run.over = True
            for listener in run.listeners:
                listener.put(None)

    def finished(
        self, run: RunRecord, status: str, error: str | None, outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the data of workflow_finished, which a blocking response also has."""
        return {
            **self._head(run),
            "status": status,
            "outputs": dict(outputs),
            "error": error,
            "elapsed_time": round(time.time() - run.created_at, 6),
            "total_tokens": run.tokens,
            "total_steps": run.steps,
            "created_by": {"id": run.task_id, "user": run.user},
            "finished_at": int(time.time()),
            "exceptions_count": run.exceptions,
            "files": [],
        }

    @staticmethod
    def rejected_run_events(inputs: Mapping[str, Any], error: str) -> list[dict[str, Any]]:
        """Return the events of a run that does not exist, for invalid inputs."""
        run_id, now = str(uuid.uuid4()), int(time.time())
        about = {"id": run_id, "workflow_id": str(uuid.uuid4()), "created_at": now}
        end: dict[str, Any] = {
            "status": "failed",
            "outputs": None,
            "error": error,
            "elapsed_time": 0.0,
            "total_tokens": 0,
            "total_steps": 0,
            "created_by": {},
            "finished_at": now,
            "exceptions_count": 1,
            "files": [],
        }
        kinds: dict[str, dict[str, Any]] = {
            "workflow_started": {"inputs": dict(inputs), "reason": "initial"},
            "workflow_finished": end,
        }
        return [
            {"event": kind, "task_id": run_id, "workflow_run_id": run_id, "data": {**about, **data}}
            for kind, data in kinds.items()
        ]

    def answer(self, run: RunRecord, events: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """Return the blocking response, after the run has ended or paused."""
        ends = ("workflow_finished", "workflow_paused")
        last = next((event for event in events if event["event"] in ends), {})
        data: dict[str, Any] = dict(last.get("data", {}))
        if last.get("event") == "workflow_paused":
            data = self.finished(run, "paused", None, {}) | {"finished_at": None, **data}
        return {"task_id": run.task_id, "workflow_run_id": run.run_id, "data": data}

    @staticmethod
    def _head(run: RunRecord) -> dict[str, Any]:
        return {"id": run.run_id, "workflow_id": run.workflow_id, "created_at": int(run.created_at)}

    def _emit(self, run: RunRecord, kind: str, data: Mapping[str, Any]) -> None:
        event = {"event": kind, "workflow_run_id": run.run_id, "task_id": run.task_id, "data": data}
        with self._lock:
            if run.over:
                return
            run.past.append(event)
            for listener in run.listeners:
                listener.put(event)

    def detail(self, run: RunRecord) -> dict[str, Any]:
        """Return run detail: outputs are JSON text until 1.12, an object since 1.13; inputs are text."""
        outputs: Any = dict(run.outputs)
        return {
            "id": run.run_id,
            "workflow_id": run.workflow_id,
            "status": run.status,
            "inputs": json.dumps(dict(run.inputs)),
            "outputs": outputs if self.in_worker else json.dumps(outputs),
            "error": run.error,
            "total_steps": run.steps,
            "total_tokens": run.tokens,
            "created_at": int(run.created_at),
            "finished_at": int(run.finished_at) if run.finished_at else None,
            "elapsed_time": round(run.finished_at - run.created_at, 6) if run.finished_at else 0,
        }

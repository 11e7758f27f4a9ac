"""The node at which a workflow run failed, from the events of its stream. Pure.

Recordings of these events in tests/data/recordings: `run-streaming-fail`, `run-streaming-partial`,
`run-streaming-iteration` and `stop-streaming-stream`.
"""

from . import models
from .models import Event, FailedNode, WorkflowRun

_STARTED = frozenset({"node_started", "iteration_started", "loop_started"})
_COMPLETED = frozenset({"node_finished", "iteration_completed", "loop_completed"})
# Bounds, because an iteration can have any number of nodes, and a server can send any events.
_MAX_RUNNING = 100  # nodes
_MAX_SIZE = 4 * 1024 * 1024  # characters


class NodeTracker:
    """The running and failed nodes of one run.

    A node inside an iteration or a loop fails before its container does, so the first node with the run's own
    error is the cause.

    Attributes:
        seen: True once a node began or ended.
    """

    def __init__(self) -> None:
        self.seen = False
        self._running: dict[str, FailedNode] = {}
        self._failed: dict[str | None, list[FailedNode]] = {"failed": [], "exception": []}  # by their status
        self._size = 0  # characters of the failed nodes

    def observe(self, event: Event) -> None:
        """Record one event of the run's stream, or of the snapshot of a joined stream."""
        self.seen |= event.kind in _STARTED or event.kind in _COMPLETED
        if event.kind in _STARTED:
            self._running[event.node_id] = FailedNode(title=event.node or "", type=event.node_type)
            if len(self._running) > _MAX_RUNNING:
                del self._running[next(iter(self._running))]
        elif event.kind in _COMPLETED:
            self._running.pop(event.node_id, None)
            node = FailedNode(title=event.node or "", type=event.node_type, error=event.node_error)
            failed = self._failed.get(event.node_status, [])
            if self._size > _MAX_SIZE:
                failed[-1:] = [node]  # the last one is the cause if none has the run's own error
            elif event.node_status in self._failed:
                failed.append(node)
                self._size += len(node.title) + len(node.error or "")

    def failed_node(self, run: WorkflowRun) -> FailedNode | None:
        """Return the node at which the run failed or was stopped; None if no event names it.

        For a stopped run, it is the running node.
        """
        if run.status == models.PARTIAL:
            return next(iter(self._failed["exception"]), None)
        if run.status == models.FAILED and (failed := self._failed["failed"]):
            return next(
                (node for node in failed if node.error and node.error in (run.error or "")), failed[-1]
            )
        return self.running_node if run.status in (models.FAILED, models.STOPPED) else None

    @property
    def running_node(self) -> FailedNode | None:
        """The node that started last and has not ended; None if unknown."""
        return next(reversed(self._running.values()), None)

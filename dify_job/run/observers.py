"""Observers of a run: log, state, and others of the caller. No observer changes the outcome."""

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from .. import log
from ..config.model import Job
from ..dify.models import Event
from ..messages.message import msg
from ..state.store import InFlight, JobState, cannot_write
from .result import Result, log_result


class RunIds(NamedTuple):
    """The server's ids of a run. stop_accepted: the server accepted a stop of the run."""

    run_id: str | None
    task_id: str | None
    stop_accepted: bool = False


class RunObserver:
    """An observer of one run. Each method does nothing by default."""

    def started(self) -> None:
        """The run has its turn, and nothing was sent yet."""

    def event(self, event: Event) -> None:
        """An event of the run's stream arrived."""

    def ids(self, ids: RunIds) -> None:
        """The server sent the run's ids or accepted a stop. The monitor calls this before its next wait."""

    def finished(self, result: Result) -> None:
        """The result is final, and is stored in the job's state."""


class Observers(RunObserver):
    """Several observers as one, in their order."""

    def __init__(self, observers: Iterable[RunObserver]) -> None:
        self._observers = tuple(observers)

    def started(self) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.started()

    def event(self, event: Event) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.event(event)

    def ids(self, ids: RunIds) -> None:
        """Pass them on."""
        for observer in self._observers:
            observer.ids(ids)

    def finished(self, result: Result) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.finished(result)


class LogObserver(RunObserver):
    """An observer that logs the start, the events at the debug level, and the result in one line."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def started(self) -> None:
        """Log that the run began."""
        log.info(msg("run started"), message_id="started", job=self._job.name)

    def event(self, event: Event) -> None:
        """Log the event."""
        log.debug(event.kind, node=event.node, status=event.node_status, workflow_run_id=event.run_id)

    def ids(self, ids: RunIds) -> None:
        """Log the ids of the run."""
        log.debug(msg("the server gave the run an ID"), workflow_run_id=ids.run_id, task_id=ids.task_id)

    def finished(self, result: Result) -> None:
        """Log the result."""
        log_result(result, outputs=self._job.log_outputs)


class StateObserver(RunObserver):
    """An observer that stores the run in the job's state: first as in flight, finally in the history.

    Attributes:
        record: The attempt in progress, None before the first.
    """

    def __init__(self, state: JobState | None) -> None:
        """Store nothing yet; state is None for `state = "none"`."""
        self._state = state
        self.record: InFlight | None = None

    def submitting(self, record: InFlight) -> None:
        """Store a run on disk before it is submitted.

        Raises:
            JobError: It cannot be written (cannot-write).
        """
        self.record = record
        if self._state is None:
            return
        try:
            self._state.put_in_flight(record)
        except OSError as error:
            raise cannot_write(self._state.directory, error) from None

    def not_submitted(self) -> None:
        """Remove the record of an attempt that started nothing; a kill before the next one leaves no run."""
        if self._state is not None:
            with contextlib.suppress(OSError):
                self._state.clear_in_flight()

    def ids(self, ids: RunIds) -> None:
        """Store the ids of the run on disk."""
        if self.record is None or self._state is None:
            return
        self.record = self.record._replace(
            workflow_run_id=_no_secret(ids.run_id), task_id=_no_secret(ids.task_id), stopped=ids.stop_accepted
        )
        try:
            self._state.put_in_flight(self.record)
        except OSError as error:
            log.warning(msg("the ID of the run could not be stored"), reason=error.strerror, run=ids.run_id)

    def store(self, result: Result, *, has_turn: bool, unsettled: bool) -> None:
        """Store the result.

        Args:
            result: The result.
            has_turn: It was the run's turn; otherwise the result is only added to the history.
            unsettled: A run may exist on the server, so the in-flight record stays.
        """
        if self._state is None:
            return
        try:
            if not has_turn:
                self._state.append_history(result.record.as_json())
                return
            self._state.record_result(result.record.as_json())
            # Last, so that after a kill the next run adds the missing outcome to the history.
            if not unsettled:
                self._state.clear_in_flight()
            elif self.record is not None:
                self._state.put_in_flight(self.record._replace(reported=str(result.outcome)))
        except OSError as error:
            path = str(self._state.directory)
            log.warning(msg("the result of the run could not be stored"), reason=error.strerror, path=path)


def _no_secret(identifier: str | None) -> str | None:
    """Return an id for the record of the run; None if the id contains the key."""
    return identifier if identifier is None or log.redact(identifier) == identifier else None

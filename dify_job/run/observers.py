"""Observers of a run: its log, its state, and others of the caller. None of them changes the outcome."""

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
    """The ids that the server gave a run; `stop_accepted`: it accepted a request to stop the run."""

    run_id: str | None
    task_id: str | None
    stop_accepted: bool = False


class RunObserver:
    """Sees one run of a job; each method does nothing unless a subclass does."""

    def started(self) -> None:
        """It is the run's turn, and nothing was sent for it yet."""

    def event(self, event: Event) -> None:
        """An event of the run's stream came."""

    def ids(self, ids: RunIds) -> None:
        """The server named the run, or accepted a stop; nothing waits before this returns."""

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
    """Logs the run: its start, its events at the debug level, and its result in one line."""

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
    """Stores the run in the job's state: in flight as long as its end is not known, then in the history.

    Attributes:
        record: The attempt in progress, None before the first.
    """

    def __init__(self, state: JobState | None) -> None:
        """Store nothing yet; state is None for `state = "none"`."""
        self._state = state
        self.record: InFlight | None = None

    def submitting(self, record: InFlight) -> None:
        """Put a run on disk before it is submitted.

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
        """Remove the record of an attempt that started nothing: a kill before the next one leaves no run."""
        if self._state is not None:
            with contextlib.suppress(OSError):
                self._state.clear_in_flight()

    def ids(self, ids: RunIds) -> None:
        """Put the ids of the run on disk."""
        if self.record is None or self._state is None:
            return
        self.record = self.record._replace(
            workflow_run_id=_no_secret(ids.run_id),
            task_id=_no_secret(ids.task_id),
            stopped=ids.stop_accepted,
        )
        try:
            self._state.put_in_flight(self.record)
        except OSError as error:
            log.warning(msg("the ID of the run could not be stored"), reason=error.strerror, run=ids.run_id)

    def store(self, result: Result, *, has_lock: bool, unsettled: bool) -> None:
        """Store the result.

        Args:
            result: How the run ended.
            has_lock: This process has the lock; else the result is a line of the history alone.
            unsettled: A run may be left on the server, so that the in-flight record stays.
        """
        if self._state is None:
            return
        try:
            if not has_lock:
                self._state.append_history(result.record.as_record())
                return
            self._state.record_result(result.record.as_record())
            # Last: after a kill in between the next run enters the end, where it is not there.
            if not unsettled:
                self._state.clear_in_flight()
            elif self.record is not None:
                self._state.put_in_flight(self.record._replace(reported=str(result.outcome)))
        except OSError as error:
            path = str(self._state.directory)
            log.warning(msg("the result of the run could not be stored"), reason=error.strerror, path=path)


def _no_secret(identifier: str | None) -> str | None:
    """Return an id for the record of the run; None for one that has the key in it."""
    return identifier if identifier is None or log.redact(identifier) == identifier else None

"""Who sees what becomes of a run; nothing that an observer does changes the outcome."""

import contextlib
from collections.abc import Iterable

from .. import log
from ..config.model import Job
from ..dify.models import Event
from ..messages.message import msg
from ..state.store import InFlight, JobState, cannot_write
from ..system.values import dataclass, replace
from .result import Result, log_result


@dataclass(frozen=True)
class RunIds:
    """What the server calls a run. stop_accepted: it took a request to stop the run."""

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
        """The server named the run, or took a stop; nothing waits before this returns."""

    def finished(self, result: Result) -> None:
        """The result stands, and is kept in the job's state."""


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
    """Writes the run into the log: its start, its events for who debugs, and its result in one line."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def started(self) -> None:
        """Write that the run began."""
        log.info(msg("run started"), message_id="started", job=self._job.name)

    def event(self, event: Event) -> None:
        """Write the event, for who debugs."""
        log.debug(event.kind, node=event.node, status=event.node_status, workflow_run_id=event.run_id)

    def ids(self, ids: RunIds) -> None:
        """Write what the server calls the run."""
        log.debug(msg("the server named the run"), workflow_run_id=ids.run_id, task_id=ids.task_id)

    def finished(self, result: Result) -> None:
        """Write the result in one line."""
        log_result(result, outputs=self._job.log_outputs)


class StateObserver(RunObserver):
    """Keeps the run in the job's state: in flight as long as its end is not known, then in the history.

    state: None for `state = "none"`. record: the attempt under way, None before the first.
    """

    def __init__(self, state: JobState | None) -> None:
        self._state = state
        self.record: InFlight | None = None

    def submitting(self, record: InFlight) -> None:
        """Put a run on disk before it is submitted. Raises JobError (cannot-write)."""
        self.record = record
        if self._state is None:
            return
        try:
            self._state.put_in_flight(record)
        except OSError as error:
            raise cannot_write(self._state.directory, error) from None

    def not_submitted(self) -> None:
        """The attempt started nothing: a process that is killed before the next one leaves no run."""
        if self._state is not None:
            with contextlib.suppress(OSError):
                self._state.clear_in_flight()

    def ids(self, ids: RunIds) -> None:
        """Put what the server calls the run on disk."""
        if self.record is None or self._state is None:
            return
        self.record = replace(
            self.record,
            workflow_run_id=_no_secret(ids.run_id),
            task_id=_no_secret(ids.task_id),
            stopped=ids.stop_accepted,
        )
        try:
            self._state.put_in_flight(self.record)
        except OSError as error:
            log.warning(msg("the run's id could not be kept"), reason=error.strerror, run=ids.run_id)

    def keep(self, result: Result, *, our_turn: bool, unsettled: bool) -> None:
        """Keep the result.

        Args:
            result: How the run ended.
            our_turn: This process holds the lock; else the result is a line of the history alone.
            unsettled: A run may be left on the server, so that the in-flight record stays.
        """
        if self._state is None:
            return
        try:
            if not our_turn:
                self._state.remember(result.as_record())
                return
            self._state.finish(result.as_record())
            # Last: after a kill in between the next run enters the end, where it is not there.
            if not unsettled:
                self._state.clear_in_flight()
            elif self.record is not None:
                self._state.put_in_flight(replace(self.record, reported=str(result.outcome)))
        except OSError as error:
            log.warning(
                msg("the result could not be kept"), reason=error.strerror, path=str(self._state.directory)
            )


def _no_secret(identifier: str | None) -> str | None:
    """Return an id for the record of the run; None for one that has the key in it."""
    return identifier if identifier is None or log.redact(identifier) == identifier else None

"""The queue of a run: it receives the events of calls and the signals."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .client import CallEvent, PendingCall


# Seconds after which a wait looks for signals. Linux can deliver two signals at once to another thread
# (complete_signal in kernel/signal.c), and the wait of the main thread then continues.
LONGEST_WAIT = 1.0


class Cancel(NamedTuple):
    """The user or the service manager wants the run stopped: the signal's number."""

    signum: int


class InterruptedRunError(Exception):
    """A signal came during a pause or a call that starts no run."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class EventQueue:
    """A queue with deadlines."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[PendingCall, CallEvent | Exception] | Cancel] = SimpleQueue()

    def put(self, call: PendingCall, event: CallEvent | Exception) -> None:
        """Add an event; called from the calls' threads.

        Args:
            call: The call.
            event: The event; an exception is an internal error.
        """
        self._queue.put((call, event))

    def cancel(self, signum: int) -> None:
        """Request a stop of the run; a second call requests an immediate exit.

        A signal handler may call it: SimpleQueue.put is reentrant.
        """
        self._queue.put(Cancel(signum))

    def get(self, until: float) -> tuple[PendingCall, CallEvent | Exception] | Cancel | None:
        """Return the next event, or None at the monotonic time `until`."""
        while True:
            left = until - time.monotonic()
            try:
                return self._queue.get(timeout=max(0.0, min(left, LONGEST_WAIT)))
            except Empty:
                if left <= LONGEST_WAIT:
                    return None

    def answer_of(self, call: PendingCall | None, until: float) -> CallEvent | None:
        """Return the next event of one call, or None at `until`. Events of other calls are dropped.

        Args:
            call: The call.
            until: Monotonic time.

        Raises:
            InterruptedRunError: A signal came before it.
            Exception: The call ended with an internal error.
        """
        while (event := self.get(until)) is not None:
            if isinstance(event, Cancel):
                raise InterruptedRunError(event.signum)
            if event[0] is call:
                if isinstance(event[1], Exception):
                    raise event[1]
                return event[1]
        return None

    def pause(self, until: float) -> None:
        """Wait until a monotonic time.

        Raises:
            InterruptedRunError: A signal came before it.
        """
        self.answer_of(None, until)

"""The one queue in which everything arrives that can happen to a run: events of calls, and signals."""

from __future__ import annotations

import signal
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .client import CallEvent, PendingCall


class Cancel(NamedTuple):
    """The user or the service manager wants the run stopped: the signal's number."""

    signum: int


class InterruptedRunError(Exception):
    """A signal came before anything was sent."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class EventQueue:
    """A queue with deadlines.

    Attributes:
        interruption: What a signal handler of a Python program raised while the queue waited, such as
            KeyboardInterrupt; it counts as a Cancel, and a second one is raised. The command's own handlers
            raise nothing.
    """

    def __init__(self) -> None:
        self.interruption: BaseException | None = None
        self._queue: SimpleQueue[tuple[PendingCall, CallEvent] | Cancel] = SimpleQueue()

    def put(self, call: PendingCall, event: CallEvent) -> None:
        """Add an event; called from the calls' threads.

        Args:
            call: The call.
            event: What happened to it.
        """
        self._queue.put((call, event))

    def cancel(self, signum: int) -> None:
        """Ask for the end of the run; a second call asks to leave at once.

        A signal handler may call it: SimpleQueue.put is reentrant.
        """
        self._queue.put(Cancel(signum))

    def get(self, until: float) -> tuple[PendingCall, CallEvent] | Cancel | None:
        """Return the next thing that happens, or None when the monotonic time `until` comes first."""
        try:
            return self._queue.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return None
        except BaseException as error:
            if self.interruption is not None:
                raise
            self.interruption = error
            return Cancel(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)

    def answer_of(self, call: PendingCall, until: float) -> CallEvent | Cancel | None:
        """Return the next event of one call, or a Cancel before it; None when the time is up.

        Args:
            call: The call.
            until: Monotonic time.
        """
        while (event := self.get(until)) is not None:
            if isinstance(event, Cancel):
                return event
            if event[0] is call:
                return event[1]
        return None

    def pause(self, until: float) -> Cancel | None:
        """Wait until a monotonic time, or until a Cancel; events of calls that are over do not matter."""
        while (event := self.get(until)) is not None:
            if isinstance(event, Cancel):
                return event
        return None

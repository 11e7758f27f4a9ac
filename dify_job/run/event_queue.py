"""The one place where everything that can happen to a run arrives: messages of calls, and signals."""

from __future__ import annotations

import signal
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ..system.values import dataclass

if TYPE_CHECKING:
    from ..dify.client import Message, PendingCall


@dataclass(frozen=True)
class Cancel:
    """The user or the service manager wants the run stopped: SIGINT or SIGTERM."""

    signum: int


class Interrupted(Exception):  # noqa: N818 - no error: the user wants it
    """A signal ended what was done before anything was sent."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class EventQueue:
    """A queue with deadlines. cancel() may be called from a signal handler: SimpleQueue.put is reentrant.

    interruption: what a signal handler of a Python program raised here, KeyboardInterrupt or the like; it was
    taken as a Cancel. A second one is raised. The command's own handlers raise nothing.
    """

    def __init__(self) -> None:
        self.interruption: BaseException | None = None
        self._queue: SimpleQueue[tuple[PendingCall, Message] | Cancel] = SimpleQueue()

    def tell(self, call: PendingCall, message: Message) -> None:
        """Called from the calls' threads."""
        self._queue.put((call, message))

    def cancel(self, signum: int) -> None:
        """Ask for the end of the run; a second call asks to leave at once."""
        self._queue.put(Cancel(signum))

    def get(self, until: float) -> tuple[PendingCall, Message] | Cancel | None:
        """The next thing that happens, or None when the monotonic time `until` comes first."""
        try:
            return self._queue.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return None
        except BaseException as error:
            if self.interruption is not None:
                raise
            self.interruption = error
            return Cancel(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)

    def answer_of(self, call: PendingCall, until: float) -> Message | Cancel | None:
        """The next message of one call, or a Cancel before it; None at the monotonic time `until`."""
        while (heard := self.get(until)) is not None:
            if isinstance(heard, Cancel):
                return heard
            if heard[0] is call:
                return heard[1]
        return None

    def pause(self, until: float) -> Cancel | None:
        """Wait; messages of calls that are over do not matter, a Cancel ends the wait."""
        while (heard := self.get(until)) is not None:
            if isinstance(heard, Cancel):
                return heard
        return None

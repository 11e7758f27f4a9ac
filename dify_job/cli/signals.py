"""What SIGINT and SIGTERM do to `run`: they end it where it stands, or once it has begun ask it to stop."""

import os
import signal
from types import FrameType

from ..run.event_queue import EventQueue

_GRACE = 1.0  # seconds for a second signal to be heard by what it interrupts


class Cancelled(BaseException):
    """A signal that came before the run had begun: nothing was sent."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Signals:
    """The handler of both, set as it is made.

    A read from a terminal or a FIFO goes on after a handler that returns (PEP 475), so at first it raises.
    The second signal leaves at once, whatever the program is doing.
    """

    def __init__(self, inbox: EventQueue) -> None:
        self._inbox = inbox
        self._begun = False
        self._seen = 0
        self.code: int | None = None  # once the outcome is known, no signal changes it
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._heard)

    def begin(self) -> None:
        """From now on a signal asks the run to stop."""
        self._begun = True

    def _heard(self, signum: int, _frame: FrameType | None) -> None:
        if not self._begun:
            raise Cancelled(signum)
        self._seen += 1
        if self._seen > 1:
            signal.signal(
                signal.SIGALRM, lambda *_: os._exit(128 + signum if self.code is None else self.code)
            )
            signal.setitimer(signal.ITIMER_REAL, _GRACE)
        self._inbox.cancel(signum)

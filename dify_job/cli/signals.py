"""Signal handlers of `run`: stop the run, and after its outcome is known end the wait for a reader."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

from ..dify.event_queue import EventQueue
from ..run.observers import RunObserver
from ..run.result import Result

_GRACE = 1.0  # seconds between a signal that ends the process and the forced exit
_SAME = 0.1  # seconds within which a repeated signal is the same: timeout(1) also signals its process group
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CANCELLED = frozenset(128 + signum for signum in _HANDLED)  # exit codes of runs that a signal ended


class Cancelled(BaseException):
    """A signal came before anything was sent, or while the result waits for its reader."""

    def __init__(self, signum: int) -> None:
        """Name the signal.

        Args:
            signum: Its number.
        """
        super().__init__(signum)
        self.signum = signum


class Signals(RunObserver):
    """Handle SIGINT, SIGTERM, SIGHUP and SIGQUIT from construction on.

    A read from a terminal or a FIFO continues after a handler that returns (PEP 475), so the handler raises
    Cancelled before the run begins and while its result is printed. During the run, the first signal stops
    the run and the second ends the process. SIGHUP never counts as the second, because the shell repeats
    it, nor does a signal that comes at once. Under nohup, SIGHUP stays ignored.

    Attributes:
        code: the exit code of the run once it is known; no signal changes it.
    """

    def __init__(self, events: EventQueue) -> None:
        """Install the handlers.

        Args:
            events: The event queue of the run.
        """
        self._events = events
        self._raises = True
        self._seen = 0
        self._first_at = 0.0
        self.code: int | None = None
        for signum in _HANDLED:
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._handle)

    def finished(self, result: Result) -> None:
        """Store the exit code of the final result, which no signal changes."""
        self.code = result.exit_code

    def begin_run(self) -> None:
        """Stop raising Cancelled: from now on a signal asks the run to stop."""
        self._raises = False

    @contextlib.contextmanager
    def end_wait_on_signal(self) -> Iterator[None]:
        """Leave the block at a signal, or after a grace period if the signal came too late to stop the run.

        The block writes output whose reader may wait without limit.
        """
        try:
            self._raises = True
            if self._seen and self.code not in _CANCELLED:
                self._end_after_grace(signal.SIGTERM)
            yield
        except Cancelled:
            return
        finally:
            self._raises = False

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._raises:
            self._raises = False
            raise Cancelled(signum)
        now = time.monotonic()
        if self._seen and (signum == signal.SIGHUP or now < self._first_at + _SAME):
            return
        self._first_at = self._first_at or now
        self._seen += 1
        if self._seen == 2:  # a third one does not prolong the grace period
            self._end_after_grace(signum)
        self._events.cancel(signum)

    def _end_after_grace(self, signum: int) -> None:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signum if self.code is None else self.code))
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

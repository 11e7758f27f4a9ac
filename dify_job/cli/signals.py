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
# Seconds in which further signals are the same one: timeout(1) also signals its process group, and systemd
# sends SIGTERM and SIGHUP to the processes of a session that ends (SendSIGHUP=).
_SAME = 0.1
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
    Cancelled in the blocks of `raise_cancelled`: before the run begins, and while its result is printed.
    Otherwise, the first signal stops the run and the second ends the process. SIGHUP never counts as the
    second, because the shell repeats it, nor does one that comes at once. Under nohup, SIGHUP stays ignored.

    Attributes:
        code: the exit code of the run once it is known; no signal changes it.
    """

    def __init__(self, events: EventQueue) -> None:
        """Install the handlers.

        Args:
            events: The event queue of the run.
        """
        self._events = events
        self._raises = False
        self._seen: list[int] = []
        self._seen_at = 0.0
        self.code: int | None = None
        for signum in _HANDLED:
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._handle)

    def finished(self, result: Result) -> None:
        """Store the exit code of the final result, which no signal changes."""
        self.code = result.exit_code

    @contextlib.contextmanager
    def raise_cancelled(self) -> Iterator[None]:
        """Raise Cancelled at a signal in the block.

        A signal before the block counts, too: before the run, it ends the block at once; one that came too
        late to stop the run ends the process after a grace period.

        The caller catches Cancelled outside the block, because a signal can come while the block ends.
        """
        try:
            self._raises = True
            if self._seen and self.code is None:
                raise Cancelled(self._seen[0])
            if self._seen and self.code not in _CANCELLED:
                self._end_after_grace(signal.SIGTERM)
            yield
        finally:
            self._raises = False

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._seen and now < self._seen_at + _SAME:
            return
        if self._seen and signum == signal.SIGHUP and not self._raises:
            return
        self._seen_at = now
        self._seen.append(signum)
        if self._raises:
            self._raises = False
            raise Cancelled(signum)
        if len(self._seen) == 2:  # a third one does not prolong the grace period
            self._end_after_grace(signum)
        self._events.cancel(signum)

    def _end_after_grace(self, signum: int) -> None:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signum if self.code is None else self.code))
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

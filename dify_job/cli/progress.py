"""The live line of a run on a terminal: node, time and tokens, below the log lines."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, TextIO

from .. import log
from ..dify.models import Event
from ..messages.i18n import translate
from ..messages.message import msg
from ..messages.sanitize import one_line
from ..report.text import columns_of
from ..run.observers import RunObserver
from ..run.result import Result
from ..system.timespan import format_timespan

_REDRAW_INTERVAL = 0.2
_CLEAR = "\r\x1b[2K"


class LiveLine(RunObserver):
    """A stream for the log that redraws one line below it."""

    def __init__(self, stream: TextIO, is_ready: Callable[[], bool] = lambda: True) -> None:
        """Draw nothing yet.

        Args:
            stream: A terminal.
            is_ready: Returns False while the terminal accepts no output; then nothing is drawn.
        """
        self._stream = stream
        self._is_ready = is_ready
        self._began = time.monotonic()
        self._node: str = msg("waiting for the server")
        self._tokens = 0
        self.usual: float | None = None  # mean duration of a run, in seconds
        self._done = 0
        self._drawn = False
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Draw until stop. If no thread can be started, there is no live line."""
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._redraw, daemon=True).start()

    def stop(self) -> None:
        """Remove the line."""
        self._stopped.set()
        with self._lock, contextlib.suppress(OSError, ValueError):  # the terminal can be closed
            if self._drawn:
                self._drawn = False
                self._stream.write(_CLEAR)
                self._stream.flush()

    def event(self, event: Event) -> None:
        """Show the node and the tokens of the run.

        Args:
            event: An event of the run's stream.
        """
        with self._lock:
            if event.kind == "node_started" and event.node:
                self._node = one_line(log.redact(event.node), 60)
            elif event.kind == "node_finished":
                self._done += 1
                self._tokens += event.tokens

    def finished(self, _result: Result) -> None:
        """Remove the line: the result is final."""
        self.stop()

    def write(self, text: str) -> int:
        """Write above the live line.

        Args:
            text: A line of the log.

        Returns:
            The number of characters.
        """
        with self._lock:
            above, self._drawn = _CLEAR if self._drawn else "", False
            return self._stream.write(above + text)

    @property
    def buffer(self) -> BinaryIO:
        """The binary stream, like that of a text file."""
        return self._stream.buffer

    def flush(self) -> None:
        """Flush, like a file."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Return the value of the underlying terminal."""
        return self._stream.isatty()

    def _redraw(self) -> None:
        while not self._stopped.wait(_REDRAW_INTERVAL):
            with self._lock:
                if self._stopped.is_set():
                    return
                if not self._is_ready():
                    continue
                elapsed = format_timespan(float(int(time.monotonic() - self._began)))
                tokens = msg(" · {number} tokens", number=self._tokens) if self._tokens else ""
                usual = "" if self.usual is None else format_timespan(max(1.0, float(round(self.usual))))
                line = msg(
                    "{node} · nodes done: {done} · {elapsed}{of_usual}{tokens}",
                    node=self._node,
                    done=self._done,
                    elapsed=elapsed,
                    of_usual=msg(" (usually {usual})", usual=usual) if usual else "",
                    tokens=tokens,
                )
                try:
                    self._drawn = True
                    self._stream.write(f"{_CLEAR}{_cut(translate(line), _width())}")
                    self._stream.flush()
                except (OSError, ValueError):
                    return


def _cut(line: str, columns: int) -> str:
    """Return the part of a line that fits the columns; Chinese characters and emoji take two."""
    while columns_of(line) > columns:
        line = line[:-1]
    return line


def _width() -> int:
    try:
        return (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
    except (OSError, ValueError):
        return 79

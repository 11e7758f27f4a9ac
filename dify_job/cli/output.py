"""Where bytes leave: results on stdout, words on stderr, whatever the locale and whoever closed them."""

import os
import select
import sys
import traceback
from typing import Any, TextIO

import click

from .. import log
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import msg
from ..messages.problem import Reader, for_reader
from ..messages.sanitize import visible
from ..system.privileges import by_sudo
from ..system.timespan import format_timespan
from .options import Globals


class UnprintedError(Exception):
    """Standard output is closed, or its disk is full. No OSError: click leaves with 1 at a broken pipe."""


class BrokenStdoutError(UnprintedError):
    """Who read standard output has seen enough."""


def echo(text: str) -> None:
    """Words for a person on stdout, in the language of the locale. Raises UnprintedError."""
    echo_data(translate(for_reader(text, reader())))


def echo_data(text: str) -> None:
    """Write to stdout as UTF-8, in every locale and as it is. Raises UnprintedError."""
    _put(log.redact(text))


def echo_value(text: str) -> None:
    """Write what a server sent to stdout: as it is, and on a terminal without control sequences."""
    _put(visible(log.redact(text)) if sys.stdout is not None and sys.stdout.isatty() else log.redact(text))


_WITH_LINE_END = 1_000_000  # bytes that are written with their line end at once


def _put(text: str) -> None:
    if sys.stdout is None:
        raise UnprintedError(msg("it is closed"))
    # A lone surrogate becomes its \\udXXX escape, which is what JSON wants there.
    data = text.encode(errors="backslashreplace")
    try:
        sys.stdout.flush()
        if len(data) < _WITH_LINE_END:
            _write_all(sys.stdout, data + b"\n")
        else:  # not copied for its line end
            _write_all(sys.stdout, data)
            _write_all(sys.stdout, b"\n")
    except BrokenPipeError:
        raise BrokenStdoutError(msg("its reader is gone")) from None
    except OSError as error:
        raise UnprintedError(error.strerror) from None


def _write_all(stream: TextIO, data: bytes) -> None:
    """Write whole, past the buffer: what a signal interrupts must not be flushed again at the end.

    A caller may have made the file non-blocking: its reader is waited for all the same.
    """
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # in a test, or inside another program
        stream.buffer.write(data)
        stream.buffer.flush()
        return
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select([], [fd], [])


def echo_json(value: Any) -> None:
    """One JSON value: a line for programs, indented for a person; as it is."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    text = log.as_json(value, indent=2 if on_terminal else None)
    _put(visible(text) if on_terminal else text)


def span_of(seconds: float) -> str:
    """A duration for a person: 2.3s, 2min 5s."""
    return f"{seconds:.1f}s" if seconds < 59.95 else format_timespan(round(seconds))


def echo_err(text: str) -> None:
    """Words for a person on stderr; a closed stderr is no error."""
    try:
        sys.stderr.write(visible(log.redact(translate(for_reader(text, reader())))) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


def echo_error(error: JobError) -> None:
    """Print message and hint of an error to stderr.

    Args:
        error: The error that ends the command.
    """
    echo_err(msg("dify-job: {message}", message=error.message))
    if error.hint:
        echo_err(msg("  {hint}", hint=error.hint))


def reader(options: Globals | None = None) -> Reader:
    """Return what commands in messages depend on: who calls, and which configuration this call named.

    Args:
        options: The global options of the call; None takes those of the current one.
    """
    context = click.get_current_context(silent=True)
    if options is None and context is not None:
        options = context.find_object(Globals)
    return Reader(
        lacks_root=os.geteuid() != 0,
        by_sudo=by_sudo() is not None,
        config_options=options.config_arguments() if options is not None else (),
    )


def log_traceback() -> None:
    """The exception being handled, on stderr."""
    echo_err(traceback.format_exc().rstrip())
    echo_err(msg("dify-job: this is a fault of dify-job itself; please report it with the lines above"))

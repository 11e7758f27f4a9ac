"""Output of the commands: results to stdout, messages to stderr, in every locale, even if one is closed."""

from __future__ import annotations

import os
import select
import shutil
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import click

from .. import log
from ..messages.command import Reader, for_reader
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import msg
from ..messages.sanitize import visible
from ..report import text as report_text
from ..system.user import sudo_user
from .options import Globals

_UNLIMITED_COLUMNS = 1000  # columns of a line without a terminal
_WITH_LINE_END = 1_000_000  # bytes; smaller texts are written together with their line end


class StdoutError(Exception):
    """Standard output is closed or its disk is full. Not an OSError: click exits with 1 at a broken pipe."""


class BrokenStdoutError(StdoutError):
    """The reader closed standard output."""


def echo(text: str) -> None:
    """Print a text for a person to stdout, in the reader's language.

    Args:
        text: A message, or a text that needs no translation.

    Raises:
        StdoutError: It cannot be written.
    """
    echo_data(translate(for_reader(text, reader())))


def echo_data(text: str) -> None:
    """Print a text to stdout, as it is: to a terminal in its encoding, otherwise as UTF-8 in every locale.

    Args:
        text: Secrets in it are redacted.

    Raises:
        StdoutError: It cannot be written.
    """
    _write_text(log.redact(text))


def echo_value(text: str) -> None:
    """Print a text of a server to stdout; on a terminal, control characters are escaped.

    Args:
        text: Secrets in it are redacted.

    Raises:
        StdoutError: It cannot be written.
    """
    _write_text(
        visible(log.redact(text)) if sys.stdout is not None and sys.stdout.isatty() else log.redact(text)
    )


def _write_text(text: str) -> None:
    if sys.stdout is None:
        raise StdoutError(msg("standard output was closed before the command started"))
    # A lone surrogate becomes its \\udXXX escape, as JSON requires.
    data = text.encode(sys.stdout.encoding if sys.stdout.isatty() else "utf-8", "backslashreplace")
    try:
        sys.stdout.flush()
        if len(data) < _WITH_LINE_END:
            _write_all(sys.stdout, data + b"\n")
        else:  # a large text is not copied to append a line end
            _write_all(sys.stdout, data)
            _write_all(sys.stdout, b"\n")
    except BrokenPipeError:
        raise BrokenStdoutError(msg("the program that reads from the pipe has ended")) from None
    except OSError as error:
        raise StdoutError(error.strerror) from None


def _write_all(stream: TextIO, data: bytes) -> None:
    """Write all data without the buffer, so that an interrupted write is not flushed again at exit.

    If the caller made the file non-blocking, this function still waits for the reader.
    """
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # a replaced stream in a test or another program
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
    """Print a JSON value to stdout: one line for programs, indented on a terminal.

    Args:
        value: Its messages are printed in English in every locale.

    Raises:
        StdoutError: It cannot be written.
    """
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    text = log.as_json(value, indent=2 if on_terminal else None)
    _write_text(visible(text) if on_terminal else text)


def echo_info(text: str) -> None:
    """Print a line about an action, as echo does; nothing with -q.

    Args:
        text: A message.

    Raises:
        StdoutError: It cannot be written.
    """
    if not _options().quiet:
        echo(text)


def echo_err(text: str) -> None:
    """Print a text for a person to stderr, in the reader's language; a closed stderr is no error.

    Args:
        text: A message, or a text that needs no translation.
    """
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


def reader() -> Reader:
    """Return the reader of messages: the calling user, and the configuration that this call named."""
    return Reader(
        lacks_root=os.geteuid() != 0,
        by_sudo=sudo_user() is not None,
        config_options=_options().config_arguments(),
        program=_program(),
    )


@cache
def _program() -> str:
    """Return the name of this program, or its path if the shell would start another one or none by its name.

    `python -m dify_job` has the name, too: it is no command that a person repeats.
    """
    name, path = "dify-job", Path(sys.argv[0])
    if path.name != name or path == Path(name):
        return name
    places = (Path(place, name) for place in os.get_exec_path())  # a run does not import shutil
    found = next((place for place in places if os.access(place, os.X_OK)), None)
    if found is not None and found.resolve() == path.resolve():
        return name
    return str(path.absolute())


def _options() -> Globals:
    """Return the global options of the current command."""
    context = click.get_current_context(silent=True)
    return (context.find_object(Globals) if context is not None else None) or Globals()


def log_traceback() -> None:
    """Print the traceback of the current exception to stderr."""
    echo_err(traceback.format_exc().rstrip())
    echo_err(msg("dify-job: this is an internal error of dify-job; please report it with the lines above"))


def terminal_of_stdout(environ: Mapping[str, str] = os.environ) -> report_text.Terminal:
    """Return width, height, colours and encoding of standard output.

    Args:
        environ: The environment variables. COLUMNS sets the width; NO_COLOR and TERM=dumb turn colours off.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    size = shutil.get_terminal_size((_UNLIMITED_COLUMNS, 24))
    colours = is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    utf8 = report_text.has_utf8(environ)
    return report_text.Terminal(max(size.columns, 40), size.lines, colours, utf8)

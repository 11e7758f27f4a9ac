"""Choose the log of a run: terminal, journal or JSON lines; under cron the journal, syslog or log_file."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from .. import log
from ..config.discovery import is_found
from ..config.model import Job
from ..log.sinks import NonBlockingWriter, Stream, Syslog, open_log_file
from ..messages.command import Reader
from ..messages.message import msg
from . import progress
from .options import Globals
from .output import echo_err, reader
from .schedule_guard import under_systemd

_JOURNAL = Path("/run/systemd/journal/socket")


def set_up(
    options: Globals, job: Job, *, scheduled: bool, without_result: bool = False
) -> progress.LiveLine | None:
    """Choose the format and the stream of the log.

    Args:
        options: The global options.
        job: The job that every line names.
        scheduled: Whether a unit or a crontab entry started the command.
        without_result: Leave the outcome out of the log, because the command prints it.

    Returns:
        The live line, which is also the stream of the log; None without a terminal or for a scheduled start.
    """
    level = options.log_level
    if level is None:
        # DEBUG_INVOCATION: systemd.exec(5), RestartMode=debug
        debug = options.verbose or os.environ.get("DEBUG_INVOCATION") == "1"
        level = "debug" if debug else "warning" if options.quiet else "info"
    live: progress.LiveLine | None = None
    stream: Stream = sys.stderr
    cron = is_cron(options, scheduled=scheduled)
    if stream.isatty() and options.log_format == "auto" and not options.quiet:
        writer = getattr(stream, "buffer", None)
        is_ready = writer.is_ready if isinstance(writer, NonBlockingWriter) else lambda: True
        live = progress.LiveLine(sys.stderr, is_ready)
    elif cron and not _JOURNAL.exists():
        stream = _syslog() or _file_of(job) or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    log_format = "journal" if cron and _JOURNAL.exists() else options.log_format
    log.set_up(
        log_format=log_format,
        level=log.level_of(level),
        stream=live or stream,
        job=job.name,
        journal=cron,
        without_result=without_result,
        reader=_reader_of_log(options, scheduled=scheduled),
    )
    return None if scheduled else live


def set_up_journal(options: Globals, name: str, *, scheduled: bool) -> None:
    """Log to the journal if a service or cron started this command, before the job is read.

    Args:
        options: The global options of the call.
        name: The job that every line names.
        scheduled: Whether a unit or a crontab entry started this.
    """
    by_cron = is_cron(options, scheduled=scheduled) and _JOURNAL.exists()
    if by_cron or (options.log_format == "auto" and log.stderr_is_journal()):
        reader_of_log = _reader_of_log(options, scheduled=scheduled)
        log.set_up(log_format="journal", level=log.INFO, job=name, reader=reader_of_log)


def _reader_of_log(options: Globals, *, scheduled: bool) -> Reader:
    """Return the reader of the log. A unit names its configuration even if it is the default."""
    config = options.config_path
    return reader()._replace(config_options=()) if scheduled and config and is_found(config) else reader()


def make_stderr_non_blocking() -> NonBlockingWriter | None:
    """Replace sys.stderr with a stream that never waits for its reader.

    Returns:
        The underlying writer, or None if stderr is no file.
    """
    try:
        writer = NonBlockingWriter(sys.stderr.fileno())
        encoding = sys.stderr.encoding or "utf-8"
    except (OSError, ValueError, AttributeError):
        return None
    sys.stderr = io.TextIOWrapper(writer, encoding, "backslashreplace", write_through=True)
    return writer


def _syslog() -> Stream | None:
    try:
        return Syslog()
    except OSError:
        return None


def _file_of(job: Job) -> Stream | None:
    if job.log_file is None:
        return None
    try:
        return open_log_file(job.log_file)
    except OSError as error:  # cron mails this message; a missing log changes no outcome
        echo_err(
            msg(
                "dify-job: the log file {path} cannot be written: {reason}",
                path=str(job.log_file),
                reason=error.strerror,
            )
        )
        return None


def is_cron(options: Globals, *, scheduled: bool) -> bool:
    """Return True for a start by cron, which mails what is printed.

    Args:
        options: The global options; a log format that they name is used.
        scheduled: Whether a unit or a crontab entry started the command.
    """
    return scheduled and options.log_format == "auto" and not under_systemd() and not sys.stderr.isatty()

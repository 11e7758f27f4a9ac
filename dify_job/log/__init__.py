"""The log: one structlog pipeline with three formats: console, journal, JSON lines.

Nothing is logged before set_up, because a program that imports run_workflow has its own logging.
"""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..messages.command import Reader, for_reader
from ..messages.message import msg
from ..messages.sanitize import one_line
from . import pipeline
from .redaction import add_secret, as_json, redact, redacted

if TYPE_CHECKING:
    from .sinks import Stream

__all__ = [
    "DEBUG",
    "ERROR",
    "FORMATS",
    "INFO",
    "WARNING",
    "add_secret",
    "as_json",
    "debug",
    "error",
    "finish",
    "info",
    "is_set_up",
    "level_of",
    "recent",
    "redact",
    "redacted",
    "set_up",
    "stderr_is_journal",
    "warning",
]

FORMATS = ("auto", "console", "json", "journal")  # the values of --log-format
DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
_LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_recent: deque[str] = deque(maxlen=40)
_logger: "pipeline.Logger | None" = None
_level = INFO
_reader = Reader()


def level_of(name: str) -> int:
    """Return the number of a level."""
    return _LEVELS[name]


def is_set_up() -> bool:
    """Return True after set_up."""
    return _logger is not None


def set_up(
    *,
    log_format: str,
    level: int,
    job: str,
    stream: "Stream | None" = None,
    journal: bool = False,
    without_result: bool = False,
    reader: Reader | None = None,
) -> str:
    """Choose the format and the lowest level of the log.

    Args:
        log_format: One of FORMATS; "auto" chooses by the type of stderr.
        level: The lowest level that is logged.
        job: The job that every line names.
        stream: The stream of the lines; stderr by default.
        journal: Send to the journal's socket even if stderr is not the journal (cron).
        without_result: Leave the outcome out of the console, because the command prints it.
        reader: The reader of commands in messages; None for any reader.

    Returns:
        The chosen format.
    """
    global _logger, _level, _reader  # noqa: PLW0603 - one process, one log
    stream = stream or sys.stderr
    _level, _reader = level, reader or Reader()
    if log_format == "auto":
        log_format = "journal" if journal or stderr_is_journal() else "console" if stream.isatty() else "json"
    if log_format == "journal":
        try:
            _logger = pipeline.journal(job)
        except OSError:
            log_format = "json"
    if log_format == "json":
        _logger = pipeline.json_lines(stream, job)
    elif log_format == "console":
        _logger = pipeline.console(stream, job, without_result=without_result)
    return log_format


def stderr_is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if JOURNAL_STREAM names the file of stderr (systemd.exec(5)); children inherit it."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def recent() -> tuple[str, ...]:
    """Return the last lines of this process from info up, oldest first, for messages to people."""
    return tuple(redact(line) for line in _recent)


def _log(level: str, event: str, /, **fields: Any) -> None:
    if _logger is None or _LEVELS[level] < _level:
        return
    if level != "debug":
        data = "  ".join([f"{level}: {event}", *(f"{key}={fields[key]}" for key in fields if fields[key])])
        _recent.append(one_line(redact(data)))
    fields = {key: for_reader(value, _reader) for key, value in fields.items()}
    # A full disk, a closed pipe or a dead journal must not change the outcome.
    with contextlib.suppress(OSError, ValueError):
        _report_lost_lines(_logger)
        _logger.log(level, for_reader(event, _reader), fields)


def _report_lost_lines(logger: "pipeline.Logger") -> None:
    """Log the number of dropped lines when the reader accepts lines again."""
    sink = logger.sink
    if (lost := getattr(sink, "lost", 0)) and sink.is_ready():
        sink.lost = 0
        text = msg(
            "some lines of this log were lost, because the program that receives it did not read them in time"
        )
        logger.log("warning", text, {"lines": lost})


def finish(seconds: float) -> None:
    """Wait for the reader of the log, and report lost lines.

    Args:
        seconds: The maximum wait.
    """
    if _logger is None:
        return
    drain = getattr(_logger.sink, "drain", lambda _seconds: None)
    drain(seconds)
    with contextlib.suppress(OSError, ValueError):
        _report_lost_lines(_logger)
    drain(0.1)


debug = partial(_log, "debug")
info = partial(_log, "info")
warning = partial(_log, "warning")
error = partial(_log, "error")

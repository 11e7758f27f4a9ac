"""One structlog pipeline with three faces, chosen once: console, journal, JSON lines.

Until set_up is called nothing is logged: a program that imports run_workflow keeps its own logging. Secrets
told to hide() are taken out of every face, tracebacks included.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
_LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_HIDDEN = "[hidden]"
_SHORTEST_SECRET = 4  # hiding "1" would hide every 1 in the log


class Stream(Protocol):
    """What the lines of the log are written to."""

    def write(self, text: str, /) -> int:
        """As of a text file."""

    def flush(self) -> None:
        """As of a text file."""

    def isatty(self) -> bool:
        """As of a text file."""


_secrets: list[str] = []
_logger: Any = None
_level = INFO


def hide(secret: str) -> None:
    """Never show this text, in whatever face or field it turns up."""
    if len(secret) >= _SHORTEST_SECRET and secret not in _secrets:
        _secrets.append(secret)
        _secrets.sort(key=len, reverse=True)


def redact(text: str) -> str:
    """The text without the secrets that hide() was told."""
    for secret in _secrets:
        text = text.replace(secret, _HIDDEN)
    return text


def faces() -> tuple[str, ...]:
    """The values of --log-format."""
    return ("auto", "console", "json", "journal")


def level_of(name: str) -> int:
    """The number of a level's name."""
    return _LEVELS[name]


def is_set_up() -> bool:
    """True once set_up chose a face."""
    return _logger is not None


def set_up(*, face: str, level: int, job: str, stream: Stream | None = None, journal: bool = False) -> str:
    """Choose the face ("auto": by what stderr is) and the lowest level shown; returns the face chosen.

    journal: send to the journal's socket even where stderr is something else (cron).
    """
    global _logger, _level  # noqa: PLW0603 - one process, one log
    stream = stream or sys.stderr
    _level = level
    if face == "auto":
        face = "journal" if journal or stderr_is_journal() else "console" if stream.isatty() else "json"
    if face == "journal":
        from .journal import Journal  # noqa: PLC0415 - under systemd alone

        try:
            logger: Any = Journal(redact)
        except OSError:
            face, logger = "json", None
    if face != "journal":
        logger = _Lines(stream)
    _logger = _build(face, logger, stream)
    if face != "console":  # a person knows which job it is
        _logger = _logger.bind(job=job)
    return face


def _build(face: str, logger: Any, stream: Stream) -> Any:
    import structlog  # noqa: PLC0415 - a program that imports run_workflow may not want it

    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _drop_empty,
    ]
    match face:
        case "console":
            colors = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
            shared += [_console_line(colors=colors)]
        case "json":
            shared += [
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            ]
    return structlog.wrap_logger(
        logger,
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_level),
        cache_logger_on_first_use=True,
    )


def stderr_is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """True where JOURNAL_STREAM names the very file that stderr is: children inherit it (systemd.exec(5))."""
    try:
        there = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def debug(event: str, **fields: Any) -> None:
    """Log at debug level."""
    _log("debug", event, fields)


def info(event: str, **fields: Any) -> None:
    """Log at info level."""
    _log("info", event, fields)


def warning(event: str, **fields: Any) -> None:
    """Log at warning level."""
    _log("warning", event, fields)


def error(event: str, **fields: Any) -> None:
    """Log at error level."""
    _log("error", event, fields)


def _log(method: str, event: str, fields: Mapping[str, Any]) -> None:
    if _logger is None:
        return
    try:
        getattr(_logger, method)(event, **fields)
    except (OSError, ValueError):
        # A full disk, a closed pipe or a dead journal must not change the outcome (issue 3).
        return


class _Lines:
    """Writes finished lines to a stream, redacted last so that no face and no traceback is missed."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        self._stream.write(redact(line) + "\n")
        self._stream.flush()

    debug = info = warning = error = msg


def _drop_empty(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if value is not None and value != ""}


def _console_line(*, colors: bool) -> Any:
    """`dify-job: message  key=value`, the level in colour where the terminal has them."""
    paint = {"warning": "\x1b[33m", "error": "\x1b[31m", "debug": "\x1b[2m"} if colors else {}

    def line(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        text = str(event.pop("event"))
        event.pop("level", None)
        event.pop("message_id", None)
        traceback = event.pop("exception", None)
        told = "  ".join(f"{key}={value}" for key, value in event.items())
        start, end = (paint[method], "\x1b[0m") if method in paint else ("", "")
        prefix = {"warning": "warning: ", "error": "error: "}.get(method, "")
        return (
            f"{start}{prefix}{text}{end}"
            + (f"  {told}" if told else "")
            + (f"\n{traceback}" if traceback else "")
        )

    return line

"""The structlog pipeline of each log format: the processors and the logger of their results."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

# Only these modules of the lazy package are executed. The complete package imports asyncio, rich and inspect,
# which takes 0.19 of the CPU time of `import requests` and 4 MiB at each run.
from structlog._base import BoundLoggerBase
from structlog.exceptions import DropEvent

from ..messages.i18n import translate
from ..messages.sanitize import visible
from .journal import Journal
from .redaction import redact
from .sinks import Stream

Event = Mapping[str, Any]
Processor = Callable[[Any, str, Event], Any]

_OUTCOME_IDS = ("finished", "failed", "skipped")
_COLORS = {"warning": "\x1b[33m", "error": "\x1b[31m", "debug": "\x1b[2m"}
_END = "\x1b[0m"
_PREFIXES = {"warning": "warning: ", "error": "error: "}


class Logger(BoundLoggerBase):
    """A bound logger with the job in its context.

    Attributes:
        sink: The destination of entries; `lost` counts dropped ones.
    """

    sink: Any

    def log(self, level: str, event: str, fields: Event) -> None:
        """Send one event through the processors to the sink.

        Args:
            level: Name of the level.
            event: The message.
            fields: The other fields.

        Raises:
            OSError, ValueError: The sink is closed.
        """
        self._proxy_to_logger(level, event, **fields)


def console(stream: Stream, job: str, *, without_result: bool) -> Logger:
    """Return the logger of lines for people: `dify-job: message  key=value`.

    Args:
        stream: The stream of the lines; coloured on a terminal, unless NO_COLOR or TERM=dumb is set.
        job: The job that every line names.
        without_result: Drop the message with the outcome.
    """
    colors = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    drop = (_drop_result,) if without_result else ()
    render = partial(_line, colors=_COLORS if colors else {})
    return _logger(_Lines(stream), _sink_of(stream), (*drop, _for_people, _redact, render), job)


def json_lines(stream: Stream, job: str) -> Logger:
    """Return the logger of JSON lines.

    Args:
        stream: The stream of the lines.
        job: The job that every line names.
    """
    return _logger(_Lines(stream), _sink_of(stream), (_for_programs, _redact, _json_line), job)


def journal(job: str) -> Logger:
    """Return the logger of journal entries.

    Raises:
        OSError: There is no journal.
    """
    entries = Journal()
    return _logger(entries, entries.socket, (_for_people, _redact), job)


def _logger(logger: Any, sink: Any, processors: Sequence[Processor], job: str) -> Logger:
    made = Logger(logger, processors, {"job": job})
    made.sink = sink
    return made


def _sink_of(stream: Stream) -> Any:
    return getattr(stream, "buffer", stream)


class _Lines:
    """A logger that writes rendered lines of all levels to a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def debug(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    info = warning = error = debug


def _drop_result(_logger: object, _level: str, event: Event) -> Event:
    if event.get("message_id") in _OUTCOME_IDS:
        raise DropEvent
    return event


def _for_people(_logger: object, _level: str, event: Event) -> Event:
    """Translate the message and prefix it with the job's name."""
    data = {**event}
    text = translate(data.pop("line", None) or data["event"])
    if hint := data.get("hint"):
        data["hint"] = translate(hint)
    return data | {"event": f"{data['job']}: {text}" if data["job"] else text}


def _for_programs(_logger: object, level: str, event: Event) -> Event:
    """Add level and time, and remove fields for people."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    data = {key: value for key, value in event.items() if key != "line"}
    return data | {"level": level, "timestamp": f"{now}Z"}


def _redact(_logger: object, _level: str, event: Event) -> Event:
    """Remove secrets, control characters and empty fields, for every format."""
    return {key: _shown(value) for key, value in event.items() if value is not None and value != ""}


def _shown(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float)) else visible(redact(str(value)))


def _json_line(_logger: object, _level: str, event: Event) -> str:
    return json.dumps(event, ensure_ascii=False)


def _line(_logger: object, level: str, event: Event, *, colors: Mapping[str, str]) -> str:
    shown = {key: event[key] for key in event if key not in ("event", "message_id", "job")}
    # A line end in the title of a node must not start a line that looks like a line of dify-job.
    fields = [f"{key}={value}".replace("\n", "\\n") for key, value in shown.items()]
    color = colors.get(level, "")
    text = f"{color}{_PREFIXES.get(level, '')}{event['event']}{_END if color else ''}"
    return "  ".join([text, *fields])

"""One pipeline of structlog processors with three faces, chosen once: console, journal, JSON lines.

Until set_up is called nothing is logged: a program that imports run_workflow keeps its own logging. Secrets
told to hide() are taken out of every face, tracebacks included.
"""

import contextlib
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import partial, partialmethod
from math import isfinite
from typing import Any, Protocol

from ..messages.i18n import translate
from ..messages.message import Message, msg
from ..messages.sanitize import one_line, visible
from ..system.json_text import RawJson, dumps

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
_keys: list[str] = []
_hiding = threading.Lock()
_recent: deque[str] = deque(maxlen=40)
_logger: Any = None
_sink: Any = None
_level = INFO


def hide(secret: str, *, is_key: bool = False) -> None:
    """Never show this text, in whatever face or field it turns up, nor as JSON or a URL would write it.

    is_key: nor write it into an output file, where a secret input may well belong.
    """
    if len(secret) < _SHORTEST_SECRET:
        return
    from urllib.parse import quote  # noqa: PLC0415 - `--help` has none

    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {quote(secret, safe="", errors="replace"), quote(secret, errors="replace")}
    with _hiding:  # a program's threads each hide their own
        for hidden in (_secrets, _keys) if is_key else (_secrets,):
            hidden[:] = sorted({*hidden, *forms}, key=len, reverse=True)


def redact(text: str) -> str:
    """The text without the secrets that hide() was told."""
    if not any(secret in text for secret in _secrets):
        return text
    if isinstance(text, Message):
        return text.map(redact)
    for secret in _secrets:
        text = text.replace(secret, _HIDDEN)
    return text


def as_json(value: Any, *, indent: int | None = None, to_file: bool = False) -> str:
    """A value as JSON without secrets in its texts; what JSON has no number for, as 1e999, is null.

    Not in the whole text at once: a secret "true" would leave no JSON. to_file: only keys are secrets.
    """
    secrets = _keys if to_file else _secrets
    try:
        text = dumps(value, allow_nan=False, indent=indent)
    except ValueError:
        return dumps(_fit_for_json(value, secrets), indent=indent)
    if any(secret in text for secret in secrets):
        text = dumps(_fit_for_json(value, secrets), indent=indent)
    return text


def redacted(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without the secrets that hide() was told, and with numbers that JSON has."""
    value: dict[str, Any] = _fit_for_json(record, _secrets)
    return value


def _fit_for_json(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
        return value
    if isinstance(value, RawJson):
        return value.map_texts(lambda text: _fit_for_json(text, secrets))
    if isinstance(value, Mapping):
        return {_fit_for_json(name, _keys): _fit_for_json(inner, secrets) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fit_for_json(inner, secrets) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def faces() -> tuple[str, ...]:
    """The values of --log-format."""
    return ("auto", "console", "json", "journal")


def level_of(name: str) -> int:
    """The number of a level's name."""
    return _LEVELS[name]


def is_set_up() -> bool:
    """True once set_up chose a face."""
    return _logger is not None


def set_up(
    *,
    face: str,
    level: int,
    job: str,
    stream: Stream | None = None,
    journal: bool = False,
    without_result: bool = False,
) -> str:
    """Choose the format and the lowest level of the log.

    Args:
        face: The format; "auto" chooses by what stderr is.
        level: The lowest level that is logged.
        job: The job that every line names.
        stream: Where lines go; stderr by default.
        journal: Send to the journal's socket even where stderr is something else (cron).
        without_result: Leave out of the console how the run ended: the command shows it itself.

    Returns:
        The format chosen.
    """
    global _logger, _level, _sink  # noqa: PLW0603 - one process, one log
    stream = stream or sys.stderr
    _level = level
    _sink = getattr(stream, "buffer", stream)
    context: dict[str, Any] = {"job": job}
    if face == "auto":
        face = "journal" if journal or stderr_is_journal() else "console" if stream.isatty() else "json"
    if face == "journal":
        from .journal import Journal  # noqa: PLC0415 - under systemd alone

        try:
            journal_logger = Journal()
            _logger = _Pipeline(journal_logger, (_add_level, _speak, _name_job, _fit), context)
            _sink = journal_logger.socket
        except OSError:
            face = "json"
    if face == "json":
        _logger = _Pipeline(_Lines(stream), (_add_level, _drop_line, _fit, _add_time, _json_line), context)
    elif face == "console":
        import structlog  # noqa: PLC0415 - see _Pipeline

        colors = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        processors = (
            *([_drop_result] if without_result else []),
            structlog.processors.format_exc_info,
            _speak,
            _name_job,
            _fit,
            _console_line(colors=colors),
        )
        _logger = structlog.wrap_logger(_Lines(stream), processors=processors, context_class=dict).bind(
            job=job
        )
    return face


class _Pipeline:
    """A bound logger of structlog's kind for the faces that machines read.

    Importing structlog, and by way of it asyncio, would be 0.19 of `import requests` and 4 MiB at each run.
    """

    def __init__(
        self, sink: Any, processors: Sequence[Callable[..., Any]], context: Mapping[str, Any]
    ) -> None:
        self._sink = sink
        self._processors = processors
        self._context = context

    def _proceed(self, method: str, event: str, **fields: Any) -> None:
        data: Any = {**self._context, **fields, "event": event}
        for processor in self._processors:
            data = processor(self._sink, method, data)
        send = getattr(self._sink, method)
        if isinstance(data, str):
            send(data)
        else:
            send(**data)

    debug = partialmethod(_proceed, "debug")
    info = partialmethod(_proceed, "info")
    warning = partialmethod(_proceed, "warning")
    error = partialmethod(_proceed, "error")


def stderr_is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """True where JOURNAL_STREAM names the very file that stderr is: children inherit it (systemd.exec(5))."""
    try:
        there = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def recent() -> tuple[str, ...]:
    """The last lines of this process from info up, oldest first, for messages to people."""
    return tuple(redact(line) for line in _recent)


def _log(method: str, event: str, /, **fields: Any) -> None:
    if _logger is None or _LEVELS[method] < _level:
        return
    if method != "debug":
        data = "  ".join([f"{method}: {event}", *(f"{key}={fields[key]}" for key in fields if fields[key])])
        _recent.append(one_line(redact(data)))
    try:
        _report_lost_lines()
        getattr(_logger, method)(event, **fields)
    except (OSError, ValueError):
        # A full disk, a closed pipe or a dead journal must not change the outcome (issue 3).
        return


def _report_lost_lines() -> None:
    """Log how many lines nobody took, once somebody takes lines again."""
    lost = getattr(_sink, "lost", 0)
    if lost and _sink.has_room():
        _sink.lost = 0
        _logger.warning(
            msg("lines of this log were lost, because their reader did not take them"), lines=lost
        )


def finish(seconds: float) -> None:
    """Wait for the reader of the log, for so many seconds at most, and report lines that were lost."""
    if _logger is None:
        return
    drain = getattr(_sink, "drain", None)
    if drain is not None:
        drain(seconds)
    with contextlib.suppress(OSError, ValueError):
        _report_lost_lines()
    if drain is not None:
        drain(0.1)


debug = partial(_log, "debug")
info = partial(_log, "info")
warning = partial(_log, "warning")
error = partial(_log, "error")


class _Lines:
    """Writes finished lines to a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = info = warning = error = msg


def _add_level(_logger: object, method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    return {**event, "level": method}


def _add_time(_logger: object, _method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).replace(tzinfo=None)
    return {**event, "timestamp": now.isoformat(timespec="microseconds") + "Z"}


def _json_line(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False, default=str)


def _fit(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Without secrets and control characters, tracebacks included; before any face: none is missed."""
    return {key: _shown(value) for key, value in event.items() if value is not None and value != ""}


def _shown(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float)) else visible(redact(str(value)))


def _speak(_logger: object, _method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """What people read, in the language of the locale; JSON lines are for programs."""
    spoken = {key: translate(event[key]) for key in ("event", "hint", "line") if event.get(key)}
    return {**event, **spoken}


def _drop_line(_logger: object, _method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is worded for people: programs read the fields."""
    return {key: value for key, value in event.items() if key != "line"}


def _name_job(_logger: object, _method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Begin the message with the job, so that the lines of many jobs can be read together."""
    data = _drop_line(_logger, _method, event)
    text = event.get("line") or event["event"]
    return data | {"event": f"{event['job']}: {text}" if event.get("job") else text}


def _drop_result(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if event.get("message_id") in ("finished", "failed", "skipped"):
        from structlog import DropEvent  # noqa: PLC0415 - loaded with the console

        raise DropEvent
    return event


def _console_line(*, colors: bool) -> Any:
    """`dify-job: message  key=value`, the level in colour where the terminal has them."""
    paint = {"warning": "\x1b[33m", "error": "\x1b[31m", "debug": "\x1b[2m"} if colors else {}

    def line(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        text = str(event.pop("event"))
        event.pop("message_id", None)
        event.pop("job", None)
        traceback = event.pop("exception", None)
        data = "  ".join(f"{key}={value}" for key, value in event.items())
        start, end = (paint[method], "\x1b[0m") if method in paint else ("", "")
        prefix = {"warning": "warning: ", "error": "error: "}.get(method, "")
        return (
            f"{start}{prefix}{text}{end}"
            + (f"  {data}" if data else "")
            + (f"\n{traceback}" if traceback else "")
        )

    return line

"""The inputs of a run: config under --inputs under -i, templates of the config rendered."""

import json
import re
import socket
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from functools import cached_property
from typing import Any

from ..config.model import Job
from ..errors import JobError
from ..exits import Outcome

_SECRET_NAME = re.compile(
    r"pass(word|phrase|wd)|secret|token|credential|api_?key|private_?key", re.IGNORECASE
)


class Templates:
    """The job's templates and what they can name; the clock is read once for all of them.

    last_success: asked, only where there is a template, when the last run that succeeded began.
    """

    def __init__(self, job: Job, last_success: Callable[[], datetime | None]) -> None:
        self._job = job
        self._last_success = last_success

    def inputs(self) -> dict[str, Any]:
        """The job's own inputs; what has no `{{` or `{%` stays as it is. Raises JobError (config)."""
        return {key: self._render(value, f"inputs.{key}") for key, value in self._job.inputs.items()}

    def output_file(self) -> str | None:
        """The name of the job's output file. Raises JobError (config)."""
        text = self._job.output.file
        return text if text is None else str(self._render(text, "output.file"))

    @cached_property
    def _names(self) -> dict[str, Any]:
        now = _now_in(self._job.schedule.timezone)
        return {
            "now": now,
            "today": now.date(),
            "last_success": self._last_success(),
            "job": self._job.name,
            "hostname": socket.gethostname(),
        }

    def _render(self, value: Any, where: str) -> Any:
        if isinstance(value, str) and is_template(value):
            from ..templates import render_value  # noqa: PLC0415 - Jinja costs more than the rest of a run

            return render_value(value, self._names, where)
        if isinstance(value, Mapping):
            return {key: self._render(inner, f"{where}.{key}") for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._render(inner, where) for inner in value]
        return value.isoformat() if isinstance(value, (date, time)) else value  # TOML has dates, JSON has not


def is_template(text: str) -> bool:
    """True where rendering could change the text; nearly no value is, and then Jinja is not imported."""
    return "{{" in text or "{%" in text


def parse_object(text: str, where: str, outcome: Outcome) -> dict[str, Any]:
    """A JSON object given as inputs; where: the flag or the file, for the message. Raises JobError."""
    try:
        told = json.loads(text)
    except ValueError as error:
        raise JobError(
            outcome, f"{where} is not JSON: {error}", 'an object is needed: {"name": "value"}'
        ) from None
    if not isinstance(told, dict):
        raise JobError(
            outcome, f"{where} is JSON, but not an object", 'an object is needed: {"name": "value"}'
        )
    return told


def secrets_in(inputs: Mapping[str, Any]) -> list[str]:
    """Values of inputs whose names say that they are secret, for the log to hide."""
    return [value for key, value in inputs.items() if isinstance(value, str) and _SECRET_NAME.search(key)]


def _now_in(zone: str | None) -> datetime:
    if zone is None:
        return datetime.now().astimezone()
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - for jobs with a zone

    return datetime.now(ZoneInfo(zone))

"""The inputs of a run: config under --inputs under -i, templates of the config rendered."""

import json
import re
import socket
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from ..config.model import Job
from ..errors import JobError
from ..exits import Outcome

_SECRET_NAME = re.compile(
    r"pass(word|phrase|wd)|secret|token|credential|api_?key|private_?key", re.IGNORECASE
)


def render_inputs(job: Job, *, now: datetime, last_success: datetime | None) -> dict[str, Any]:
    """The job's own inputs with their templates rendered; what has no `{{` or `{%` stays as it is.

    now: aware, in the job's zone. last_success: when the last run that succeeded began. Raises JobError.
    """
    names = _names(job, now, last_success)
    return {key: _render(value, names, f"inputs.{key}") for key, value in job.inputs.items()}


def render_output_file(job: Job, *, now: datetime, last_success: datetime | None) -> str | None:
    """The name of the job's output file, rendered as its inputs are."""
    text = job.output.file
    if text is None or not is_template(text):
        return text
    return str(_render(text, _names(job, now, last_success), "output.file"))


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


def _names(job: Job, now: datetime, last_success: datetime | None) -> dict[str, Any]:
    """What a template can use."""
    return {
        "now": now,
        "today": now.date(),
        "last_success": last_success,
        "job": job.name,
        "hostname": socket.gethostname(),
    }


def _render(value: Any, names: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, str) and is_template(value):
        from ..templates import render_value  # noqa: PLC0415 - start-up time: Jinja costs more than our own run

        return render_value(value, names, where)
    if isinstance(value, Mapping):
        return {key: _render(inner, names, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_render(inner, names, where) for inner in value]
    return value.isoformat() if isinstance(value, (date, time)) else value  # TOML has dates, JSON has not

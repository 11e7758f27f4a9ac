"""The inputs of a run: config under --inputs under -i, templates of the config rendered."""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any

from .. import log
from ..config.model import Job
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.json_text import BoundsError, check, loads

_PRIVATE_NAME = (
    r"(?i)pass(word|phrase|wd)|secret|token|credential|(api|private|access)[_-]?key"
    r"|authorization|bearer|cookie"
)


class Templates:
    """The job's templates and what they can name; the clock is read once for all of them.

    last_success: asked, only where there is a template, when the last run that succeeded began.
    """

    def __init__(
        self,
        job: Job,
        last_success: Callable[[], datetime | None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._job = job
        self._last_success = last_success
        self._environ = environ

    def inputs(self) -> dict[str, Any]:
        """The job's own inputs; what has no `{{` or `{%` stays as it is. Raises JobError (config)."""
        return {key: self._render(value, f"inputs.{key}") for key, value in self._job.inputs.items()}

    def files(self) -> dict[str, list[str]]:
        """The paths and addresses of the job's input files, without the empty ones. Raises JobError."""
        listed = {key: [item] if isinstance(item, str) else item for key, item in self._job.files.items()}
        return {
            key: [name for item in items if (name := self._render(item, f"files.{key}"))]
            for key, items in listed.items()
        }

    def output_file(self) -> str | None:
        """The name of the job's output file. Raises JobError (config)."""
        text = self._job.output.file
        return text if text is None else str(self._render(text, "output.file"))

    def renew(self) -> bool:
        """True where a run succeeded since the names were made, so that what they gave is out of date."""
        if "_names" not in vars(self) or self._names["last_success"] == self._last_success():
            return False
        del self._names
        return True

    @cached_property
    def _names(self) -> dict[str, Any]:
        now = _now_in(self._job.schedule.timezone)
        return {
            "now": now,
            "today": now.date(),
            "last_success": self._last_success(),
            "job": self._job.name,
            "hostname": socket.gethostname(),
            "timedelta": timedelta,
            "env": self._env,
        }

    def _env(self, name: str, default: str | None = None) -> str:
        """A variable that the job lets its templates read."""
        job = self._job
        if name not in job.env or name == job.key.env:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "a template of job {name} reads the environment variable {name2}, which the job does not "
                    "allow",
                    name=job.name,
                    name2=name,
                ),
                msg('add it to the job: env = ["{name}"]', name=name),
            )
        value = self._environ.get(name, default)
        if value is None:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "a template of job {name} reads the environment variable {name2}, which is not set",
                    name=job.name,
                    name2=name,
                ),
                msg('set it (in a unit: Environment=), or give a default: env("{name}", "...")', name=name),
            )
        if re.search(_PRIVATE_NAME, name):
            log.hide(value)
        return value

    def _render(self, value: Any, where: str) -> Any:
        if isinstance(value, str) and is_template(value):
            from ..system.templates import render_value  # noqa: PLC0415 - Jinja costs more than the rest of a run

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
        told = loads(text)
    except BoundsError as error:
        raise JobError(
            Outcome.REJECTED,
            msg("{where} cannot be used: {error}", where=where, error=error),
            msg("give what is so large as a text or a file"),
        ) from None
    except ValueError as error:
        raise JobError(
            outcome,
            msg("{where} is not JSON: {error}", where=where, error=error),
            msg('an object is needed: {{"name": "value"}}'),
        ) from None
    if not isinstance(told, dict):
        raise JobError(
            outcome,
            msg("{where} is JSON, but not an object", where=where),
            msg('an object is needed: {{"name": "value"}}'),
        )
    return told


def check_sendable(inputs: Mapping[str, Any]) -> None:
    """Refuse what no JSON body can carry: Dify answers 400 (`error-body-lone-surrogate`)."""
    try:
        check(inputs)
        json.dumps(inputs, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise JobError(
            Outcome.REJECTED,
            msg("the inputs cannot be sent as JSON: {error}", error=error),
            msg("use UTF-8 text and finite numbers"),
        ) from None


def needs_form(inputs: Mapping[str, Any]) -> bool:
    """True where only the form tells how an input is to be sent.

    A table or a list, a text that reads as one in JSON, and the words true and false.
    """
    return any(_is_ambiguous(value) for value in inputs.values())


def secrets_in(inputs: Mapping[str, Any]) -> list[str]:
    """All that stands under a name that says it is secret, however deep, for the log to hide."""
    return list(_secrets(inputs, secret=False))


def _secrets(value: Any, secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, secret or bool(re.search(_PRIVATE_NAME, str(key))))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _secrets(inner, secret)
    elif secret and isinstance(value, str):
        yield value
    elif secret and isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)


def _is_ambiguous(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, (Mapping, list, tuple))
    text = value.strip()
    return text.lower() in ("true", "false") or (text[:1], text[-1:]) in (("{", "}"), ("[", "]"))


def _now_in(zone: str | None) -> datetime:
    if zone is None:
        return datetime.now().astimezone()
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - for jobs with a zone

    return datetime.now(ZoneInfo(zone))

"""The inputs of a run: -i overrides --inputs, which overrides the configuration. Render its templates."""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from time import monotonic, sleep
from typing import Any, TypeGuard

from .. import log
from ..config.model import Job
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.json_text import BoundsError, check, loads
from ..system.template_process import render_all

_MAX_RENDERING = 60.0  # seconds, if there is no deadline of a run

_PRIVATE_NAME = (
    r"(?i)pass(word|phrase|wd)|secret|token|credential|(api|private|access)[_-]?key"
    r"|authorization|bearer|cookie"
)


class Templates:
    """The job's templates, which one child process renders with one clock value.

    Args:
        job: The job.
        last_success: Returns the start of the last successful run; called only if there is a template.
        environ: The variables for env().
        until: Returns the monotonic time limit of rendering; by default a minute from now.
        pause: Waits for a number of seconds; an exception ends the rendering.
    """

    def __init__(
        self,
        job: Job,
        last_success: Callable[[], datetime | None],
        environ: Mapping[str, str] = os.environ,
        *,
        until: Callable[[], float] = lambda: monotonic() + _MAX_RENDERING,
        pause: Callable[[float], object] = sleep,
    ) -> None:
        self._job = job
        self._last_success = last_success
        self._environ = environ
        self._until = until
        self._pause = pause

    def inputs(self) -> dict[str, Any]:
        """Return the job's own inputs; texts without `{{` or `{%` are not changed.

        Raises:
            JobError: A template cannot be rendered (config).
        """
        return {key: self._render(value, f"inputs.{key}") for key, value in self._job.inputs.items()}

    def files(self) -> dict[str, list[str]]:
        """Return the paths and addresses of the job's input files, without the empty ones.

        Raises:
            JobError: A template cannot be rendered (config).
        """
        return {
            key: [name for item in items if (name := self._render(item, f"files.{key}"))]
            for key, items in self._job.files.items()
        }

    def output_file(self) -> str | None:
        """Return the name of the job's output file, or None.

        Raises:
            JobError: The template cannot be rendered (config).
        """
        text = self._job.output.file
        return text if text is None else str(self._render(text, "output.file"))

    def renew(self) -> bool:
        """Return True if the templates must be rendered again, because a run succeeded since."""
        if "_results" not in vars(self) or self._values["last_success"] == _as_text(self._last_success()):
            return False
        del self._values, self._results
        return True

    @cached_property
    def _values(self) -> dict[str, Any]:
        """Return the values from which the process that renders makes the names of the templates, as JSON."""
        job = self._job
        allowed = [name for name in job.env if name != job.key.env]
        variables = {name: self._environ[name] for name in allowed if name in self._environ}
        for name, value in variables.items():
            if re.search(_PRIVATE_NAME, name):
                log.add_secret(value)
        return {
            "now": datetime.now().astimezone().isoformat(),
            "zone": job.schedule.timezone,
            "last_success": _as_text(self._last_success()),
            "job": job.name,
            "hostname": socket.gethostname(),
            "allowed": allowed,
            "variables": variables,
        }

    @cached_property
    def _results(self) -> dict[tuple[str, str], str | JobError]:
        """Return the rendered values by key and template."""
        job = self._job
        settings = {"inputs": job.inputs, "files": job.files, "output": {"file": job.output.file}}
        found = ((".".join(path), text) for path, text in _leaves(settings) if is_template(text))
        templates = list(dict.fromkeys(found))
        return dict(
            zip(templates, render_all(templates, self._values, self._until(), self._pause), strict=True)
        )

    def _render(self, value: Any, where: str) -> Any:
        if is_template(value):
            result = self._results[where, value]
            if isinstance(result, JobError):
                raise result
            return result
        if isinstance(value, Mapping):
            return {key: self._render(inner, f"{where}.{key}") for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._render(inner, where) for inner in value]
        return value


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value that is no table and no list, with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value


def _as_text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def is_template(text: object) -> TypeGuard[str]:
    """Return True for a text that rendering could change; without one, Jinja is not imported."""
    return isinstance(text, str) and ("{{" in text or "{%" in text)


def parse_object(text: str, where: str, outcome: Outcome) -> dict[str, Any]:
    """Return a JSON object given as inputs.

    Args:
        text: The JSON.
        where: The flag or the file, for the message.
        outcome: The outcome for a text that is no object.

    Raises:
        JobError: The text is no JSON object, or exceeds the bounds (rejected).
    """
    try:
        data = loads(text)
    except BoundsError as error:
        raise JobError(
            Outcome.REJECTED,
            msg("{setting} cannot be used: {reason}", setting=where, reason=error),
            msg("pass large or deeply nested data as a string or a file"),
        ) from None
    except ValueError as error:
        raise JobError(
            outcome,
            msg("{setting} is not JSON: {error}", setting=where, error=error),
            msg('write a JSON object: {{"name": "value"}}'),
        ) from None
    if not isinstance(data, dict):
        raise JobError(
            outcome,
            msg("{where} is JSON, but not a JSON object", where=where),
            msg('write a JSON object: {{"name": "value"}}'),
        )
    return data


def check_sendable(inputs: Mapping[str, Any]) -> None:
    """Reject values that JSON cannot represent, because Dify answers 400 (`error-body-lone-surrogate`)."""
    try:
        check(inputs)
        json.dumps(inputs, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise JobError(
            Outcome.REJECTED,
            msg("the inputs cannot be sent as JSON: {error}", error=error),
            msg("use only UTF-8 text and finite numbers in the inputs"),
        ) from None


def needs_form(inputs: Mapping[str, Any]) -> bool:
    """Return True if an input needs the form for its type.

    These are tables and lists, texts with JSON of a table or list, and the words true and false.
    """
    return any(_is_ambiguous(value) for value in inputs.values())


def secrets_in(inputs: Mapping[str, Any]) -> list[str]:
    """Return all values under names that look secret, at any depth, for redaction."""
    return [
        str(value)
        for path, value in _leaves(inputs)
        if isinstance(value, (str, int, float))
        and not isinstance(value, bool)
        and any(re.search(_PRIVATE_NAME, key) for key in path)
    ]


def _is_ambiguous(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, (Mapping, list, tuple))
    text = value.strip()
    return text.lower() in ("true", "false") or (text[:1], text[-1:]) in (("{", "}"), ("[", "]"))

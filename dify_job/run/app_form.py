"""Check the inputs of a run against the input form of its app: names, types and values.

The form is fetched only if it is needed. Inputs that Dify converts itself are sent unchanged
(`input-number-as-string-accepted`), so an ordinary run sends nothing before its POST. The names of a fetched
form are stored for a day, so that a misspelt input of the command line is found before a run ignores it.
"""

import contextlib
import difflib
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from .. import log
from ..config.model import Job, Secret
from ..dify.form import FormField, Parameters
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg, text_of, value_error, with_setting
from ..state.reader import read_record
from ..state.store import JobState
from ..system.json_text import loads

_NAME = "form.json"
_MAX_AGE = 86400.0  # seconds
_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_OBJECTS_AS_OBJECTS = (1, 12)  # earlier versions need a JSON text (`error-input-json-object-as-object`)


def store_names(
    directory: Path, job: Job, key: Secret, parameters: Parameters | None, *, make: bool = False
) -> None:
    """Store the input names of a form; write errors are ignored.

    Args:
        directory: The job's state directory.
        job: The job.
        key: The job's key.
        parameters: The form; None if it could not be read.
        make: Create the state directory if it is missing.
    """
    if parameters is None or job.state == "none":
        return
    names = [field.variable for field in parameters.form]
    data = {"at": time.time(), "app": _app(job, key), "names": names}
    with contextlib.suppress(OSError):
        if make or directory.is_dir():
            with contextlib.closing(JobState(directory)) as state:
                state.write(_NAME, log.as_json(data) + "\n")


def stored_names(directory: Path, job: Job, key: Secret) -> list[str] | None:
    """Return the stored input names of the job's app; None if none are stored or they are too old.

    Args:
        directory: The job's state directory.
        job: The job.
        key: Its key.
    """
    data = read_record(directory / _NAME) or {}
    at, names = data.get("at"), data.get("names")
    fresh = isinstance(at, (int, float)) and 0 <= time.time() - at < _MAX_AGE
    if not fresh or data.get("app") != _app(job, key):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def check_names(given: Iterable[str], parameters: Parameters) -> None:
    """Reject inputs of the command line that the app does not have, because Dify would ignore them.

    Args:
        given: The names of the inputs.
        parameters: The form of the app.

    Raises:
        JobError: The app has no such input (rejected).
    """
    known = [field.variable for field in parameters.form]
    lowered = {one.lower(): one for one in known}
    mistakes = []
    for name in (name for name in given if name not in known):
        close = difflib.get_close_matches(name.lower(), lowered, 1)
        text = msg("the app has no input {name}", name=name)
        if close:
            text = msg(
                "the app has no input {name}; did you mean {close}?", name=name, close=lowered[close[0]]
            )
        mistakes.append(text)
    if mistakes:
        raise JobError(
            Outcome.REJECTED,
            join("; ", mistakes),
            msg("the app has these inputs: {names}", names=join(", ", known) or "-"),
        )


def fit_inputs(
    inputs: Mapping[str, Any],
    parameters: Parameters,
    version: tuple[int, int] | None,
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """Convert the inputs to the types of the form, and check them as Dify does.

    Args:
        inputs: The rendered inputs.
        parameters: The form.
        version: The version of the server, if it is known.
        files: The files by the name of their input.

    Raises:
        JobError: (rejected) The inputs do not match the form; the error lists every mistake.
    """
    sent: dict[str, Any] = {}
    mistakes = []
    for name, value in inputs.items():
        field = parameters.field(name)
        if field is None:
            log.warning(msg("the app has no input {name}, so Dify ignores the value", name=name))
            sent[name] = value
            continue
        try:
            sent[name] = coerce(field, value, version)
        except ValueError as error:
            mistakes.append(text_of(error))
    for field in parameters.form:
        given = field.variable in inputs or field.variable in files
        if field.required and not given and field.default is None:
            mistakes.append(
                msg("the input {name} is required by the app, but has no value", name=field.variable)
            )
    if mistakes:
        raise JobError(
            Outcome.REJECTED,
            join("; ", mistakes),
            msg("compare the job's inputs with the input fields of the app's Start node in Dify"),
        )
    return sent


def coerce(field: FormField, value: Any, version: tuple[int, int] | None) -> Any:
    """Convert one value to the type of its field.

    Args:
        field: The field of the form.
        value: The given value.
        version: The version of the server, if it is known.

    Raises:
        ValueError: The value does not match the field; the message names the input.
    """
    if value is None and field.required:
        raise ValueError(
            msg("the input {name} is required by the app, but has no value", name=field.variable)
        )
    try:
        return None if value is None else _converted(field, value, version)
    except ValueError as error:
        raise ValueError(with_setting(error, msg("the input {name}", name=field.variable))) from None


def _converted(field: FormField, value: Any, version: tuple[int, int] | None) -> Any:
    match field.kind:
        case "number":
            return _number(value)
        case "checkbox":
            return _boolean(value)
        case "json_object":
            return _object(value, as_text=version is not None and version < _OBJECTS_AS_OBJECTS)
        case "file" | "file-list":
            return _given_by_hand(field, value)
        case "text-input" | "paragraph" | "select":
            return _text(field, value)
    return value


def _text(field: FormField, value: Any) -> str:
    """Convert to a text; Dify accepts an empty text as a value (`error-input-*`)."""
    if not isinstance(value, str):
        raise value_error(
            "{setting} must be a string, because its type in the app is {kind}", kind=field.kind
        )
    if field.kind == "select":
        if field.options and value not in field.options:
            raise value_error(
                "{setting} must be one of {allowed}", allowed=join(", ", map(repr, field.options))
            )
    elif field.max_length is not None and len(value) > field.max_length:
        raise value_error(
            "{setting} has {count} characters, but the app allows at most {maximum}",
            count=len(value),
            maximum=field.max_length,
        )
    return value


def _number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise value_error("{setting} must be a number")  # Dify forwards true, and answers 500 to a list
    text = value.strip()
    if not text:
        return value  # Dify reads it as null (`input-number-as-empty-string`)
    if _WHOLE.fullmatch(text) and len(text) <= 4000:  # int() accepts at most 4300 digits
        return int(text)
    if not _DECIMAL.fullmatch(text):
        raise value_error("{setting} must be a number, not {value}", value=_shown(value))
    number = float(text)
    if abs(number) == float("inf"):
        raise value_error("{setting} is a number that is too large")
    if Decimal(repr(number)) == Decimal(text):
        return number
    return text  # too many digits for a number: Dify decides


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise value_error("{setting} must be true or false, not {value}", value=_shown(value))


def _object(value: Any, *, as_text: bool) -> Any:
    data = value
    if isinstance(value, str):
        try:
            data = loads(value)
        except ValueError as error:
            raise value_error(
                "{setting} must be a JSON object, but is not JSON: {error}", error=error
            ) from None
    if not isinstance(data, Mapping):
        raise value_error('{setting} must be a JSON object: {{"key": "value"}}')
    if not as_text:
        return dict(data)
    return value if isinstance(value, str) else json.dumps(data, ensure_ascii=False)


def _given_by_hand(field: FormField, value: Any) -> Any:
    """Return a file mapping that the job itself provides, with the id of an earlier upload."""
    if value == "" and field.kind == "file":
        return value  # no file (`run-blocking-file-empty-string`)
    items = value if isinstance(value, list) and field.kind == "file-list" else [value]
    if not all(isinstance(item, Mapping) and "transfer_method" in item for item in items):
        raise value_error("{setting} takes a file; give the file in files of the job, or with --file")
    return value if field.kind == "file" or isinstance(value, list) else [value]


def _shown(value: Any) -> str:
    """Return a short value, or a placeholder for a long one: redaction would not find half a secret."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else msg("the value that was given")


def _app(job: Job, key: Secret) -> str:
    return hashlib.sha256(f"{job.base_url}\0{key.reveal()}".encode()).hexdigest()[:16]

"""Convert inputs to the types of the app's form; pure. A value that does not fit is rejected.

The form is asked for only where it decides: what Dify reads by itself is sent as it is
(`input-number-as-string-accepted`), so an ordinary run sends nothing before its POST.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .. import log
from ..dify.form import FormField, Parameters, input_fault
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.json_text import loads

_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_OBJECTS_AS_OBJECTS = (1, 12)  # before it a text of JSON (`error-input-json-object-as-object`)


def fitted(
    inputs: Mapping[str, Any],
    parameters: Parameters,
    version: tuple[int, int] | None,
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the inputs in the types of the form, checked as Dify checks them.

    Args:
        inputs: Rendered.
        parameters: The form.
        version: Of the server, where it is known.
        files: By the name of their input.

    Raises:
        JobError: They do not fit; it names every mistake (rejected).
    """
    sent: dict[str, Any] = {}
    mistakes = []
    for name, value in inputs.items():
        field = parameters.field(name)
        if field is None:
            log.warning(msg("the app has no input {name}, and Dify ignores it", name=name))
            sent[name] = value
            continue
        try:
            sent[name] = coerce(field, value, version)
        except ValueError as error:
            mistakes.append(msg("the input {name} {error}", name=name, error=error))
    for field in parameters.form:
        given = field.variable in inputs or field.variable in files
        if field.required and not given and field.default is None:
            mistakes.append(msg("the input {variable} is required by the app", variable=field.variable))
    if mistakes:
        raise JobError(
            Outcome.REJECTED,
            "; ".join(mistakes),
            msg("compare the job's inputs with the form of the app's start node in Dify"),
        )
    return sent


def coerce(field: FormField, value: Any, version: tuple[int, int] | None) -> Any:
    """Return one value as its field asks for it.

    Args:
        field: Of the form.
        value: As given.
        version: Of the server, where it is known.

    Raises:
        ValueError: It does not fit: the end of the sentence `the input X ...`.
    """
    if value is not None:
        match field.kind:
            case "number":
                value = _number(value)
            case "checkbox":
                value = _truth(value)
            case "json_object":
                value = _object(value, as_text=version is not None and version < _OBJECTS_AS_OBJECTS)
            case "file" | "file-list":
                return _given_by_hand(field, value)
    if (fault := input_fault(field, value)) is not None:
        raise ValueError(fault)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError(msg("must be a number"))  # Dify passes true on, and answers 500 to a list
    text = value.strip()
    if not text:
        return value  # null to Dify (`input-number-as-empty-string`)
    if _WHOLE.fullmatch(text) and len(text) <= 4000:  # int() takes no more than 4300 digits
        return int(text)
    if not _DECIMAL.fullmatch(text):
        raise ValueError(msg("must be a number{shown}", shown=_shown(value)))
    number = float(text)
    if abs(number) == float("inf"):
        raise ValueError(msg("is too large for a number"))
    if Decimal(repr(number)) == Decimal(text):
        return number
    return text  # with more digits than a number keeps: Dify's own reading decides


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise ValueError(msg("must be true or false{shown}", shown=_shown(value)))


def _object(value: Any, *, as_text: bool) -> Any:
    data = value
    if isinstance(value, str):
        try:
            data = loads(value)
        except ValueError as error:
            raise ValueError(msg("must be a JSON object, and is no JSON: {error}", error=error)) from None
    if not isinstance(data, Mapping):
        raise ValueError(msg("must be a JSON object: {{ key = value }}"))
    if not as_text:
        return dict(data)
    return value if isinstance(value, str) else json.dumps(data, ensure_ascii=False)


def _given_by_hand(field: FormField, value: Any) -> Any:
    """A file's mapping that the job makes itself, with the id of an earlier upload."""
    if value == "" and field.kind == "file":
        return value  # none (`run-blocking-file-empty-string`)
    items = value if isinstance(value, list) and field.kind == "file-list" else [value]
    if not all(isinstance(item, Mapping) and "transfer_method" in item for item in items):
        raise ValueError(msg("takes a file; give it in files, or with --file"))
    return value if field.kind == "file" or isinstance(value, list) else [value]


def _shown(value: Any) -> str:
    """Whole or not at all: half a secret is not found by those who hide it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return msg(", and is {text}", text=text) if len(text) <= 40 else ""

"""What a job says of its outputs: paths in the run, and what must hold there.

Readers raise ValueError with the end of the sentence `KEY ...`.
"""

import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any

from ..messages.message import msg
from .model import JSON_TYPES, Expectation

_STEPS = ("outputs", "status", "error", "elapsed_time", "total_tokens", "total_steps")
_WORDS = {"nonempty": Expectation(nonempty=True), "present": Expectation()}


def run_path(value: Any) -> str:
    """A dotted path in a run, such as outputs.result or outputs.items.0.name."""
    if not isinstance(value, str) or not value:
        raise ValueError(msg('must be a path in the run, such as "outputs.result"'))
    steps = value.split(".")
    if steps[0] not in _STEPS:
        raise ValueError(
            msg(
                "names {value!r}, which no run has; a path begins with {steps}",
                value=value,
                steps=", ".join(_STEPS),
            )
        )
    if not all(steps):
        raise ValueError(msg("names {value!r}, which has an empty step", value=value))
    return value


def expectations(value: Any) -> Mapping[str, Expectation]:
    """Path in the run -> what must hold there."""
    if not isinstance(value, dict):
        raise ValueError(msg('must be a table: {{ "outputs.result" = "nonempty" }}'))
    read = {}
    for path, wanted in value.items():
        run_path(path)
        try:
            read[path] = _expectation(wanted)
        except ValueError as error:
            raise ValueError(msg("of {path} {error}", path=path, error=error)) from None
    return read


def _expectation(wanted: Any) -> Expectation:
    if isinstance(wanted, Expectation):
        return wanted
    if isinstance(wanted, str):
        if wanted not in _WORDS:
            raise ValueError(
                msg(
                    "is {wanted!r}; it can be {map}, or a table with equals, regex or type",
                    wanted=wanted,
                    map=" or ".join(map(repr, _WORDS)),
                )
            )
        return _WORDS[wanted]
    if not isinstance(wanted, dict) or not wanted:
        raise ValueError(msg('must be "nonempty" or a table such as {{ regex = "^OK" }}'))
    for key in wanted:
        if key not in ("nonempty", "equals", "regex", "type"):
            raise ValueError(msg("has no check {key!r}; there are nonempty, equals, regex and type", key=key))
    nonempty = wanted.get("nonempty", False)
    if not isinstance(nonempty, bool):
        raise ValueError(msg(".nonempty must be true or false"))
    return Expectation(
        nonempty=nonempty,
        equals=(_plain(wanted["equals"]),) if "equals" in wanted else (),
        regex=_regex(wanted["regex"]) if "regex" in wanted else None,
        types=_types(wanted["type"]) if "type" in wanted else (),
    )


def _plain(value: Any) -> Any:
    """TOML has dates, and JSON has them as texts."""
    return value.isoformat() if isinstance(value, (date, time)) else value


def _regex(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(msg(".regex must be a string"))
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(
            msg(".regex {value!r} is no regular expression: {error}", value=value, error=error)
        ) from None
    return value


def _types(value: Any) -> tuple[str, ...]:
    words = value.split("|") if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(word in JSON_TYPES for word in words):
        raise ValueError(
            msg(
                ".type must be one of {json_types}, or several with | between them",
                json_types=", ".join(JSON_TYPES),
            )
        )
    return tuple(words)

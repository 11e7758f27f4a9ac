"""What a job says of its outputs: paths in the run, and what must hold there.

Readers raise ValueError with the end of the sentence `KEY ...`.
"""

import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any

from .model import JSON_TYPES, Expectation

_STEPS = ("outputs", "status", "error", "elapsed_time", "total_tokens", "total_steps")
_WORDS = {"nonempty": Expectation(nonempty=True), "present": Expectation()}


def run_path(value: Any) -> str:
    """A dotted path in a run, such as outputs.result or outputs.items.0.name."""
    if not isinstance(value, str) or not value:
        raise ValueError('must be a path in the run, such as "outputs.result"')
    steps = value.split(".")
    if steps[0] not in _STEPS:
        raise ValueError(f"names {value!r}, which no run has; a path begins with {', '.join(_STEPS)}")
    if not all(steps):
        raise ValueError(f"names {value!r}, which has an empty step")
    return value


def expectations(value: Any) -> Mapping[str, Expectation]:
    """Path in the run -> what must hold there."""
    if not isinstance(value, dict):
        raise ValueError('must be a table: { "outputs.result" = "nonempty" }')
    read = {}
    for path, wanted in value.items():
        run_path(path)
        try:
            read[path] = _expectation(wanted)
        except ValueError as error:
            raise ValueError(f"of {path} {error}") from None
    return read


def _expectation(wanted: Any) -> Expectation:
    if isinstance(wanted, Expectation):
        return wanted
    if isinstance(wanted, str):
        if wanted not in _WORDS:
            raise ValueError(
                f"is {wanted!r}; it can be {' or '.join(map(repr, _WORDS))}, or a table with equals, regex "
                "or type"
            )
        return _WORDS[wanted]
    if not isinstance(wanted, dict) or not wanted:
        raise ValueError('must be "nonempty" or a table such as { regex = "^OK" }')
    for key in wanted:
        if key not in ("nonempty", "equals", "regex", "type"):
            raise ValueError(f"has no check {key!r}; there are nonempty, equals, regex and type")
    nonempty = wanted.get("nonempty", False)
    if not isinstance(nonempty, bool):
        raise ValueError(".nonempty must be true or false")
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
        raise ValueError(".regex must be a string")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f".regex {value!r} is no regular expression: {error}") from None
    return value


def _types(value: Any) -> tuple[str, ...]:
    words = value.split("|") if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(word in JSON_TYPES for word in words):
        raise ValueError(f".type must be one of {', '.join(JSON_TYPES)}, or several with | between them")
    return tuple(words)

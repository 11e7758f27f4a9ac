"""Assertions of a job on the outputs of a run; where one fails the outcome is `unexpected`."""

import json
import re
import sys
from collections.abc import Mapping
from types import NoneType
from typing import Any

from ..config.model import Expectation
from ..exit_codes import Outcome
from ..messages.message import join, msg
from ..system import subprocesses
from ..system.json_text import RawJson, dumps
from .outcome import RunOutcome
from .output import value_at
from .result import exhausted_resource, response_of

_SEARCH_LIMIT = 5.0  # seconds: a pattern such as (a+)+$ can take exponential time
# In a child process, because a thread in a search cannot be ended.
_SEARCH = "import json, re, sys; p, t = json.load(sys.stdin); sys.exit(re.search(p, t) is None)"
# The JSON type of each Python type; in Python, bool is also a number.
_TYPES = (
    (NoneType, "null"),
    (bool, "boolean"),
    ((int, float, RawJson), "number"),
    (str, "string"),
    ((list, tuple), "array"),
)
_SHOWN = 60  # characters of a value in a message


def apply_assertions(outcome: RunOutcome, expect: Mapping[str, Expectation]) -> RunOutcome:
    """Return the outcome, or `unexpected` with every failed assertion and the actual value.

    Args:
        outcome: The outcome of the run; only a success is checked.
        expect: The assertions by path.
    """
    if outcome.outcome is not Outcome.SUCCEEDED or outcome.run is None:
        return outcome
    try:
        data = response_of(outcome.run)["data"]
        faults = list(filter(None, (assertion_error(data, path, wanted) for path, wanted in expect.items())))
    except (MemoryError, OSError) as error:  # an assertion that cannot be checked fails
        lacking = exhausted_resource(error)
        if lacking is None:
            raise
        faults = [msg("the outputs could not be checked, because {lacking}", lacking=lacking)]
    if not faults:
        return outcome
    return outcome._replace(
        outcome=Outcome.UNEXPECTED,
        message=msg(
            "workflow succeeded, but its result is not as expected: {faults}", faults=join("; ", faults)
        ),
        hint=msg(
            "open the app's Logs in Dify, and compare the outputs of the run with "
            'the job\'s setting "expect"'
        ),
    )


def assertion_error(data: Mapping[str, Any], path: str, wanted: Expectation) -> str | None:
    """Return the error of an assertion as a message; None if it holds.

    Args:
        data: The run in the form of `response_data`.
        path: A dotted path.
        wanted: The assertion.
    """
    try:
        value = value_at(data, path)
        if isinstance(value, RawJson):
            value = value.opened()
    except LookupError:
        return msg("{path} is missing", path=path)
    if wanted.nonempty and _is_empty(value):
        return msg("{path} is empty: {value}", value=shown(value), path=path)
    if wanted.type and type_of(value) not in wanted.type:
        return msg(
            "{path} has the type {found} instead of {types}: {value}",
            found=type_of(value),
            types=" | ".join(wanted.type),
            value=shown(value),
            path=path,
        )
    if wanted.equals and not _same(value, wanted.equals[0]):
        return msg(
            "{path} is {found}, not {wanted}", found=shown(value), wanted=shown(wanted.equals[0]), path=path
        )
    if wanted.regex is not None:
        return _search_error(path, wanted.regex, value)
    return None


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "object")


def shown(value: Any) -> str:
    """Return a truncated value for a message, because outputs can be long and private."""
    text = dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _is_empty(value: Any) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def _same(value: Any, wanted: Any) -> bool:
    """Compare as JSON: true is not 1, and 1 is 1.0."""
    if type_of(value) != type_of(wanted):
        return False
    if isinstance(value, Mapping):
        return value.keys() == wanted.keys() and all(_same(value[key], wanted[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    return bool(value == wanted)


def _search_error(path: str, pattern: str, value: Any) -> str | None:
    text = value if isinstance(value, str) else dumps(value)
    unfound = msg(
        "{path} does not match {pattern!r}: {value}", pattern=pattern, value=shown(value), path=path
    )
    if not sys.executable:  # Python embedded in another program
        return None if re.search(pattern, text) else unfound
    question = json.dumps([pattern, text]).encode()
    done = subprocesses.run([sys.executable, "-I", "-S", "-c", _SEARCH], stdin=question, limit=_SEARCH_LIMIT)
    match done.code:
        case 0:
            return None
        case 1 if not done.stderr:
            return unfound
        case 124:
            return msg(
                "the search for {pattern!r} in {path} took longer than {limit:.0f} s",
                pattern=pattern,
                limit=_SEARCH_LIMIT,
                path=path,
            )
    return msg(
        "the search for {pattern!r} in {path} failed: {reason}",
        pattern=pattern,
        reason=done.complaint[-200:] or msg("exit code {code}", code=done.code),
        path=path,
    )

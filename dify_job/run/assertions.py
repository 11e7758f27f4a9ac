"""Assertions of a job on the outputs of a run; where one fails the outcome is `unexpected`."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from ..config.model import Expectation
from ..exit_codes import Outcome
from ..messages.message import join, msg
from ..system import subprocesses
from ..system.json_text import RawJson, dumps
from .outcome import RunOutcome
from .output import value_at
from .result import exhausted, response_of

_SEARCH_LIMIT = 5.0  # seconds: a pattern such as (a+)+$ can take longer than the sun has
# In a process of its own, since no thread can be taken out of a search.
_SEARCH = "import json, re, sys; p, t = json.load(sys.stdin); sys.exit(re.search(p, t) is None)"
_SHOWN = 60  # characters of a value in a message


def apply_assertions(outcome: RunOutcome, expect: Mapping[str, Expectation]) -> RunOutcome:
    """Return the outcome, or `unexpected` with every path that does not hold and what is there instead.

    Args:
        outcome: Of the run; only a success is checked.
        expect: What must hold, by path.
    """
    if outcome.outcome is not Outcome.SUCCEEDED or outcome.run is None:
        return outcome
    try:
        data = response_of(outcome.run)["data"]
        faults = [
            msg("{path} {fault}", path=path, fault=fault)
            for path, wanted in expect.items()
            if (fault := fault_of(data, path, wanted))
        ]
    except (MemoryError, OSError) as error:  # what cannot be checked does not hold
        lacking = exhausted(error)
        if lacking is None:
            raise
        faults = [msg("its outputs could not be checked: {lacking}", lacking=lacking)]
    if not faults:
        return outcome
    return outcome._replace(
        outcome=Outcome.UNEXPECTED,
        message=msg("workflow succeeded, but {faults}", faults=join("; ", faults)),
        hint=msg("look at the run in the app's Logs; expect in the job's configuration says what must hold"),
    )


def fault_of(data: Mapping[str, Any], path: str, wanted: Expectation) -> str | None:
    """Return what is wrong at a path of the run, as the end of a sentence; None where it holds.

    Args:
        data: The run, as `response_data` has it.
        path: A dotted path.
        wanted: What must hold there.
    """
    try:
        value = value_at(data, path)
        if isinstance(value, RawJson):
            value = value.opened()
    except LookupError:
        return msg("is not there")
    if wanted.nonempty and _is_empty(value):
        return msg("is empty: {shown}", shown=shown(value))
    if wanted.type and type_of(value) not in wanted.type:
        return msg(
            "is of type {type_of}, not {types}: {shown}",
            type_of=type_of(value),
            types=" | ".join(wanted.type),
            shown=shown(value),
        )
    if wanted.equals and not _same(value, wanted.equals[0]):
        return msg("is {shown}, not {shown2}", shown=shown(value), shown2=shown(wanted.equals[0]))
    if wanted.regex is not None:
        return _unfound(wanted.regex, value)
    return None


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float() | RawJson():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
    return "object"


def shown(value: Any) -> str:
    """Return a value for a message, cut: outputs can be long, and private."""
    text = dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _is_empty(value: Any) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def _same(value: Any, wanted: Any) -> bool:
    """Equal as JSON: true is not 1, and 1 is 1.0."""
    if type_of(value) != type_of(wanted):
        return False
    if isinstance(value, Mapping):
        return value.keys() == wanted.keys() and all(_same(value[key], wanted[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    return bool(value == wanted)


def _unfound(pattern: str, value: Any) -> str | None:
    text = value if isinstance(value, str) else dumps(value)
    unfound = msg("does not match {pattern!r}: {shown}", pattern=pattern, shown=shown(value))
    if not sys.executable:  # Python inside another program
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
                "could not be searched for {pattern!r} within {search_limit:.0f} s",
                pattern=pattern,
                search_limit=_SEARCH_LIMIT,
            )
    return msg(
        "could not be searched for {pattern!r}: {value}",
        pattern=pattern,
        value=done.complaint[-200:] or msg("exit code {code}", code=done.code),
    )

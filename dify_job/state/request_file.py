"""A wish for the next run of a job: somebody starts it now, and waits for its whole result, outputs included.

Whoever asks leaves the wish in the job's state directory and starts the service. The run that finds it there
is no tick that could be late or not due, and puts its result in its place.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from .. import log
from .store import JobState

NAME = "wish.json"
_FRESH = 60.0  # seconds for a wish to reach the run that it starts
_LARGEST = 512 * 1024 * 1024  # bytes; a whole result has the outputs of its run
_KEPT = 86400.0  # seconds after which nobody waits any more


def ask(state: JobState) -> None:
    """Leave a wish. Raises OSError."""
    state.write(NAME, json.dumps({"asked": time.time()}) + "\n")


def is_fresh(state: JobState) -> bool:
    """True for a run that was started by a wish."""
    return _age(state) < _FRESH


def answer(state: JobState, result: Mapping[str, Any]) -> None:
    """Put a run's result where somebody waits for it. Raises OSError."""
    if _age(state) < _KEPT:
        state.write(NAME, log.as_json({"result": result}) + "\n")


def take(state: JobState) -> dict[str, Any] | None:
    """Take the answer, or the wish back where no run found it. Raises OSError."""
    data = state.read(NAME, _LARGEST) or {}
    state.remove(NAME)
    result = data.get("result")
    return result if isinstance(result, dict) else None


def _age(state: JobState) -> float:
    asked = (state.read(NAME, _LARGEST) or {}).get("asked")
    age = time.time() - asked if isinstance(asked, (int, float)) else float("inf")
    return age if age >= 0 else float("inf")

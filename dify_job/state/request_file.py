"""Request/response file between a caller and the job's service, so that the caller gets the whole result.

The caller writes the request into the job's state directory and starts the service. The run that finds it
there is no tick that could be late or not due, and puts its result in its place.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from .. import log
from .store import JobState

NAME = "request.json"
_MAX_AGE = 60.0  # seconds for a request to reach the run that it starts
_MAX_SIZE = 512 * 1024 * 1024  # bytes; a whole result has the outputs of its run
_MAX_WAIT = 86400.0  # seconds after which nobody waits any more


def write_request(state: JobState) -> None:
    """Write a request.

    Raises:
        OSError: It cannot be written.
    """
    state.write(NAME, json.dumps({"asked": time.time()}) + "\n")


def is_fresh(state: JobState) -> bool:
    """Return True for a run that a request started."""
    return _age(state) < _MAX_AGE


def write_result(state: JobState, result: Mapping[str, Any]) -> None:
    """Put a run's result in the place of its request.

    Args:
        state: The job's state.
        result: As `run` prints it.

    Raises:
        OSError: It cannot be written.
    """
    if _age(state) < _MAX_WAIT:
        state.write(NAME, log.as_json({"result": result}) + "\n")


def take_result(state: JobState) -> dict[str, Any] | None:
    """Take the answer away, or the request where no run found it.

    Returns:
        The result; None where no run answered.

    Raises:
        OSError: The file cannot be removed.
    """
    data = state.read(NAME, _MAX_SIZE) or {}
    state.remove(NAME)
    result = data.get("result")
    return result if isinstance(result, dict) else None


def _age(state: JobState) -> float:
    asked = (state.read(NAME, _MAX_SIZE) or {}).get("asked")
    age = time.time() - asked if isinstance(asked, (int, float)) else float("inf")
    return age if age >= 0 else float("inf")

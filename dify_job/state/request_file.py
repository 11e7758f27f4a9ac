"""Request/response file between a caller and the job's service, so that the caller gets the complete result.

The caller writes the request to the job's state directory and starts the service. A run that finds a request
is never late or not due, and replaces the request with its result.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from .. import log
from .store import JobState

NAME = "request.json"
_MAX_AGE = 60.0  # seconds until a run must have read the request
_MAX_SIZE = 512 * 1024 * 1024  # bytes; a complete result contains the outputs
_MAX_WAIT = 86400.0  # seconds; no caller waits longer


def write_request(state: JobState) -> None:
    """Write a request.

    Raises:
        OSError: It cannot be written.
    """
    state.write(NAME, json.dumps({"asked": time.time()}) + "\n")


def is_fresh(state: JobState) -> bool:
    """Return True if a request started this run."""
    return _age(state) < _MAX_AGE


def write_result(state: JobState, result: Mapping[str, Any]) -> None:
    """Replace the request with the run's result.

    Args:
        state: The job's state.
        result: The result as `run` prints it.

    Raises:
        OSError: It cannot be written.
    """
    if _age(state) < _MAX_WAIT:
        state.write(NAME, log.as_json({"result": result}) + "\n")


def take_result(state: JobState) -> dict[str, Any] | None:
    """Remove and return the result; remove a request without one.

    Returns:
        The result; None if no run answered.

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

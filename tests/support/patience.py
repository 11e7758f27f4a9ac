"""Waiting for conditions on machines that may be slow."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 100.0  # seconds; below pytest's own limit


def wait_until(ready: Callable[[], T]) -> T:
    """Wait until `ready` returns a true value, and return it; only a hang fails."""
    until = time.monotonic() + PATIENCE
    while not (found := ready()):
        assert time.monotonic() < until, "the condition did not become true"
        time.sleep(0.01)
    return found

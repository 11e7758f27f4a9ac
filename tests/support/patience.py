"""Waiting for what others do, on a machine that may be slow."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 100.0  # seconds for what takes a moment on an idle machine; pytest's own limit is longer


def wait_until(ready: Callable[[], T]) -> T:
    """Wait until something is true, and return it; nothing but a hang fails."""
    until = time.monotonic() + PATIENCE
    while not (found := ready()):
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)
    return found

"""Since when this machine runs, and how long it slept meanwhile."""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

_FIRST_PROCESS = Path("/proc/1/stat")
_START_TIME = 19  # field 22 of proc(5), counted from the one after the name


def booted_at(now: datetime) -> datetime:
    """When the machine or container was started, by the current clock: no later step of it counts.

    Args:
        now: the current time, aware.
    """
    return now - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - _start_of_first_process())


def suspended() -> timedelta:
    """How long the machine slept since it was booted."""
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return timedelta(seconds=max(0.0, asleep))


def _start_of_first_process() -> float:
    """Seconds since the boot of the kernel: a container starts later than the machine that it is on."""
    try:
        fields = _FIRST_PROCESS.read_bytes().rpartition(b")")[2].split()
        return int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0

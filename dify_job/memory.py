"""Where large blocks of memory go when they are freed."""

import contextlib
import ctypes
from functools import cache

_M_MMAP_THRESHOLD = -3  # malloc.h


@cache
def return_large_blocks(size: int) -> None:
    """Have glibc give blocks over so many bytes back to the system when they are freed.

    Its threshold for that follows the largest block freed (mallopt(3)): an event of 20 MB costs 6 times its
    size without this, and 3 times with it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, size)

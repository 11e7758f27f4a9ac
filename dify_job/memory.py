"""Where large blocks of memory go when they are freed."""

import contextlib
from functools import cache

LARGE = 1 << 20
_M_MMAP_THRESHOLD = -3  # malloc.h


@cache
def return_large_blocks() -> None:
    """Have glibc give blocks over 1 MiB back to the system when they are freed.

    Its threshold for that follows the largest block freed (mallopt(3)): an event of 20 MB costs 6 times its
    size without this, and 3 times with it.
    """
    import ctypes  # noqa: PLC0415 - for large answers alone

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)

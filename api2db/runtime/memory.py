"""Memory that was freed is used again by whichever thread needs some, or goes back to the system.

glibc gives threads areas ("arenas") of their own, up to eight for each processor. What one of them has freed no other
thread uses, and it stays resident: tens of MB after each thread had its burst. Other C libraries have neither call.
"""

from __future__ import annotations

import ctypes
import os

import pyarrow as pa

ARENAS = 2
_M_ARENA_MAX = -8  # /usr/include/malloc.h

_libc = ctypes.CDLL(None)
_mallopt = getattr(_libc, "mallopt", None)
_trim = getattr(_libc, "malloc_trim", None)


def share_arenas() -> None:
    """Have threads that start from now on share ``ARENAS``, unless the environment says how many there shall be."""
    if _mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        _mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return freed memory to the system. Takes about a millisecond, while other threads go on. Any thread."""
    pa.default_memory_pool().release_unused()
    if _trim is not None:
        _trim(0)

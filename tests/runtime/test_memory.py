"""What a burst took doesn't stay with the daemon."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from api2db.runtime.memory import ARENAS, give_back
from bench import measure

C = ctypes.CDLL(None)
C.malloc.restype = ctypes.c_void_p
C.free.argtypes = (ctypes.c_void_p,)

PROGRAM = """
import ctypes, threading
from api2db.runtime.memory import share_arenas
share_arenas()
C, all_there = ctypes.CDLL(None), threading.Barrier(12)
def work():
    C.malloc(100_000)
    all_there.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
C.malloc_stats()
"""


@pytest.mark.skipif(not hasattr(C, "malloc_trim"), reason="a C library that can't be asked")
def test_memory_that_was_freed_goes_back_to_the_system():
    blocks = [C.malloc(2000) for _ in range(20_000)]
    for block in blocks:
        ctypes.memset(block, 1, 2000)
    in_use = measure.rss_mb()
    for block in blocks[:-1]:  # the last one holds the heap's end where it is
        C.free(block)
    give_back()
    assert measure.rss_mb() < in_use - 20
    C.free(blocks[-1])


@pytest.mark.skipif(not hasattr(C, "mallopt"), reason="a C library whose threads have no areas of their own")
def test_threads_share_two_areas_of_memory():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.count("Arena ") == ARENAS

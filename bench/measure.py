"""What Linux says of a process: memory, processor time, threads."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

import pyarrow as pa

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def status(pid: int | str, field: str) -> int:
    """A number of /proc/<pid>/status: kB for memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise KeyError(field)


def rss_mb(pid: int | str = "self") -> float:
    return status(pid, "VmRSS") / 1024


def peak_mb(pid: int | str = "self") -> float:
    """The most resident memory since the start or since ``reset_peak``."""
    return status(pid, "VmHWM") / 1024


def reset_peak(pid: int | str = "self") -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def give_back() -> None:
    """Return freed memory to the system, so that what is used next counts as growth."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)


def cpu_s(pid: int | str) -> float:
    """Processor time a process has used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

"""Which rows there were: 128 bits of each in a table on disk, so that memory doesn't grow with their number."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from api2db.composing.rowhash import Hashes

FIRST_SLOTS: Final = 1 << 18
_SLOT_BYTES: Final = 16
_FULL: Final = 0.6
_COPIED_AT_ONCE: Final = 1 << 18

Bits = npt.NDArray[np.uint64]


class Seen:
    """A set of rows. One thread; ``close`` it, or have it collected: its file has no name and goes with the process.

    folder   where its file is: 16 bytes a slot, at most 54 a row
    exclude  columns in which two rows may differ, and are the same all the same

    Memory: a few MB beside the rows that are asked for; the pages of the file that were touched go back after each
    ``fresh``. Raises OSError, before anything is changed, where the disk has no room.
    """

    def __init__(self, folder: Path, exclude: Sequence[str] = ()) -> None:
        self._folder = folder
        self._hashes = Hashes(frozenset(exclude))
        self._rows = 0
        self._table = _Table(folder, FIRST_SLOTS)

    def fresh(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Which of the rows weren't there before; they are from now on. Of equal ones in ``table`` the first is."""
        low, high = self._hashes.of(table)
        # An empty slot is 0.
        low[low == 0] = 1
        first = _firsts(low, high)
        self._make_room(int(first.sum()))
        fresh = np.zeros(len(low), dtype=bool)
        at = np.flatnonzero(first)
        fresh[at] = self._table.add(low[at], high[at])
        self._rows += int(fresh.sum())
        self._table.rest()
        return fresh

    def close(self) -> None:
        self._table.close()

    def _make_room(self, rows: int) -> None:
        slots = self._table.slots
        while (self._rows + rows) > slots * _FULL:
            slots *= 2
        if slots == self._table.slots:
            return
        larger = _Table(self._folder, slots)
        for low, high in self._table.parts():
            larger.add(low, high)
            larger.rest()
        self._table.close()
        self._table = larger


class _Table:
    """Open addressing, linear probing, a whole array of keys at a time."""

    def __init__(self, folder: Path, slots: int) -> None:
        self.slots = slots
        with tempfile.TemporaryFile(dir=folder) as file:
            # All of it, now: a hole that can't be filled later would be a SIGBUS.
            os.posix_fallocate(file.fileno(), 0, slots * _SLOT_BYTES)
            self._map = mmap.mmap(file.fileno(), slots * _SLOT_BYTES)
        both = np.frombuffer(self._map, dtype=np.uint64)
        self._low, self._high = both[:slots], both[slots:]

    def add(self, low: Bits, high: Bits) -> npt.NDArray[np.bool_]:
        """Which of the keys, each once, weren't there."""
        added = np.zeros(len(low), dtype=bool)
        pending = np.arange(len(low))
        mask = np.uint64(self.slots - 1)
        slot = high & mask
        while len(pending):
            there = slot[pending]
            mine_low, mine_high = low[pending], high[pending]
            found = self._low[there]
            empty = found == 0
            claims, at = pending[empty], there[empty]
            # Of several that claim one slot the last has it.
            self._low[at], self._high[at] = low[claims], high[claims]
            won = np.zeros(len(pending), dtype=bool)
            won[empty] = (self._low[at] == low[claims]) & (self._high[at] == high[claims])
            added[pending[won]] = True
            known = ~empty & (found == mine_low) & (self._high[there] == mine_high)
            pending = pending[~(won | known)]
            slot[pending] = (slot[pending] + np.uint64(1)) & mask
        return added

    def parts(self) -> Iterator[tuple[Bits, Bits]]:
        """All keys, some at a time."""
        for start in range(0, self.slots, _COPIED_AT_ONCE):
            low, high = (half[start : start + _COPIED_AT_ONCE] for half in (self._low, self._high))
            used = low != 0
            yield low[used], high[used]
            self.rest()

    def rest(self) -> None:
        """Give the pages back; what is in them stays in the file."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        self._low = self._high = np.zeros(0, dtype=np.uint64)
        self._map.close()


def _firsts(low: Bits, high: Bits) -> npt.NDArray[np.bool_]:
    """Which keys are the first of their kind."""
    order = np.lexsort((np.arange(len(low)), high, low))
    first = np.ones(len(low), dtype=bool)
    same = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    first[order[1:][same]] = False
    return first

"""A batch: one immutable table with an identity. And the receipt a sink gives for it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

REBUILT = "7a9e7a9e"
"""The ids of batches that ``rebuild`` made begin with it: they are for the streams they were accepted for alone."""


def new_batch_id() -> str:
    """128 random bits as 32 hexadecimal digits: unique among all daemons that feed one table."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Batch:
    """What became of one return value of ``import_target`` (or of one item of its generator).

    table       the rows, at least one
    batch_id    32 hexadecimal digits, random; sinks record it to load each batch once
    created_ns  nanoseconds since 1970 UTC; unique and increasing within one STORE; names the shard's file
    run         the poll it is an item of, where that yields items one by one; 0 where it is all of its poll
    ends        not 0 in the batch without rows that ends such a poll for streams that replace: of how many items
    left_out    numbers of the batch's rows, counted from 0, that aren't in ``table``: they are in quarantine, or in a
                batch made of what was there
    """

    table: pa.Table
    batch_id: str
    created_ns: int
    run: int = 0
    ends: int = 0
    left_out: tuple[int, ...] = ()

    def numbers(self, at: Sequence[int]) -> list[int]:
        """Which rows of the batch these rows of ``table`` are."""
        if not self.left_out:
            return list(at)
        elsewhere = set(self.left_out)
        there = [number for number in range(self.table.num_rows + len(elsewhere)) if number not in elsewhere]
        return [there[row] for row in at]


@dataclass(frozen=True)
class Receipt:
    """A sink's answer for one batch: what happened to its rows.

    rows         rows now in the sink because of this batch; a merge counts rows offered, whichever version won
    quarantined  rows the sink can't take, now in quarantine with the reason of each
    duplicate    the sink had this batch already: nothing was loaded now, the counts are those of the first time
    """

    batch_id: str
    rows: int
    quarantined: int = 0
    duplicate: bool = False

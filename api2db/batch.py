"""A batch: one immutable table with an identity. And the receipt a sink gives for it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pyarrow as pa


def new_batch_id() -> str:
    """128 random bits as 32 hexadecimal digits: unique among all daemons that feed one table."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Batch:
    """What became of one return value of ``import_target`` (or of one item of its generator).

    table       the rows, at least one
    batch_id    32 hexadecimal digits, random; sinks record it to load each batch once
    created_ns  nanoseconds since 1970 UTC; unique and increasing within one STORE; names the shard's file
    """

    table: pa.Table
    batch_id: str
    created_ns: int


@dataclass(frozen=True)
class Receipt:
    """A sink's answer for one batch: what happened to its rows.

    rows         rows now in the sink because of this batch; a merge counts rows offered, whichever version won
    quarantined  rows the sink can't take, now in quarantine with the reason of each
    duplicate    the sink had this batch already: nothing was loaded now, the counts are those of the first time
    superseded   a newer batch replaces all that this one says: its rows were not loaded, and need not be
    """

    batch_id: str
    rows: int
    quarantined: int = 0
    duplicate: bool = False
    superseded: bool = False

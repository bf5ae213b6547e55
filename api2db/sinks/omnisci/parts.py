"""A load's rows as imports that a server takes: each of whole batches, but for a batch that is too large for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from api2db.sinks.omnisci.names import BATCH

# Of one import, in Arrow's format. Thrift, in which it is sent, has limits on both sides: 16,384,000 bytes for a text
# in some of its protocols, 100 MiB for a message.
IMPORT_BYTES: Final = 8 * 2**20


@dataclass(frozen=True)
class Part:
    """The rows of one import; ``cut`` is the batch of which they are a part, None where they are whole batches."""

    rows: pa.Table
    cut: str | None = None


def parts(rows: pa.Table, limit: int) -> Iterator[Part]:
    """``rows``, whose batches follow each other, in parts of at most ``limit`` bytes, but at least a row."""
    runs = pc.run_end_encode(rows.column(BATCH).combine_chunks())
    start = at = size = 0
    for batch_id, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        one = rows.slice(at, end - at)
        if size + one.nbytes > limit and start < at:
            yield Part(rows.slice(start, at - start))
            start, size = at, 0
        if one.nbytes > limit:
            yield from (Part(piece, batch_id) for piece in _halves(one, limit))
            start = end
        else:
            size += one.nbytes
        at = end
    if start < at:
        yield Part(rows.slice(start, at - start))


def _halves(rows: pa.Table, limit: int) -> Iterator[pa.Table]:
    if rows.nbytes <= limit or rows.num_rows == 1:
        yield rows
        return
    half = rows.num_rows // 2
    yield from _halves(rows.slice(0, half), limit)
    yield from _halves(rows.slice(half), limit)

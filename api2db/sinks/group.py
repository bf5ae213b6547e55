"""Batches with one schema, loaded as one table; and where each row came from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from api2db.batch import Batch
from api2db.schema import Field, canonical, fields_of
from api2db.sinks.conform import Conformed, Slot, conform, reason

# A chunk is converted and encoded at once; this bounds what that takes whatever a row weighs.
_CHUNK_BYTES = 16 * 2**20


@dataclass
class Group:
    """Rows of one or more batches whose schemas are the same, oldest first.

    refused  by row: why it can't be loaded. Filled while chunks are taken, and by the database's refusals
    """

    batches: list[Batch]
    table: pa.Table
    fields: tuple[Field, ...]
    starts: list[int]
    refused: dict[int, str] = field(default_factory=dict)

    def chunks(
        self, slots: Sequence[Slot | None], start: int, stop: int, max_rows: int, ordinal: str = ""
    ) -> Iterator[pa.RecordBatch]:
        """Rows ``start`` to ``stop`` in the slots' types, without refused ones or fields without a slot.

        With a name for it each row's number, counted from 1, is the last column.
        """
        per_row = max(1, self.table.nbytes // max(1, self.table.num_rows))
        step = max(1, min(max_rows, _CHUNK_BYTES // per_row))
        for at in range(start, stop, step):
            yield from self._conformed(slots, at, self.table.slice(at, min(step, stop - at)), ordinal)

    def _conformed(
        self, slots: Sequence[Slot | None], at: int, rows: pa.Table, ordinal: str
    ) -> Iterator[pa.RecordBatch]:
        if rows.nbytes > 4 * _CHUNK_BYTES and rows.num_rows > 1:
            # The mean says little where one row is huge.
            half = rows.num_rows // 2
            yield from self._conformed(slots, at, rows.slice(0, half), ordinal)
            yield from self._conformed(slots, at + half, rows.slice(half), ordinal)
            return
        used = [(index, slot) for index, slot in enumerate(slots) if slot is not None]
        columns = [(i, slot, _one_array(rows.column(i))) for i, slot in used]
        bad = np.zeros(rows.num_rows, np.bool_)
        for row in range(at, at + rows.num_rows) if self.refused else ():
            bad[row - at] = row in self.refused
        values = []
        for index, slot, array in columns:
            conformed = conform(array, self.fields[index], slot)
            if conformed.refused is not None:
                self._refuse(at, array, self.fields[index], slot, conformed)
                bad |= conformed.refused
            values.append(conformed.values)
        names = [slot.column for _, slot in used]
        if ordinal:
            values.append(pa.array(np.arange(at + 1, at + rows.num_rows + 1)))
            names.append(ordinal)
        chunk = pa.RecordBatch.from_arrays(values, names=names)
        yield chunk.filter(pa.array(~bad)) if bad.any() else chunk

    def _refuse(self, at: int, array: pa.Array, field: Field, slot: Slot, conformed: Conformed) -> None:
        assert conformed.refused is not None
        for row in np.flatnonzero(conformed.refused):
            text = reason(array.slice(row, 1), field, slot, conformed.why)
            known = self.refused.get(at + int(row), "")
            if text not in known:
                self.refused[at + int(row)] = f"{known}; {text}" if known else text

    @property
    def is_refused(self) -> bool:
        """Whether not one row can be loaded."""
        return len(self.refused) == self.table.num_rows

    def refuse_all(self, text: str) -> None:
        self.refused = dict.fromkeys(range(self.table.num_rows), text)

    def refused_by_batch(self) -> Iterator[tuple[Batch, list[int], list[str]]]:
        """For each batch with refused rows: their places in its own table, in order, and the reasons."""
        found: dict[int, list[int]] = {}
        for row in sorted(self.refused):
            found.setdefault(bisect_right(self.starts, row) - 1, []).append(row)
        for index, rows in found.items():
            places = [row - self.starts[index] for row in rows]
            yield self.batches[index], places, [self.refused[row] for row in rows]


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """One array; callers keep it under what 32-bit offsets reach."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def group(batches: Sequence[Batch]) -> list[Group]:
    """Neighbours with one schema together: many small batches then cost one statement. Order is kept."""
    groups: list[Group] = []
    tables: list[list[pa.Table]] = []
    for batch in batches:
        table = canonical(batch.table)
        if groups and tables[-1][0].schema.equals(table.schema, check_metadata=True):
            groups[-1].starts.append(groups[-1].starts[-1] + tables[-1][-1].num_rows)
            groups[-1].batches.append(batch)
            tables[-1].append(table)
        else:
            groups.append(Group([batch], table, fields_of(table.schema), [0]))
            tables.append([table])
    for one, parts in zip(groups, tables, strict=True):
        one.table = pa.concat_tables(parts)
    return groups

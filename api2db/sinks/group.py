"""Batches with one schema, loaded as one table; and where each row came from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api2db.batch import Batch
from api2db.childrows import as_json
from api2db.schema import Field, canonical, fields_of
from api2db.sinks.conform import Conformed, Slot, conform, reason

# A chunk is converted and encoded at once; this bounds what that takes whatever a row weighs.
_CHUNK_BYTES = 16 * 2**20


@dataclass
class Group:
    """Rows of one or more batches whose schemas are the same, oldest first.

    refused  by row: why it can't be loaded. Filled while chunks are taken, and by the database's refusals
    kin      their children, parents before children
    row      of rows that have children the column that names each of them
    """

    batches: list[Batch]
    table: pa.Table
    fields: tuple[Field, ...]
    starts: list[int]
    refused: dict[int, str] = field(default_factory=dict)
    kin: tuple[Kin, ...] = ()
    row: str = ""

    def numbers(self) -> list[tuple[str, int]]:
        """Of each row the id of its batch, and its place in that batch's table."""
        ends = [*self.starts[1:], self.table.num_rows]
        return [
            (batch.batch_id, row)
            for batch, start, end in zip(self.batches, self.starts, ends, strict=True)
            for row in range(end - start)
        ]

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
        """For each batch with refused rows: their numbers in its own table, in order, and the reasons."""
        found: dict[int, list[int]] = {}
        for row in sorted(self.refused):
            found.setdefault(bisect_right(self.starts, row) - 1, []).append(row)
        for index, rows in found.items():
            numbers = [row - self.starts[index] for row in rows]
            yield self.batches[index], numbers, [self.refused[row] for row in rows]


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """One array; callers keep it under what 32-bit offsets reach."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


@dataclass(frozen=True)
class Kin:
    """Children of a batch's, or a group's, rows: rows of one more table.

    links      the columns by which a row's parent is found
    unique     the columns of which a row is unique, those first; none where nothing says so
    rows       their table, in canonical types; without columns while nothing is known of them
    tops       for each the row of the batch, or group, that it goes with, of int64
    positions  for each where it is in its list
    """

    table: str
    links: tuple[str, ...]
    unique: tuple[str, ...]
    rows: pa.Table
    tops: pa.Array
    positions: pa.Array

    @cached_property
    def group(self) -> Group:
        """The rows, as they are loaded."""
        return Group([], self.rows, fields_of(self.rows.schema), [0])

    def of(self, stays: pa.Array) -> Kin:
        """Those of the rows of which ``stays`` is true."""
        mine = stays.take(self.tops)
        if pc.all(mine).as_py() is not False:
            return replace(self)
        return replace(
            self, rows=self.rows.filter(mine), tops=self.tops.filter(mine), positions=self.positions.filter(mine)
        )

    def told(self) -> dict[int, str]:
        """By row of the batch, or group: why a child of it is refused."""
        found: dict[int, str] = {}
        for row, why in sorted(self.group.refused.items()):
            found.setdefault(self.tops[row].as_py(), f"{self.table}, item {self.positions[row].as_py()}: {why}")
        return found


@dataclass(frozen=True)
class Split:
    """A batch's table in canonical types, and its children; ``row`` as in ``Group``."""

    table: pa.Table
    kin: tuple[Kin, ...] = ()
    row: str = ""

    def is_like(self, other: Split) -> bool:
        """Whether one statement can load both."""
        mine, others = ([(kin.table, kin.links, kin.unique) for kin in one.kin] for one in (self, other))
        if mine != others or self.row != other.row:
            return False
        tables = [(self.table, other.table)]
        tables += [(one.rows, another.rows) for one, another in zip(self.kin, other.kin, strict=True)]
        return all(one.schema.equals(another.schema, check_metadata=True) for one, another in tables)


def _in_the_row(batch: Batch) -> Split:
    """The children are JSON in the row."""
    return Split(canonical(as_json(batch.table)))


def group(batches: Sequence[Batch], split: Callable[[Batch], Split] = _in_the_row) -> list[Group]:
    """Neighbours with one schema together: many small batches then cost one statement. Order is kept."""
    groups: list[Group] = []
    parts: list[list[Split]] = []
    for batch in batches:
        one = split(batch)
        if groups and parts[-1][0].is_like(one):
            groups[-1].starts.append(groups[-1].starts[-1] + parts[-1][-1].table.num_rows)
            groups[-1].batches.append(batch)
            parts[-1].append(one)
        else:
            groups.append(Group([batch], one.table, fields_of(one.table.schema), [0], row=one.row))
            parts.append([one])
    for made, splits in zip(groups, parts, strict=True):
        made.table = pa.concat_tables([each.table for each in splits])
        together = zip(*(each.kin for each in splits), strict=True)
        made.kin = tuple(_together(kin, made.starts) for kin in together)
    return groups


def _together(kin: Sequence[Kin], starts: Sequence[int]) -> Kin:
    if len(kin) == 1:
        return kin[0]
    return replace(
        kin[0],
        rows=pa.concat_tables([one.rows for one in kin]),
        tops=pa.concat_arrays([pc.add(one.tops, start) for one, start in zip(kin, starts, strict=True)]),
        positions=pa.concat_arrays([one.positions for one in kin]),
    )

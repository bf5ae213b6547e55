"""From batches to a manifest: rows checked against the table's columns, written to disk, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from api2db.batch import Batch
from api2db.errors import FatalError
from api2db.failpoint import reach
from api2db.files import make_dir
from api2db.schema import Kind
from api2db.sinks.base import Quarantine
from api2db.sinks.bigquery.columns import slot_of
from api2db.sinks.bigquery.goal import Goal
from api2db.sinks.bigquery.manifest import JOB, ROWS, Manifest, Member, Part, Way
from api2db.sinks.bigquery.merge import ORDER
from api2db.sinks.bigquery.nested import Misfit, is_nested, slot_of_nested, value_of
from api2db.sinks.bigquery.payload import compact_json, write_rows
from api2db.sinks.conform import Slot
from api2db.sinks.group import Group

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField

    from api2db.sinks.bigquery.tables import Columns

CHUNK_ROWS: Final = 50_000
_SHOWN_CHARS: Final = 40
# Of Google's 15 TiB a file: an upload that breaks off shall be no hour's work.
_PART_BYTES: Final = 512 * 2**20
# Of the 10 MB of a request of the Storage Write API, in the mean: some rows are longer.
_REQUEST_BYTES: Final = 2 * 2**20
_UNTYPED: Final = (
    "there is no table yet and no type to create it with: its columns, or one of the key, have only been NULL; "
    "say the types in the form, or replay the row once the table is there"
)


class Freezing:
    """Of one load. Used once.

    batches  as they came, without the column of their ids
    groups   the same with it
    columns  of the table; None where there is none, and no type to make it with
    """

    def __init__(self, goal: Goal, batches: Sequence[Batch], groups: Sequence[Group], columns: Columns | None) -> None:
        self._goal = goal
        self._batches = batches
        self._groups = groups
        self._columns = columns

    @property
    def way(self) -> Way:
        if self._goal.fresh:
            return Way.WRITE
        return Way.MERGE if self._goal.key else Way.REPLACE if self._goal.replaces else Way.APPEND

    def freeze(self, staging: Path, quarantine: Quarantine, *, durable: bool) -> Manifest | None:
        """The manifest, on disk, after what isn't in it is in quarantine; None if no row can be loaded."""
        make_dir(staging, flush=durable)
        path = staging / f"{self._batches[-1].created_ns}{JOB}"
        rows, loaded = 0, self._loaded_columns()
        if self._columns is None:
            for one in self._groups:
                one.refuse_all(_UNTYPED)
        else:
            rows = write_rows(path.with_suffix(ROWS), loaded, self._chunks(self._columns), durable=durable)
        refused = self.refused()
        for batch in self._batches:
            if batch.batch_id in refused:
                hand_over(batch, refused[batch.batch_id], quarantine)
        if self._columns is None or not rows:
            path.with_suffix(ROWS).unlink(missing_ok=True)
            return None
        manifest = self._manifest(path, self._columns, loaded, rows, refused)
        manifest.save(durable=durable)
        reach("bigquery.frozen")
        return manifest

    def refused(self) -> dict[str, dict[int, str]]:
        """By batch, its rows that don't fit, and why."""
        return {
            batch.batch_id: dict(zip(rows, reasons, strict=True))
            for one in self._groups
            for batch, rows, reasons in one.refused_by_batch()
        }

    def _manifest(
        self,
        path: Path,
        columns: Columns,
        loaded: Sequence[SchemaField],
        rows: int,
        refused: Mapping[str, Mapping[int, str]],
    ) -> Manifest:
        version = self._goal.version
        placed = columns.placed([*self._goal.key, *([] if version is None else [version])])
        version = placed.get(version or "")
        members = []
        for batch in self._batches:
            without = refused.get(batch.batch_id, {})
            members.append(Member(batch.batch_id, batch.created_ns, batch.table.num_rows - len(without), without))
        return Manifest(
            path=path,
            table=self._goal.table,
            way=self.way,
            members=tuple(members),
            parts=self._parts(rows),
            columns=tuple(column.to_api_repr() for column in loaded),
            layout=columns.layout,
            key=tuple(placed[name] for name in self._goal.key),
            version=version if version is not None and columns.named(version) else None,
        )

    def _loaded_columns(self) -> list[SchemaField]:
        """All of the table's; of a merge those the rows have, since the others stay as they are."""
        from google.cloud.bigquery import SchemaField

        if self._columns is None:
            return []
        if self.way is not Way.MERGE:
            return list(self._columns.known)
        placed = self._columns.placed([field.name for one in self._groups for field in one.fields]).values()
        ours = [column for column in self._columns.known if column.name in placed]
        return [*ours, SchemaField(ORDER, "INTEGER")]

    def _parts(self, rows: int) -> tuple[Part, ...]:
        """How many rows go into one job. What replaces is one, whatever its size: there is no other way to do it."""
        if self.way is Way.REPLACE:
            return (Part(0, rows),)
        size = sum(one.table.nbytes for one in self._groups)
        most = _REQUEST_BYTES if self.way is Way.WRITE else _PART_BYTES
        step = min(max(1, most // max(1, size // rows)), self._goal.chunk_size or rows)
        return tuple(Part(start, min(start + step, rows)) for start in range(0, rows, step))

    def _chunks(self, columns: Columns) -> Iterator[pa.RecordBatch]:
        at = 0
        for one in self._groups:
            why = self._why_none_fits(one, columns)
            if why:
                one.refuse_all(why)
                continue
            slots = self._slots(one, columns)
            _refuse_no_json(one, slots)
            _refuse_misfits(one, slots, columns)
            for chunk in one.chunks(slots, 0, one.table.num_rows, CHUNK_ROWS):
                if self.way is Way.MERGE:
                    order = pa.array(np.arange(at, at + chunk.num_rows))
                    chunk = pa.RecordBatch.from_arrays([*chunk.columns, order], [*chunk.schema.names, ORDER])
                at += chunk.num_rows
                yield chunk

    def _why_none_fits(self, one: Group, columns: Columns) -> str:
        names = [field.name for field in one.fields]
        placed = columns.placed(names)
        for name in self._goal.key:
            if name not in names:
                return f'the rows have no column "{name}", which is a part of the key'
        for column in columns.known:
            if column.mode == "REQUIRED" and column.name not in placed.values():
                return f'column "{column.name}" ({column.field_type}) must have a value and the rows have none'
        return ""

    def _slots(self, one: Group, columns: Columns) -> list[Slot | None]:
        placed = columns.placed([field.name for field in one.fields])
        slots: list[Slot | None] = []
        for field in one.fields:
            column = columns.named(placed[field.name])
            # Whether Google takes nested values from Arrow as they are here nobody has tried.
            if column is not None and is_nested(column) and field.kind is Kind.JSON and not self._goal.fresh:
                slot = slot_of_nested(column)
            else:
                slot = None if column is None else slot_of(column, field)
            if column is not None and slot is None and field.kind is not Kind.NULL:
                raise FatalError(
                    f'column "{column.name}" is {column.mode} {column.field_type}, which isn\'t loaded: leave it out of'
                    " the form, or give the field another name there"
                )
            if slot is not None and field.name in self._goal.key:
                slot = replace(slot, required=True, nan_free=True)
            elif slot is not None and field.name == self._goal.version:
                slot = replace(slot, nan_free=True)
            slots.append(slot)
        return slots


def hand_over(batch: Batch, refused: Mapping[int, str], quarantine: Quarantine) -> None:
    """Rows to quarantine, as they came."""
    rows = sorted(refused)
    quarantine(batch, batch.table.take(pa.array(rows, pa.int64())), [refused[row] for row in rows])


def _refuse_no_json(one: Group, slots: Iterable[Slot | None]) -> None:
    """Text that says it is JSON and isn't would spoil the line it is on."""
    for index, (field, slot) in enumerate(zip(one.fields, slots, strict=True)):
        if slot is None or slot.kind is not Kind.JSON or field.kind is not Kind.JSON:
            continue
        texts = one.table.column(index).to_pylist()
        compact = [None if text is None else compact_json(text) for text in texts]
        for row, (text, kept) in enumerate(zip(texts, compact, strict=True)):
            if text is not None and kept is None:
                one.refused[row] = f'column "{slot.column}" (JSON) cannot take {text[:40]!r}: it isn\'t JSON'
        column = pa.chunked_array([pa.array(compact, pa.string())])
        one.table = one.table.set_column(index, one.table.schema.field(index), column)


def _refuse_misfits(one: Group, slots: Iterable[Slot | None], columns: Columns) -> None:
    """Nested values that aren't of their column's type."""
    for index, slot in enumerate(slots):
        column = None if slot is None else columns.named(slot.column)
        if slot is None or column is None or not is_nested(column) or one.fields[index].kind is not Kind.JSON:
            continue
        for row, text in enumerate(one.table.column(index).to_pylist()):
            if text is None or row in one.refused:
                continue
            try:
                value_of(text, column)
            except Misfit as misfit:
                shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
                one.refused[row] = f'column "{column.name}" ({slot.declared}) cannot take JSON ({shown}): {misfit}'

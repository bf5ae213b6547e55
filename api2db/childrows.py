"""Children at rest: a column whose lists of objects are rows of other tables. How it says so, and how it comes apart.

Such a column is ``list<struct>``; its field's metadata has its name, its table's and its key. A list inside the
objects may be such a column again. JSON documents are marked inside the objects as they are outside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api2db.schema import json_text

_ABOUT = b"api2db.children"
_KIND = b"api2db.kind"


@dataclass(frozen=True)
class About:
    """What a column of children says of itself.

    name   after the parent's table it makes the table's
    table  the table's whole name, where it was given one
    key    columns that tell the children of one parent apart; without any, their position does
    """

    name: str
    table: str | None = None
    key: tuple[str, ...] = ()

    def metadata(self) -> Mapping[bytes, bytes]:
        return {_ABOUT: json.dumps({"name": self.name, "table": self.table, "key": self.key}).encode()}


def about(field: pa.Field) -> About | None:
    """What a field says of its children; None where it holds none."""
    found = (field.metadata or {}).get(_ABOUT)
    if found is None or not pa.types.is_list(field.type):
        return None
    known = json.loads(found)
    return About(known["name"], known["table"], tuple(known["key"]))


@dataclass(frozen=True)
class Rows:
    """The children of some rows, below each other.

    table      one row a child, in order; children of theirs are a column still
    parents    for each the row it belongs to, of int64
    positions  for each where it is in the list, from 0
    """

    about: About
    table: pa.Table
    parents: pa.Array
    positions: pa.Array


def split(table: pa.Table) -> tuple[pa.Table, list[Rows]]:
    """A table without its columns of children, and those as rows."""
    found = [(at, about(field)) for at, field in enumerate(table.schema)]
    children = [_rows(one, table.column(at), table.schema.field(at)) for at, one in found if one is not None]
    own = table.select([at for at, one in found if one is None])
    return own, children


def _rows(one: About, column: pa.ChunkedArray, field: pa.Field) -> Rows:
    lists = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
    parents = pc.list_parent_indices(lists).cast(pa.int64())
    items = pc.list_flatten(lists)
    at = parents.to_numpy()
    counts = np.bincount(at, minlength=len(lists))
    positions = np.arange(len(at)) - (np.cumsum(counts) - counts)[at]
    kind = field.type.value_type
    fields = [kind.field(number) for number in range(kind.num_fields)]
    table = pa.Table.from_arrays(items.flatten(), schema=pa.schema(fields))
    rows = Rows(one, table, parents, pa.array(positions, pa.int64()))
    if not items.null_count:
        return rows
    # A null in a list is no child, but it has a position.
    there = items.is_valid()
    return Rows(one, table.filter(there), parents.filter(there), rows.positions.filter(there))


def as_json(table: pa.Table) -> pa.Table:
    """The table with its children as JSON documents in their row: for places that have no other tables."""
    for at, field in enumerate(table.schema):
        if about(field) is not None:
            told = [None if items is None else json_text(items) for items in _values(table.column(at), field)]
            column = pa.array(told, pa.string())
            table = table.set_column(at, pa.field(field.name, pa.string(), metadata={_KIND: b"json"}), column)
    return table


def _values(column: pa.ChunkedArray, field: pa.Field) -> list[Any]:
    """As Python has them, JSON documents inside as the values they are."""
    read = _reader(field)
    return [None if value is None else read(value) for value in column.to_pylist()]


def _reader(field: pa.Field) -> Any:
    if (field.metadata or {}).get(_KIND) == b"json":
        return msgspec.json.decode
    if pa.types.is_list(field.type):
        inner = _reader(field.type.value_field)
        return lambda items: [None if item is None else inner(item) for item in items]
    if pa.types.is_struct(field.type):
        kinds = {
            one.name: _reader(one)
            for one in (field.type.field(at) for at in range(field.type.num_fields))
            if not pa.types.is_null(one.type)
        }
        return lambda item: {name: None if item[name] is None else read(item[name]) for name, read in kinds.items()}
    return lambda value: value

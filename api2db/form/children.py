"""Lists inside records as columns of children: ``list<struct>``, from which sinks make tables of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from api2db.children import POSITION, Children
from api2db.childrows import About
from api2db.errors import ShapeError
from api2db.form.column import Column
from api2db.form.convert import shown
from api2db.form.feature import Feature
from api2db.form.infer import records_of
from api2db.form.known import fit_column
from api2db.form.names import column_names
from api2db.form.nested import flattened
from api2db.form.path import Part, Path, Records, parse_path

_EMPTY: Final[Mapping[str, object]] = {}
# Of a GraphQL connection, which has its items there and says beside them whether there are more.
_CONNECTED: Final = ("nodes", "edges")


@dataclass
class Made:
    """A column of children.

    misfits  row -> why a child of it, or the list itself, can't be what it is known to be
    words    what is known now of the children's types, by ``<name>[].<column>``
    """

    column: Column
    misfits: dict[int, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    def misfit(self, row: int, why: str) -> None:
        self.misfits[row] = f"{self.misfits[row]}; {why}" if row in self.misfits else why


@dataclass(frozen=True)
class _Items:
    """All lists of a column below each other. ``owners`` has the row of each item."""

    offsets: list[int]
    missing: list[bool]
    items: list[object]
    owners: list[int]
    strays: dict[int, object]


class ListForm:
    """How the lists of one ``Children`` become a column. Raises ConfigError for a path that can't be."""

    def __init__(self, name: str, declared: Children) -> None:
        self.name = name
        self.path, _ = parse_path(declared.path, ())
        self._about = About(name, declared.table, declared.key)
        self._features = None
        if declared.shape is not None:
            self._features = [Feature(key, where) for key, where in declared.shape.items()]  # type: ignore[arg-type]
        self._lists = list_forms(declared.children)

    def made(self, rows: Sequence[object], known: Mapping[str, str], within: str = "") -> Made:
        """The column of some records.

        known   the types of columns that are found, as ``Made.words`` has them
        within  what stands before the column's name, for children of children

        Raises ShapeError where a list says that it has more items than came with it.
        """
        at = f"{within}{self.name}[]."
        lists = Records(rows, [self.path]).values(self.path)
        self._check_all_came(rows, lists)
        found = _items_of(lists)
        bare = without(found.items, self._lists)
        made = Made(Column(pa.nulls(0)))
        for row, value in found.strays.items():
            made.misfit(row, f'column "{at[:-1]}" (children) cannot take {shown(value)}: it isn\'t a list')
        names, columns = self._columns(bare, known, at, found, made)
        for one in self._lists:
            inner = one.made(found.items, known, at)
            names.append(one.name)
            columns.append(inner.column)
            made.words.update(inner.words)
            for item, why in inner.misfits.items():
                made.misfit(found.owners[item], why)
        made.column = self._column(names, columns, found)
        return made

    def _check_all_came(self, rows: Sequence[object], lists: Sequence[object]) -> None:
        parts = self.path.parts
        if parts and parts[-1].key in _CONNECTED:
            outer = Path(parts[:-1])
            lists = Records(rows, [outer]).values(outer)
        for row, connection in enumerate(lists):
            info = connection.get("pageInfo") if type(connection) is dict else None
            if isinstance(info, dict) and info.get("hasNextPage") is True:
                raise ShapeError(
                    f"children {self.name!r}: the list of row {row} has more items than came with it, by its pageInfo;"
                    " ask for each row's by themselves: RestSource(query=..., variables={'id': '{order}'}, parent=...)"
                )

    def _columns(
        self, items: Sequence[object], known: Mapping[str, str], at: str, found: _Items, made: Made
    ) -> tuple[list[object], list[Column]]:
        if self._features is not None:
            records = Records(items, [one.path for one in self._features if one.path is not None])
            return [one.key for one in self._features], [one.column(records, items) for one in self._features]
        mine = {name.removeprefix(at): word for name, word in known.items() if name.startswith(at)}
        flat = flattened(*records_of(items), mine)
        names, columns = [name for name, _ in flat], []
        for name, values in zip(column_names(names), (values for _, values in flat), strict=True):
            try:
                fit = fit_column(values, mine.get(name))
            except ShapeError as error:
                raise ShapeError(f"column {at + name!r} as it is remembered: {error}") from error
            columns.append(fit.column)
            if fit.word is not None:
                made.words[at + name] = fit.word
            for item, why in fit.misfits.items():
                made.misfit(found.owners[item], f'column "{at}{name}" {why}')
        return names, columns

    def _column(self, names: list[object], columns: list[Column], found: _Items) -> Column:
        if not columns:
            # A struct without a field can't be stored; this one says how many there are.
            names, columns = [POSITION], [Column(pa.nulls(len(found.items)))]
        fields = [column.field(name) for name, column in zip(column_names(names), columns, strict=True)]
        arrays = [_whole(column.array) for column in columns]
        absent = pa.array([item is None for item in found.items], pa.bool_())
        items = pa.StructArray.from_arrays(arrays, fields=fields, mask=absent)
        lists = pa.ListArray.from_arrays(
            pa.array(found.offsets, pa.int32()), items, mask=pa.array(found.missing, pa.bool_())
        )
        nulled = sum(column.nulled for column in columns) + len(found.strays)
        return Column(lists, nulled, sum(column.replaced for column in columns), about=self._about.metadata())


def list_forms(children: Mapping[str, Children]) -> tuple[ListForm, ...]:
    return tuple(ListForm(name, one) for name, one in children.items())


def without(rows: Sequence[object], lists: Sequence[ListForm]) -> Sequence[object]:
    """Records without the lists that are columns of their own; nothing where there is no record."""
    for one in lists:
        rows = [_without(row, one.path) for row in rows]
    return [_EMPTY if row is None else row for row in rows]


def _without(row: object, path: Path) -> object:
    if path.literal is not None and isinstance(row, Mapping) and path.literal in row:
        return {key: value for key, value in row.items() if key != path.literal}
    return _cut(row, path.parts)


def _cut(row: object, parts: Sequence[Part]) -> object:
    if not parts or not isinstance(row, Mapping) or parts[0].key not in row:
        return row
    first, rest = parts[0].key, parts[1:]
    if not rest:
        return {key: value for key, value in row.items() if key != first}
    return {key: _cut(value, rest) if key == first else value for key, value in row.items()}


def _items_of(values: Sequence[object]) -> _Items:
    """An object where a list is expected is a list of it alone."""
    found = _Items([0], [], [], [], {})
    for row, value in enumerate(values):
        if isinstance(value, (list, tuple)):
            items: Sequence[Any] = value
        elif isinstance(value, Mapping):
            items = (value,)
        else:
            items = ()
            if value is not None:
                found.strays[row] = value
        found.items.extend(items)
        found.owners.extend([row] * len(items))
        found.offsets.append(len(found.items))
        found.missing.append(value is None)
    return found


def _whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array

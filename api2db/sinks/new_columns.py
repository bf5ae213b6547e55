"""The columns that rows need and a table doesn't have, each of a type that all of the rows go into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from api2db.schema import Field, Kind
from api2db.sinks.group import Group

EXACT: Final = 2**53  # beyond it a float doesn't hold every integer

Placing = Callable[[Sequence[str], Sequence[str]], Mapping[str, str]]


class New(NamedTuple):
    """A column to make: what it is made of, and the rows this was first seen in."""

    field: Field
    group: Group


def new_columns(
    groups: Sequence[Group],
    existing: Sequence[str],
    placing: Placing,
    fixed: Sequence[str] = (),
    can_make: Callable[[Field, Group], bool] = lambda field, group: True,
) -> dict[str, New]:
    """By name in the table. A field that has only been NULL waits for a type.

    Integers that are followed by a fraction make a float, where each of them stays exact: that is what they come to
    when each group is loaded by itself, and the column is widened.

    placing   of fields' names and existing columns: the column of each field
    fixed     fields whose columns never change their type
    can_make  whether enough is known of a field's values
    """
    names = list(existing)
    new: dict[str, New] = {}
    for at, one in enumerate(groups):
        typed = [field for field in one.fields if field.kind is not Kind.NULL]
        placed = placing([field.name for field in typed], names)
        for field in typed:
            name = placed[field.name]
            if name not in names:
                if can_make(field, one):
                    names.append(name)
                    new[name] = New(field, one)
            elif (
                name in new
                and field.name not in fixed
                and new[name].field.kind is Kind.INTEGER
                and field.kind is Kind.FLOAT
                and has_fraction(one.table, field.name)
                and all(_is_exact(before, new[name].field.name) for before in groups[:at])
            ):
                new[name] = New(field, one)
    return new


def has_fraction(table: pa.Table, name: str) -> bool:
    """Whether a column of floats has one that is no whole number."""
    values = table.column(name)
    return bool(pc.any(pc.and_(pc.is_finite(values), pc.not_equal(values, pc.trunc(values)))).as_py())


def _is_exact(group: Group, name: str) -> bool:
    """Whether a float holds each integer that the group has there."""
    field = next((field for field in group.fields if field.name == name), None)
    if field is None or field.kind is not Kind.INTEGER:
        return True
    ends = pc.min_max(group.table.column(name)).as_py()
    return ends["min"] is None or (ends["min"] >= -EXACT and ends["max"] <= EXACT)

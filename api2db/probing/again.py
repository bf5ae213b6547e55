"""Is what came for a second page the first one once more? Also where each answer changes what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api2db.form.path import parse_path
from api2db.probing.fields import Sureness, columns_of, key_of


def came_again(first: Sequence[Any], more: Sequence[Any]) -> list[bool]:
    """Of each record of ``more``, whether it is one of ``first``.

    By the key of those, where they have one for sure; but not by what may be the place on the page. Else by all of
    their fields that aren't one value on each page, as the time of the answer is.
    """
    key = key_of(columns_of(first), len(first))
    if key is not None and key.sureness is not Sureness.GUESS:
        path = parse_path(key.column.path, ())[0]
        values = [path.read(record) for record in first]
        if values not in (list(range(len(first))), list(range(1, len(first) + 1))):
            return [path.read(record) in values for record in more]
    shared = _shared(first) & _shared(more) if len(first) > 1 else set()
    if all(shared.issuperset(record) for record in first):
        shared = set()  # nothing would be left to compare
    known = [_without(record, shared) for record in first]
    return [_without(record, shared) in known for record in more]


def _shared(records: Sequence[Mapping[str, Any]]) -> set[str]:
    """The fields that have one value in all records."""
    if not records:
        return set()
    return {name for name, value in records[0].items() if all(each.get(name) == value for each in records)}


def _without(record: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}

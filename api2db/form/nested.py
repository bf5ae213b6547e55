"""Objects inside records as columns of their own: ``{"geo": {"lat": 1}}`` has the column ``geo_lat``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

DEEPEST: Final = 10
"""Objects inside objects; deeper ones are JSON."""

WIDEST: Final = 200
"""Different keys in one batch; where there are more, keys are data, and the object is JSON."""

Columns = list[tuple[object, Sequence[object]]]


def flattened(names: Sequence[object], values: Sequence[Sequence[object]], known: Mapping[str, str]) -> Columns:
    """The columns, those of objects replaced by one for each of their keys, ``<name>_<key>``, in order of appearance.

    What isn't an object beside objects stays in the column itself. An empty object is null. A column whose type is
    ``known`` keeps it: there an object is a value like any other.
    """
    columns: Columns = []
    for name, column in zip(names, values, strict=True):
        columns += _flattened(name, column, known, 1)
    return columns


def _flattened(name: object, values: Sequence[object], known: Mapping[str, str], depth: int) -> Columns:
    keys: dict[object, None] = {}
    objects = False
    for value in values:
        if type(value) is dict or isinstance(value, Mapping):
            objects = True
            keys.update(dict.fromkeys(value))
    typed = str(name) in known and not any(f"{name}_{key}" in known for key in keys)
    if not objects or typed or depth > DEEPEST or len(keys) > WIDEST:
        return [(name, values)]
    rest = [None if isinstance(value, Mapping) else value for value in values]
    columns: Columns = []
    if not keys or any(value is not None for value in rest):
        columns.append((name, rest))
    for key in keys:
        inner = [value.get(key) if isinstance(value, Mapping) else None for value in values]
        columns += _flattened(f"{name}_{key}", inner, known, depth + 1)
    return columns

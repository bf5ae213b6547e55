"""Which lists inside records are tables of their own, linked to the row they came with: a declaration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from api2db.errors import ConfigError

POSITION = "_position"
"""The column of a child's number in its list, from 0."""

ROW = "_row"
"""The column that names a row by its batch's id and its number there: by it children know their parents."""


class Children:
    """A list inside a record whose items are rows of a table of their own.

    path      where the list is in a record: ``"line_items"``, ``"order.lines"``
    shape     column -> path in an item of the list, as ``collector(shape=...)``; without it columns are found
    key       columns of an item that tell the items of one list apart, instead of their position
    table     the table's name; ``<parent's table>_<name>`` if None
    children  lists inside the items, likewise

    Two that say the same are equal. Raises ConfigError for what can't be.
    """

    def __init__(
        self,
        path: str,
        shape: Mapping[str, object] | None = None,
        key: str | Iterable[str] | None = None,
        table: str | None = None,
        *,
        children: Mapping[str, Children] | None = None,
    ) -> None:
        if not isinstance(path, str) or not path:
            raise ConfigError(f"Children: path must be text, where in a record the list is, not {path!r}")
        self.path = path
        self.shape = None if shape is None else dict(shape)
        self.key: tuple[str, ...] = (key,) if isinstance(key, str) else tuple(key or ())
        self.table = table
        self.children = checked(children, f"Children({path!r})", self.shape)
        if table is not None and (not isinstance(table, str) or not table):
            raise ConfigError(f"Children({path!r}): table must be text, not {table!r}")
        missing = [name for name in self.key if self.shape is not None and name not in self.shape]
        if missing:
            raise ConfigError(f"Children({path!r}): its key {missing[0]!r} isn't in its shape")

    def _same(self) -> tuple[object, ...]:
        shape = None if self.shape is None else tuple(self.shape.items())
        return self.path, shape, self.key, self.table, tuple(self.children.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Children) and self._same() == other._same()

    def __hash__(self) -> int:
        return hash(self._same())

    def __repr__(self) -> str:
        return f"Children({self.path!r})"


def checked(
    children: Mapping[str, Children] | None, where: str, shape: Mapping[str, object] | None = None
) -> Mapping[str, Children]:
    """A ``children=`` as it was given, each name once. Raises ConfigError, which begins with ``where``."""
    found = dict(children or {})
    for name, one in found.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{where}: children must be named by text, not {name!r}")
        if not isinstance(one, Children):
            raise ConfigError(f'{where}: children={{{name!r}: ...}} must be Children("path"), not {type(one).__name__}')
        if shape is not None and name in shape:
            raise ConfigError(f"{where}: {name!r} is a column of the shape and a name of children: rename one of them")
    return MappingProxyType(found)

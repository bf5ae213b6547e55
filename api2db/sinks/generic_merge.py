"""A merge in any database: which keys are there is asked, those rows are updated, and the others inserted.

Which keys are equal, the database says: by its collation ``a`` and ``A`` may be one key, and ``a`` with a space behind
it too; an instant may come back without its zone. Where Python sees it otherwise, its unique index refuses the INSERT;
then all is taken back, and done row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import quoted_name

from api2db.sinks.conform import Slot
from api2db.sinks.dialect import MergeRule

# Keys looked up by one statement: bound parameters have a limit everywhere, 2,100 at the least.
_KEYS_AT_ONCE = 200


def merge(
    connection: Connection, into: sa.Table, slots: Sequence[Slot], rows: Sequence[Mapping[str, Any]], rule: MergeRule
) -> None:
    """Insert or update ``rows``, by the columns' keys (``c0`` and so on). Raises the driver's errors.

    Of rows with one key the newest version stays, of equals the later.
    """
    names = {slot.column: f"c{at}" for at, slot in enumerate(slots)}
    key = [names[name] for name in rule.key]
    version = names.get(rule.version or "")
    newest = _newest(rows, key, version)
    there = _there(connection, into, key, list(newest))
    update = _update(into, [name for name in names.values() if name not in key], key, version, rule)
    old = [_bound(row) for place, row in newest.items() if place in there]
    new = [row for place, row in newest.items() if place not in there]
    if not new or _is_exact(newest):
        _at_once(connection, into, update, old, new)
        return
    try:
        with connection.begin_nested():
            _at_once(connection, into, update, old, new)
    except IntegrityError:
        _one_by_one(connection, into, update, key, newest.values())


def _at_once(
    connection: Connection,
    into: sa.Table,
    update: sa.Update | None,
    old: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
) -> None:
    if old and update is not None:
        connection.execute(update, old)
    if new:
        connection.execute(sa.insert(into), new)


def _one_by_one(
    connection: Connection,
    into: sa.Table,
    update: sa.Update | None,
    key: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
) -> None:
    """In their order: of rows that the database takes for one, the later sees the earlier."""
    there = sa.select(sa.literal(1)).where(_same(into, key))
    for row in rows:
        bound = _bound(row)
        # No row updated: it isn't there, or is newer.
        updated = update is not None and connection.execute(update, bound).rowcount > 0
        if not updated and connection.execute(there, bound).first() is None:
            connection.execute(sa.insert(into), row)


def _update(
    into: sa.Table, others: Sequence[str], key: Sequence[str], version: str | None, rule: MergeRule
) -> sa.Update | None:
    """By key, where the version isn't older; None where the key is all there is."""
    if not others:
        return None
    same = _same(into, key)
    if version is not None:
        same &= into.c[version].is_(None) | (into.c[version] <= sa.bindparam(f"_{version}"))
    elif rule.version is not None:
        one: sa.ColumnClause[Any] = sa.column(quoted_name(rule.version, True))
        same &= one.is_(None)  # rows without a version are as old as any
    sets: dict[Any, Any] = {into.c[name]: sa.bindparam(f"_{name}") for name in others}
    return sa.update(into).where(same).values(sets)


def _same(into: sa.Table, key: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.and_(*(into.c[name] == sa.bindparam(f"_{name}") for name in key))


def _bound(row: Mapping[str, Any]) -> dict[str, Any]:
    """Under other names than the columns', which SQLAlchemy keeps for itself in an UPDATE."""
    return {f"_{name}": value for name, value in row.items()}


def _is_exact(places: Iterable[tuple[Any, ...]]) -> bool:
    """Whether no database sees keys otherwise than Python does: whole numbers."""
    return all(isinstance(part, int) for place in places for part in place)


def _newest(
    rows: Sequence[Mapping[str, Any]], key: Sequence[str], version: str | None
) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Of each key the newest version, NULL the oldest, of equals the later row; in the order in which those came."""
    newest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in rows:
        place = tuple(row[name] for name in key)
        before = newest.get(place)
        if version is None or before is None or _is_newer(row[version], before[version]):
            newest.pop(place, None)
            newest[place] = row
    return newest


def _is_newer(version: Any, than: Any) -> bool:
    return than is None or (version is not None and bool(version >= than))


def _there(
    connection: Connection, into: sa.Table, key: Sequence[str], places: Sequence[tuple[Any, ...]]
) -> set[tuple[Any, ...]]:
    return set(rows_of(connection, into, key, places, key))


def rows_of(
    connection: Connection,
    into: sa.Table,
    key: Sequence[str],
    places: Sequence[tuple[Any, ...]],
    wanted: Sequence[str],
) -> Iterator[tuple[Any, ...]]:
    """Some columns of the rows that have one of the keys, as the database sees keys."""
    columns = [into.c[name] for name in key]
    for start in range(0, len(places), _KEYS_AT_ONCE):
        part = places[start : start + _KEYS_AT_ONCE]
        if len(key) == 1:
            meant: sa.ColumnElement[bool] = columns[0].in_([place[0] for place in part])
        else:
            meant = sa.or_(*(sa.and_(*(c == v for c, v in zip(columns, place, strict=True))) for place in part))
        yield from map(tuple, connection.execute(sa.select(*(into.c[name] for name in wanted)).where(meant)))

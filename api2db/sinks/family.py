"""Rows and their children: one table each, loaded in one transaction, each child beside the row it came with.

The children of a row go where it goes: a row that is refused goes to quarantine with all of them, and a child that is
refused takes its row there. Of a merge only the rows that win bring their children, in place of those of before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from api2db import ledger
from api2db.batch import Batch
from api2db.children import POSITION, ROW
from api2db.childrows import Rows, split
from api2db.errors import FatalError
from api2db.failpoint import reach
from api2db.form.names import column_names
from api2db.schema import canonical
from api2db.sinks.dialect import Dialect
from api2db.sinks.fitting import Goal
from api2db.sinks.group import Group, Kin, Split, group
from api2db.sinks.names import NameRules
from api2db.sinks.transaction import TableWork

Load = Callable[[TableWork, Group], None]
# (batch id, row of its table) -> why
Spared = dict[tuple[str, int], str]


class ChildrenRefused(Exception):
    """The database refuses children of rows that are loaded already: the load is to be done without those.

    rows  which, and why
    """

    def __init__(self, rows: Spared) -> None:
        super().__init__(f"{len(rows)} rows have children that are refused")
        self.rows = rows


def families(batches: Sequence[Batch], goal: Goal) -> list[Group]:
    """Batches as groups of rows with their children. Without children they are what ``group`` makes."""
    return group(batches, lambda batch: _split(batch, goal))


def _split(batch: Batch, goal: Goal) -> Split:
    own, children = split(batch.table)
    if not children:
        return Split(canonical(own))
    name = _free(ROW, own.column_names)
    numbers = pa.array(batch.numbers(range(own.num_rows)), pa.int64()).cast(pa.string())
    own = canonical(own.append_column(name, pc.binary_join_element_wise(batch.batch_id, numbers, ":")))
    if not set(goal.key) <= set(own.column_names):
        return Split(own, (), name)  # rows without a key are refused, with their children
    links = [(f"{goal.table}_{key}", own.column(key)) for key in goal.key] or [(ROW, own.column(name))]
    tops = pa.array(range(own.num_rows), pa.int64())
    kin = [one for child in children for one in _kin(child, goal.table, links, tops, bool(goal.key))]
    return Split(own, tuple(kin), name)


def _kin(
    rows: Rows, parent: str, links: Sequence[tuple[str, pa.ChunkedArray]], tops: pa.Array, keyed: bool
) -> Iterator[Kin]:
    """The children's table, then those of their children.

    links  the columns by which their parent is found, with its rows' values
    tops   for each row of the parent the row of the batch it is of
    """
    table = rows.about.table or f"{parent}_{rows.about.name}"
    own, children = split(rows.table)
    own = canonical(own)
    names = [name for name, _ in links]
    typed = [field for field in own.schema if not pa.types.is_null(field.type)]
    given = column_names([*names, POSITION, *own.column_names])
    columns = [values.take(rows.parents) for _, values in links]
    linked = [pa.field(name, values.type) for name, values in zip(names, columns, strict=True)]
    fields = [*linked, pa.field(POSITION, pa.int64())]
    fields += [field.with_name(name) for field, name in zip(own.schema, given[len(fields) :], strict=True)]
    whole = pa.Table.from_arrays([*columns, rows.positions, *own.columns], schema=pa.schema(fields))
    named = dict(zip(own.column_names, given[len(linked) + 1 :], strict=True))
    mine = [named.get(key, key) for key in rows.about.key] or [POSITION]
    # Where nothing is known of them there is nothing to make a table of.
    known = whole if whole.num_rows or typed else pa.table({})
    below = tops.take(rows.parents)
    unique = (*names, *mine) if keyed else ()
    yield Kin(table, tuple(names), unique, known, below, rows.positions)
    more = [(f"{rows.about.name}{POSITION}" if key == POSITION else f"{rows.about.name}_{key}", key) for key in mine]
    inner = [*zip(names, columns, strict=True), *((name, _column(whole, key)) for name, key in more)]
    for child in children:
        yield from _kin(child, table, inner, below, keyed)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table.column(name) if name in table.column_names else pa.chunked_array([pa.nulls(table.num_rows)])


def _free(name: str, taken: Sequence[str]) -> str:
    return column_names([*taken, name])[-1]


def tables_of(groups: Sequence[Group], goal: Goal, names: NameRules) -> list[str]:
    """All tables the groups go into, parents before children."""
    return [goal.table, *map(names.legal, _by_table(groups))]


def goals_of(groups: Sequence[Group], goal: Goal, dialect: Dialect) -> Iterator[tuple[Goal, list[Group]]]:
    """Each table with what goes into it, parents before children."""
    yield goal, list(groups)
    for table, kin in _by_table(groups).items():
        yield _goal_of(table, kin, goal, dialect), [one.group for one in kin]


class Family:
    """One transaction's work on a table and those of its children. Used as ``TableWork`` is, by one thread."""

    def __init__(self, connection: Connection, dialect: Dialect, goal: Goal) -> None:
        self._connection = connection
        self._dialect = dialect
        self._goal = goal
        self._work = TableWork(connection, dialect, goal)
        self._children: dict[str, TableWork] = {}

    def fits(self, groups: Sequence[Group]) -> bool:
        """Whether ``fit`` has nothing to do, as far as this connection has seen the tables."""
        kin = _by_table(groups)
        return self._work.fits(groups) and all(
            self._child(table, each).fits([one.group for one in each]) for table, each in kin.items()
        )

    def fit(self, groups: Sequence[Group]) -> None:
        """Create the tables, or add and widen columns."""
        self._work.fit(groups)
        for table, each in _by_table(groups).items():
            self._child(table, each).fit([one.group for one in each])

    def prepare(self, groups: Sequence[Group]) -> None:
        """Make the tables fit, before the first row; afterwards the catalog can't change under the load."""
        self._work.prepare(groups)
        for table, each in _by_table(groups).items():
            self._child(table, each).prepare([one.group for one in each])

    def clear(self) -> None:
        """Delete all rows, children first; for other transactions they stay until this one commits."""
        self._work.clear([*reversed(self._children.values())])

    def keep_old(self) -> None:
        """As ``TableWork.keep_old``."""
        self._work.keep_old()

    def load(self, one: Group, load: Load, spared: Mapping[tuple[str, int], str]) -> None:
        """Load a group by ``load``, and its children; what is refused is in ``one.refused`` afterwards.

        spared  rows to be left out from the beginning

        Raises ChildrenRefused where the database refuses children that could only be told by trying.
        """
        if spared:
            one.refused.update({row: spared[at] for row, at in enumerate(one.numbers()) if at in spared})
        told: dict[int, str] = {}
        for kin in one.kin:
            if kin.rows.num_rows:
                self._children[kin.table].check(kin.group)
                told = kin.told() | told
        if told:
            self._work.check(one)  # what is wrong with a row itself is what is said of it
            one.refused = told | one.refused
        load(self._work, one)
        if not one.kin:
            return
        reach("sink.children")
        stays = self._stays(one)
        for kin in one.kin:
            part = kin.of(stays)
            if not part.rows.num_rows:
                continue
            load(self._children[kin.table], part.group)
            if part.group.refused:
                numbers = one.numbers()
                raise ChildrenRefused({**spared, **{numbers[row]: why for row, why in part.told().items()}})

    def _stays(self, one: Group) -> pa.Array:
        """Of each row whether it is in the table now; the children of before are gone then."""
        refused = pa.array([row in one.refused for row in range(one.table.num_rows)], pa.bool_())
        loaded = pc.invert(refused)
        if not self._goal.key or one.is_refused:
            return loaded
        links = {}
        for kin in one.kin:
            columns = self._children[kin.table].columns_of(kin.links[: len(self._goal.key)])
            if columns is not None:
                links[kin.table] = columns
        lost = pc.is_in(one.table.column(one.row).combine_chunks(), self._work.lost(one, links))
        return pc.and_not(loaded, lost)

    def _child(self, table: str, kin: Sequence[Kin]) -> TableWork:
        if table not in self._children:
            goal = _goal_of(table, kin, self._goal, self._dialect)
            self._children[table] = TableWork(self._connection, self._dialect, goal)
        return self._children[table]


def _goal_of(table: str, kin: Sequence[Kin], goal: Goal, dialect: Dialect) -> Goal:
    """What is to become of children whose parents go to ``goal``."""
    legal = dialect.names.legal(table)
    if legal in (goal.table, ledger.NAME):
        raise FatalError(f"its children would go into {legal} too: give them a table of their own")
    unique = kin[0].unique
    if unique[-1:] == (POSITION,) and not dialect.seeks:
        unique = ()
    return replace(goal, table=legal, key=(), version=None, unique=unique)


def _by_table(groups: Sequence[Group]) -> dict[str, list[Kin]]:
    """Parents before children, and in the same order whoever loads: daemons don't wait for each other in a ring."""
    found: dict[str, list[Kin]] = {}
    for one in groups:
        for kin in one.kin:
            of = found.setdefault(kin.table, [])
            if of and of[0].links != kin.links:
                raise FatalError(
                    f"children of two kinds would go into the table {kin.table}: give one a table of its own"
                )
            of.append(kin)
    return found

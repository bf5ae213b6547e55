"""What happens inside one load's transaction: make the table fit, check, load, find what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
from sqlalchemy import Connection

from api2db.batch import Batch, Receipt
from api2db.errors import BadDataError, FatalError
from api2db.schema import Kind
from api2db.sinks.conform import Slot, reason
from api2db.sinks.dialect import ORDINAL, Cause, Column, Dialect, FindRefusals, MergeRule, Stage, cursor
from api2db.sinks.doubts import Doubt
from api2db.sinks.fitting import Fitting, Goal, learned
from api2db.sinks.group import Group
from api2db.sinks.names import place

_OLD, _HERE = "api2db_old", "api2db"


class NothingLoadable(Exception):
    """Old rows were deleted for new ones of which not one can be loaded: the transaction is to be done without."""


class TableWork:
    """One transaction's work on one table. Used once, by one thread, inside ``connection``'s transaction."""

    def __init__(self, connection: Connection, dialect: Dialect, goal: Goal) -> None:
        self._connection = connection
        self._dialect = dialect
        self._goal = goal
        self._columns: dict[str, Column] = {}
        self._creatable = False
        self._fitting = Fitting(connection, dialect, goal)
        self._doubt = Doubt()
        self._doubted: Exception | None = None

    def fits(self, groups: Sequence[Group]) -> bool:
        """Whether ``fit`` has nothing to do, as far as this connection has seen the table."""
        return self._fitting.fits(groups)

    def fit(self, groups: Sequence[Group]) -> None:
        """Create the table, or add and widen columns."""
        self._fitting.fit(groups)

    def prepare(self, groups: Sequence[Group]) -> None:
        """Make the table fit, before the first row; afterwards the catalog can't change under the load."""
        if not self._dialect.ddl_commits:
            self.fit(groups)
        columns = self._fitting.lock(groups)
        # Without columns there is no table, since nothing has a type yet.
        self._creatable = columns is not None
        self._columns = {column.name: column for column in columns or ()}

    def clear(self, children: Sequence[TableWork] = ()) -> None:
        """Delete all rows, those of children before; for other transactions they stay until this one commits."""
        if not self._creatable:
            return
        if self._dialect.refusals is None:
            self._savepoint(_OLD)
        with self._old_rows_go():
            for one in (*children, self):
                if one._creatable:
                    self._run(f"DELETE FROM {self._dialect.quote(one._goal.table)}")

    @contextmanager
    def _old_rows_go(self) -> Iterator[None]:
        """Others' rules may keep the old rows; that is no row of ours to set aside."""
        try:
            yield
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if cause.error is not BadDataError:
                raise
            raise FatalError(
                f"the old rows can't be deleted: {cause.text}; other tables refer to them, or a trigger keeps them: "
                "load by key= instead of replacing, or change that rule"
            ) from error

    def keep_old(self) -> None:
        """Take ``clear`` back: of what was to replace the rows, not one could be loaded.

        Raises NothingLoadable where the transaction has to be taken back for that.
        """
        if self._creatable and self._dialect.refusals is not None:
            raise NothingLoadable
        if self._creatable:
            self._roll_back_to(_OLD)

    # In each database's own words.
    def _savepoint(self, name: str) -> None:
        self._connection.dialect.do_savepoint(self._connection, name)

    def _roll_back_to(self, name: str) -> None:
        self._connection.dialect.do_rollback_to_savepoint(self._connection, name)

    def _release(self, name: str) -> None:
        self._connection.dialect.do_release_savepoint(self._connection, name)

    def _run(self, sql: str) -> None:
        with cursor(self._connection) as run:
            run.execute(sql)

    def load(self, one: Group) -> None:
        """Load a group at once; rows that don't fit their columns are in ``one.refused`` afterwards."""
        self._load(one, 0, one.table.num_rows)

    def check(self, one: Group) -> None:
        """Find the rows that don't fit their columns; they are in ``one.refused`` afterwards."""
        lacks = self._why_none_fits(one)
        if lacks:
            one.refuse_all(lacks)
            return
        slots, _ = self._slots(one)
        for _ in one.chunks(slots, 0, one.table.num_rows, self._goal.chunk_rows):
            pass

    def columns_of(self, names: Sequence[str]) -> list[str] | None:
        """The columns of the table that are called so; None where it hasn't all of them, or isn't there."""
        placed = place(names, self._columns, self._dialect.names)
        found = [placed[name] for name in names]
        return found if self._creatable and set(found) <= set(self._columns) else None

    def lost(self, one: Group, children: Mapping[str, Sequence[str]]) -> pa.Array:
        """Which of the rows that were merged aren't in the table now, by ``one.row``.

        What tables of ``children`` have of the others' keys, in these columns, is deleted.
        """
        slots, rule = self._slots(one)
        assert rule is not None
        named = {field.name: slot for field, slot in zip(one.fields, slots, strict=True)}
        row = named[one.row]
        assert row is not None
        used = [slot for slot in slots if slot is not None and (slot.column in rule.key or slot is row)]
        some = [slot if slot in used else None for slot in slots]
        chunks = one.chunks(some, 0, one.table.num_rows, self._goal.chunk_rows)
        return self._dialect.disown(self._connection, self._goal.table, used, chunks, rule.key, row.column, children)

    def load_carefully(self, one: Group, doubt: Doubt) -> None:
        """Load a group although the database refuses some of its rows, in order, until each of those is alone.

        A merge goes into a stage first, as far as that takes the rows, and from there in parts. Raises the driver's
        error where that isn't a row's fault, or likely isn't.
        """
        self._doubt, self._doubted = doubt, None
        if self._dialect.refusals is not None:
            self._leave_out_refused(one, self._dialect.refusals)
            return
        with self._old_rows_go():  # a rule that waits for COMMIT speaks now, of what was deleted
            self._dialect.begin_careful(self._connection)
        stage = self._stage(one)
        if stage is None:
            self._by_halves(one, lambda start, stop: self._load(one, start, stop))
            if self._doubted is not None and one.is_refused and not doubt.believes_all_bad:
                raise self._doubted
            return
        slots, _ = self._slots(one)
        rows = self._goal.chunk_rows
        self._by_halves(one, lambda start, stop: stage.fill(one.chunks(slots, start, stop, rows, ORDINAL)))
        self._by_halves(one, lambda start, stop: stage.merge(start + 1, stop))
        stage.close()

    def _leave_out_refused(self, one: Group, find: FindRefusals) -> None:
        if not self._why_none_fits(one):
            slots, rule = self._slots(one)
            used = [slot for slot in slots if slot is not None]
            chunks = one.chunks(slots, 0, one.table.num_rows, self._goal.chunk_rows, ORDINAL)
            found = dict(find(self._connection, self._goal.table, used, chunks, rule))
            one.refused.update({ordinal - 1: self._told(one, ordinal - 1, why) for ordinal, why in found.items()})
        self._load(one, 0, one.table.num_rows)

    def _stage(self, one: Group) -> Stage | None:
        """For a merge that can be tried at all; None where parts of the group itself are loaded."""
        if not self._goal.key or self._why_none_fits(one):
            return None
        slots, rule = self._slots(one)
        assert rule is not None
        used = [slot for slot in slots if slot is not None]
        return self._dialect.stage(self._connection, self._goal.table, used, rule)

    def _by_halves(self, one: Group, load: Callable[[int, int], None]) -> None:
        """``load`` all rows, from one to before another, but for those the database refuses alone.

        Steps halve at a refusal and double at a success: a few bad rows cost a few statements each, and a group of
        nothing but bad rows one for each.
        """
        self._savepoint(_HERE)
        at, step = 0, one.table.num_rows
        while at < one.table.num_rows:
            stop = min(at + step, one.table.num_rows)
            refusal = self._try(load, at, stop)
            if refusal is None:
                at, step = stop, 2 * step
            elif stop - at > 1:
                step = (stop - at) // 2
            else:
                one.refused[at] = self._told(one, at, refusal)
                at = stop
        self._release(_HERE)

    def _told(self, one: Group, row: int, cause: Cause) -> str:
        """Why the database refuses this row: with type and value of the column it names; else in its own words."""
        placed = self._placed(one)
        field = next((field for field in one.fields if placed[field.name] == cause.column), None)
        if field is None or cause.column not in self._columns:
            return cause.text
        slot = self._dialect.slot(self._columns[cause.column], field)
        value = one.table.column(field.name).slice(row, 1).combine_chunks()
        return reason(value, field, slot, cause.text.removeprefix(f'column "{cause.column}": '))

    def _try(self, load: Callable[[int, int], None], start: int, stop: int) -> Cause | None:
        """Load some rows, or none of them and say why the database refuses one."""
        try:
            load(start, stop)
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if not self._doubt.blames_rows(cause):
                raise
            if cause.doubtful:
                self._doubted = error
            self._roll_back_to(_HERE)
            return cause
        self._release(_HERE)
        self._savepoint(_HERE)
        return None

    def _load(self, one: Group, start: int, stop: int) -> None:
        if start == stop:
            return
        lacks = self._why_none_fits(one)
        if lacks:
            one.refuse_all(lacks)
            return
        slots, rule = self._slots(one)
        chunks = one.chunks(slots, start, stop, self._goal.chunk_rows)
        used = [slot for slot in slots if slot is not None]
        if rule is None:
            self._dialect.append(self._connection, self._goal.table, used, chunks)
        else:
            self._dialect.merge(self._connection, self._goal.table, used, chunks, rule)

    def _why_none_fits(self, one: Group) -> str:
        names = {field.name for field in one.fields}
        for key in self._goal.key:
            if key not in names:
                return f'the key column "{key}" is missing: a row without it is no one\'s newer version'
        if not self._creatable:
            columns = f'the key column "{self._goal.fixed[0]}"' if self._goal.fixed else "every column"
            return (
                f"there is no table yet and no type to create it with: {columns} has only been NULL; "
                "say the types in the form, or replay the row once the table is there"
            )
        placed = self._placed(one)
        if not any(column in self._columns and not self._columns[column].generated for column in placed.values()):
            return "every value is NULL and the table has none of these columns, or computes them itself"
        for column in self._columns.values():
            if not column.optional and column.name not in placed.values():
                return f'column "{column.name}" ({column.declared}) must have a value and the rows have none'
        return ""

    def _placed(self, one: Group) -> Mapping[str, str]:
        return place([field.name for field in one.fields], self._columns, self._dialect.names)

    def _slots(self, one: Group) -> tuple[list[Slot | None], MergeRule | None]:
        placed = self._placed(one)
        slots: list[Slot | None] = []
        for field in one.fields:
            column = self._columns.get(placed[field.name])
            if column is not None and column.generated:
                if field.kind is not Kind.NULL:
                    raise FatalError(
                        f'column "{column.name}" is computed by the database and takes no value: '
                        "leave it out of the form, or give the field another name there"
                    )
                column = None
            slot = None if column is None else self._dialect.slot(column, field)
            if slot is not None and field.name in self._goal.fixed:
                slot = replace(slot, required=True, nan_free=True)
            elif slot is not None and field.name == self._goal.version:
                slot = replace(slot, nan_free=True)
            slots.append(slot)
        if not self._goal.key:
            return slots, None
        rule = MergeRule(tuple(placed[name] for name in self._goal.key), self._version(placed))
        self._check_unique(rule)
        return slots, rule

    def _version(self, placed: Mapping[str, str]) -> str | None:
        """The version's column; None while no row has had one, when every row is as old as any other."""
        if self._goal.version is None:
            return None
        column = (
            placed.get(self._goal.version)
            or place([self._goal.version], self._columns, self._dialect.names)[self._goal.version]
        )
        return column if column in self._columns else None

    def _check_unique(self, rule: MergeRule) -> None:
        memory = (self._goal.table, rule.key)
        if memory in learned(self._connection):
            return
        if not self._dialect.has_unique(self._connection, self._goal.table, rule.key):
            quote = self._dialect.quote
            raise FatalError(
                f"no unique index over the key, so a merge can't find its rows (in place of a view name the table "
                f"behind it); run: CREATE UNIQUE INDEX {quote(self._dialect.names.legal(self._goal.table + '_key'))} "
                f"ON {quote(self._goal.table)} ({', '.join(map(quote, rule.key))})"
            )
        learned(self._connection)[memory] = True


def receipts(batches: Sequence[Batch], had: Mapping[str, int], groups: Sequence[Group]) -> list[Receipt]:
    """One receipt a batch, in order. A batch given twice is new once.

    ``had`` are the batches that were there before, with the rows loaded of each: what isn't among them went to
    quarantine then, and the answer that was lost is given again.
    """
    quarantined = {batch.batch_id: len(rows) for one in groups for batch, rows, _ in one.refused_by_batch()}
    seen: set[str] = set()
    answers = []
    for batch in batches:
        rows = batch.table.num_rows
        loaded = had.get(batch.batch_id, rows - quarantined.get(batch.batch_id, 0))
        duplicate = batch.batch_id in had or batch.batch_id in seen
        answers.append(Receipt(batch.batch_id, loaded, rows - loaded, duplicate))
        seen.add(batch.batch_id)
    return answers

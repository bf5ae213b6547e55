"""``OmnisciSink``: batches into one table of HeavyDB.

HeavyDB has no transaction over a ledger and data. But one import is atomic (its table's epoch moves once, when all of
it is on disk), so each row carries its batch's id, and the table itself is the ledger: before an import it is asked
which of the batches it has. A batch too large for one import is noted in a second table before its first and after its
last: one that was only begun is deleted, and imported again.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from api2db.batch import Batch, Receipt
from api2db.errors import RetryableError, SinkError
from api2db.failpoint import reach
from api2db.schema import Field
from api2db.sinks.base import Quarantine, Sink
from api2db.sinks.conform import Slot
from api2db.sinks.group import Group, group
from api2db.sinks.new_columns import new_columns
from api2db.sinks.omnisci.names import BATCH, columns_of
from api2db.sinks.omnisci.parts import IMPORT_BYTES, parts
from api2db.sinks.omnisci.record import Record, define
from api2db.sinks.omnisci.types import TEXT, declare, refuse_impossible, slot
from api2db.sinks.omnisci.wire import Described, Login, LostError, Wire
from api2db.sinks.transaction import receipts

log = logging.getLogger(__name__)

_CHUNK_ROWS: Final = 1_000_000


class OmnisciSink:
    """A table as a ``Sink``. Used by one thread at a time; what ``Ledgered`` asks has a session of its own, in any.

    stream   this stream's identity
    login    server, database and credentials
    table    a name that needs no quotes
    """

    remembers = True  # each row says which batch it came with
    ordered = False
    replaces = False
    max_threads: int | None = None

    def __init__(self, *, stream: str, login: Login, table: str) -> None:
        self.stream = stream
        self._login = login
        self._table = table
        self._record = Record(table)
        self._wire: Wire | None = None
        self._broken: Wire | None = None

    @property
    def target(self) -> str:
        return f"{self.server}/{self._login.database}/{self._table}"

    @property
    def server(self) -> str:
        return self._login.server

    def sketch(self, batch: Batch) -> list[str]:
        columns = {name: declare(field) for name, field in _missing({}, group([batch])).items()}
        if not columns:
            return []
        return [f"CREATE TABLE {self._table} (", *(f"  {name} {kind}," for name, kind in columns.items()),
                f"  {BATCH} {TEXT}", ")"]  # fmt: skip

    def connect(self) -> None:
        with self._used():
            pass

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        if not batches:
            return []
        with self._used() as wire:
            had, begun = self._record.asked(wire, [batch.batch_id for batch in batches])
            for batch_id in sorted(begun):
                self._record.delete(wire, batch_id)
            new = {batch.batch_id: batch for batch in batches if batch.batch_id not in had}
            groups = group(list(new.values()))
            if groups:
                self._load(wire, groups, quarantine, begun)
            reach("sink.committed")
            return receipts(batches, had, groups)

    def publish(self, batches: Sequence[Batch]) -> None:
        """Nothing to do: the import made the rows visible."""

    def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def go_in_as(self, other: Sink) -> bool:
        if not isinstance(other, OmnisciSink) or other._login == self._login:
            return False
        self._login = other._login
        self.close()
        return True

    def lacks(self, shards: Mapping[int, str]) -> set[int]:
        """Which of the shards (``created_ns`` -> batch id) the table doesn't have."""
        there = self.loaded(list(shards.values()))
        return {created_ns for created_ns, batch_id in shards.items() if batch_id not in there}

    def loaded(self, batch_ids: Sequence[str]) -> dict[str, int]:
        """Which of the batches the table has, with the rows of each. Makes nothing."""
        with self._reading() as wire:
            return self._record.asked(wire, batch_ids)[0]

    def horizon(self) -> int:
        """The table forgets no batch."""
        return 0

    def receipts(self) -> Generator[tuple[str, int], None, None]:
        """(batch id, rows) of each batch in the table, by id. Makes nothing; holds all of them."""
        with self._reading() as wire:
            found = self._record.all(wire)
        yield from sorted(found.items())

    def counted_since(self) -> int:
        """0: every row that was ever loaded carries its batch's id."""
        return 0

    def recounted(self) -> Generator[tuple[str, int], None, None]:
        """The same: the table is its own ledger."""
        return self.receipts()

    def _load(self, wire: Wire, groups: list[Group], quarantine: Quarantine, begun: set[str]) -> None:
        columns = self._fitted(wire, groups)
        tables: list[pa.Table] = []
        for one in groups:
            part = self._conformed(one, columns)
            if part is not None and part.num_rows:
                tables.append(part)
        for one in groups:
            for batch, rows, reasons in one.refused_by_batch():
                quarantine(batch, batch.table.take(pa.array(rows, pa.int64())), reasons)
                if len(rows) == batch.table.num_rows:
                    self._record.enter_empty(wire, batch.batch_id)
            for batch in one.batches:
                if not batch.table.num_rows:
                    self._record.enter_empty(wire, batch.batch_id)
        if tables:
            self._import(wire, pa.concat_tables(tables, promote_options="default"), begun)
        for batch_id in sorted(begun):
            self._record.whole(wire, batch_id)
        reach("sink.loaded")

    def _import(self, wire: Wire, rows: pa.Table, begun: set[str]) -> None:
        """Load rows in as few imports as their size allows; adds to ``begun`` what takes several."""
        imports = list(parts(rows, IMPORT_BYTES))
        for batch_id in dict.fromkeys(each.cut for each in imports if each.cut is not None):
            if batch_id not in begun:
                self._record.begin(wire, batch_id)
                begun.add(batch_id)
        for each in imports:
            (together,) = each.rows.combine_chunks().to_batches()
            wire.load(self._table, together)

    def _conformed(self, one: Group, columns: Mapping[str, Described]) -> pa.Table | None:
        """The rows of a group that fit, in the columns' types, each with its batch's id."""
        placed = columns_of([field.name for field in one.fields], columns)
        slots: list[Slot | None] = []
        for field in one.fields:
            column = columns.get(placed[field.name])
            slots.append(None if column is None else slot(column, field))
        filled = {each.column for each in slots if each is not None}
        lacks = [name for name, each in columns.items() if each.required and name not in filled]
        if not filled:
            one.refuse_all("every value is NULL, and there is no column for it yet: say the types in the form")
        elif lacks:
            one.refuse_all(f"column {lacks[0]} must have a value and the rows have none")
        if one.is_refused or not one.table.num_rows:
            return None
        refuse_impossible(one, slots)
        chunks = list(one.chunks(slots, 0, one.table.num_rows, _CHUNK_ROWS))
        table = pa.Table.from_batches([_durations_as_numbers(chunk) for chunk in chunks])
        ids = [batch.batch_id for batch in one.batches for _ in range(batch.table.num_rows)]
        kept = [batch_id for row, batch_id in enumerate(ids) if row not in one.refused]
        return table.append_column(BATCH, pa.array(kept, pa.string()))

    def _fitted(self, wire: Wire, groups: Sequence[Group]) -> Mapping[str, Described]:
        """The table's columns, after those that are missing were made."""
        known: dict[str, Described] = {}
        if self._table.lower() in {name.lower() for name in wire.tables()}:
            known = wire.columns(self._table)
        missing = {name: declare(field) for name, field in _missing(known, groups).items()}
        if not known and not missing:
            return {}
        if not known:
            definitions = ", ".join(f"{name} {declared}" for name, declared in {**missing, BATCH: TEXT}.items())
            define(wire, f"CREATE TABLE IF NOT EXISTS {self._table} ({definitions})")
            log.info("table created target=%s", self.target)
            known = wire.columns(self._table)  # somebody else may have been faster, with other columns
            missing = {name: declare(field) for name, field in _missing(known, groups).items()}
        if BATCH not in known:
            missing[BATCH] = TEXT
        for name, declared in missing.items():
            define(wire, f"ALTER TABLE {self._table} ADD COLUMN {name} {declared}")
        known = wire.columns(self._table) if missing else known
        return {name: each for name, each in known.items() if name != BATCH}

    @contextmanager
    def _reading(self) -> Iterator[Wire]:
        """A session of its own: the audit asks from another thread."""
        with self._told():
            wire = Wire(self._login)
            try:
                yield wire
            finally:
                wire.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors name stream and table."""
        try:
            yield
        except SinkError as error:
            kind = RetryableError if isinstance(error, RetryableError) else type(error)
            raise kind(f"stream {self.stream}: table {self._table}: {error}") from error

    @contextmanager
    def _used(self) -> Iterator[Wire]:
        """The session that loads; a lost one isn't used again."""
        with self._told():
            if self._wire is None:
                self._wire = Wire(self._login)
                if self._broken is not None:
                    # What it asked for may still be on its way: it must not come after we have looked.
                    self._wire.end_session(self._broken)
                    self._broken = None
            try:
                yield self._wire
            except LostError:
                self._wire.drop()
                self._broken, self._wire = self._wire, None
                raise


def _missing(known: Mapping[str, Described], groups: Sequence[Group]) -> dict[str, Field]:
    """Columns to make, by name."""
    return {name: each.field for name, each in new_columns(groups, list(known), columns_of).items()}


def _durations_as_numbers(chunk: pa.RecordBatch) -> pa.RecordBatch:
    """In microseconds."""
    arrays = [each.cast(pa.int64()) if pa.types.is_duration(each.type) else each for each in chunk.columns]
    return pa.RecordBatch.from_arrays(arrays, names=chunk.schema.names)

"""Which batches are in a table of HeavyDB: its rows say so, and lines of a ledger beside it what they can't say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api2db.errors import ConfigError, FatalError
from api2db.sinks.omnisci.names import BATCH, LEDGER
from api2db.sinks.omnisci.types import TEXT
from api2db.sinks.omnisci.wire import Wire

_IDS_PER_QUERY: Final = 500


class Record:
    """Of one table. No state of its own; each method works by the session it is given, and raises its errors.

    A line of the ledger is the id of a batch of which no row could be loaded, or of one that takes several imports:
    noted as begun before the first of them, and as whole after the last.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._begun, self._whole = f".begun.{table}", f".whole.{table}"

    def asked(self, wire: Wire, batch_ids: Sequence[str]) -> tuple[dict[str, int], set[str]]:
        """Which of the batches are in, with the rows of each; and which were begun, and may be in by halves."""
        found: dict[str, int] = {}
        begun: set[str] = set()
        for start in range(0, len(batch_ids), _IDS_PER_QUERY):
            ids = [_hexadecimal(each) for each in batch_ids[start : start + _IDS_PER_QUERY]]
            marked = [f"{each}{mark}" for each in ids for mark in ("", self._begun, self._whole)]
            here, unfinished = self._counted(wire, _among(ids), _among(marked))
            found |= here
            begun |= unfinished
        return found, begun

    def all(self, wire: Wire) -> dict[str, int]:
        """Every batch that is in, with its rows."""
        return self._counted(wire, "", "")[0]

    def _counted(self, wire: Wire, where: str, where_marked: str) -> tuple[dict[str, int], set[str]]:
        """Rows of each batch: those of the table, and none for those of which every row was refused; and the begun."""
        tables = {name.lower() for name in wire.tables()}
        found: dict[str, int] = {}
        begun: set[str] = set()
        if LEDGER in tables:
            rows = wire.query(f"SELECT {BATCH} FROM {LEDGER}{where_marked} GROUP BY {BATCH}")
            marks = {str(mark) for (mark,) in rows}
            found |= {mark: 0 for mark in marks if mark.isalnum()}
            whole = {mark.removesuffix(self._whole) for mark in marks if mark.endswith(self._whole)}
            begun = {mark.removesuffix(self._begun) for mark in marks if mark.endswith(self._begun)} - whole
        if self._table.lower() in tables and BATCH in wire.columns(self._table):
            rows = wire.query(f"SELECT {BATCH}, COUNT(*) FROM {self._table}{where} GROUP BY {BATCH}")
            found |= {str(batch_id): int(count) for batch_id, count in rows if batch_id is not None}
        return {batch_id: count for batch_id, count in found.items() if batch_id not in begun}, begun

    def delete(self, wire: Wire, batch_id: str) -> None:
        """What is in of a batch that was begun."""
        if self._table.lower() in {name.lower() for name in wire.tables()}:
            define(wire, f"DELETE FROM {self._table} WHERE {BATCH} = '{_hexadecimal(batch_id)}'")

    def begin(self, wire: Wire, batch_id: str) -> None:
        """Before the first import of a batch that takes several."""
        self._note(wire, batch_id + self._begun)
        # Of an earlier load, whose rows somebody has deleted since.
        whole = _among([_hexadecimal(batch_id) + self._whole])
        if wire.query(f"SELECT {BATCH} FROM {LEDGER}{whole} GROUP BY {BATCH}"):
            define(wire, f"DELETE FROM {LEDGER}{whole}")

    def whole(self, wire: Wire, batch_id: str) -> None:
        """After the last."""
        self._note(wire, batch_id + self._whole)

    def enter_empty(self, wire: Wire, batch_id: str) -> None:
        """A batch without a row that could be loaded leaves none in the table to be known by."""
        if batch_id not in self.asked(wire, [batch_id])[0]:
            self._note(wire, batch_id)

    def _note(self, wire: Wire, mark: str) -> None:
        """Write a line into the ledger beside the table."""
        _hexadecimal(mark.partition(".")[0])
        define(wire, f"CREATE TABLE IF NOT EXISTS {LEDGER} ({BATCH} {TEXT})")
        define(wire, f"INSERT INTO {LEDGER} VALUES ('{mark}')")


def define(wire: Wire, sql: str) -> None:
    """Run a statement that not everybody may run. Raises FatalError, with the statement."""
    try:
        wire.query(sql)
    except FatalError as error:
        raise FatalError(f"{error}; or as someone who may, run: {sql}") from error


def _among(texts: Sequence[str]) -> str:
    quoted = ", ".join(f"'{each}'" for each in texts)
    return f" WHERE {BATCH} IN ({quoted})"


def _hexadecimal(batch_id: str) -> str:
    """For a statement's text: ids are ours, and hold nothing that could end it."""
    if not batch_id.isalnum():
        raise ConfigError(f"{batch_id!r} is no batch id")
    return batch_id

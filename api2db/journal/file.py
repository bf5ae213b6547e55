"""The journal's file: its tables, how it is opened, written and read."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api2db.errors import StoreError
from api2db.state import read_state

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    batch_id TEXT PRIMARY KEY, collector TEXT NOT NULL, created_ns INTEGER NOT NULL, rows INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (  -- outcome: waiting, parked, loaded, quarantined, superseded, purged, removed
    collector TEXT NOT NULL, stream TEXT NOT NULL, created_ns INTEGER NOT NULL, batch_id TEXT NOT NULL,
    outcome TEXT NOT NULL, rows INTEGER, quarantined INTEGER, at_ns INTEGER,
    target TEXT,  -- where it went, if not where the stream goes now
    PRIMARY KEY (collector, stream, created_ns)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_removed ON deliveries (collector, stream) WHERE outcome = 'removed';
CREATE TABLE IF NOT EXISTS replays (  -- rows that left a batch's quarantine, to be delivered as another; '': given up
    collector TEXT NOT NULL, stream TEXT NOT NULL, origin_batch TEXT NOT NULL, batch_id TEXT NOT NULL,
    rows INTEGER NOT NULL, at_ns INTEGER NOT NULL, PRIMARY KEY (collector, stream, origin_batch, batch_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    collector TEXT NOT NULL, started_ns INTEGER NOT NULL, duration_s REAL, outcome TEXT NOT NULL,
    batches INTEGER, rows INTEGER, cause TEXT, steps TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_collector ON runs (collector, started_ns);
CREATE TABLE IF NOT EXISTS collectors (
    collector TEXT PRIMARY KEY, seconds REAL, next_run_ns INTEGER, state TEXT, cause TEXT,
    last_success_ns INTEGER, polls INTEGER DEFAULT 0, failures INTEGER DEFAULT 0, skips INTEGER DEFAULT 0,
    batches INTEGER DEFAULT 0, rows INTEGER DEFAULT 0, steps TEXT, fresh_within_s REAL, declared_ns INTEGER,
    schedule TEXT  -- as people read it
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (  -- target: while a collector has it; place: where its deliveries went
    collector TEXT NOT NULL, stream TEXT NOT NULL, target TEXT, state TEXT, cause TEXT, retry_ns INTEGER,
    last_success_ns INTEGER, batches INTEGER DEFAULT 0, rows INTEGER DEFAULT 0, quarantined INTEGER DEFAULT 0,
    place TEXT,
    PRIMARY KEY (collector, stream)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (  -- of deliveries older than the history; until_ns: the newest of them
    collector TEXT NOT NULL, stream TEXT NOT NULL, batches INTEGER NOT NULL, accepted INTEGER NOT NULL,
    loaded INTEGER NOT NULL, quarantined INTEGER NOT NULL, replayed INTEGER NOT NULL,
    superseded INTEGER NOT NULL, purged INTEGER NOT NULL,
    until_ns INTEGER NOT NULL, PRIMARY KEY (collector, stream)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (  -- of each collector's form, summed over all runs since since_ns
    collector TEXT NOT NULL, step TEXT NOT NULL, place INTEGER NOT NULL, rows_in INTEGER NOT NULL,
    rows_out INTEGER NOT NULL, nulled INTEGER NOT NULL, replaced INTEGER NOT NULL, since_ns INTEGER NOT NULL,
    PRIMARY KEY (collector, step)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS daemon (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

# Columns that journals of older versions don't have.
_ADDED = (("deliveries", "target"), ("streams", "place"), ("collectors", "schedule"))
# In the table ``daemon``: when a journal was begun in a STORE that had been used, so that it doesn't know all of it.
BEGUN_ANEW = "begun_anew_ns"
# While the journal can't be written. What is dropped beyond that is found again from shards and ledgers.
UNWRITTEN_KEPT = 10_000
BUSY_S = 0.1

Write = Callable[[sqlite3.Connection], object]


class JournalFile:
    """The one connection that writes the journal. Any thread.

    A write that fails (no space left, say) is kept in memory and repeated before the next one; so is one to a journal
    that can't be opened. Only what is no journal, or damaged, is set aside.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._unwritten: deque[Write] = deque(maxlen=UNWRITTEN_KEPT)
        self._failures = 0
        self._path = path
        self._late = _was_used(path.parent)  # before this process adds anything: a new journal has missed what was
        self._opened: sqlite3.Connection | None = None
        try:
            _ = self.connection
        except sqlite3.OperationalError as error:  # locked, no space, an I/O error: it heals
            log.warning("journal can't be opened, trying again at each write cause=%s", error)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open journal; a damaged one is begun anew. Raises sqlite3.OperationalError while it can't be opened."""
        if self._opened is None:
            try:
                self._opened = _open(self._path, late=self._late)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                # Nothing depends on it: a new one is filled from the shards, and the sums begin again.
                aside = self._path.with_name(f"{self._path.name}.broken-{time.time_ns()}")
                self._path.rename(aside)
                log.error("journal can't be read, begun anew cause=%s; the old one is kept as %s", error, aside)
                self._opened = _open(self._path, late=self._late)
        return self._opened

    def write(self, write: Write, *, keep: bool = True) -> bool:
        """True once it is written. One that can't be is repeated with the next, unless it isn't to be kept."""
        with self._lock:
            if not keep and self._failures:
                return False
            self._unwritten.append(write)
            try:
                db = self.connection
                db.execute("BEGIN IMMEDIATE")
                for each in self._unwritten:
                    _line(db, each)
                db.execute("COMMIT")
            except sqlite3.OperationalError as error:  # locked, or no space: it heals
                if self._opened is not None and self._opened.in_transaction:
                    self._opened.execute("ROLLBACK")
                if not keep:
                    self._unwritten.pop()
                    return False
                self._failures += 1
                if self._failures & (self._failures - 1) == 0:
                    log.warning("journal can't be written, repeating later failures=%d cause=%s", self._failures, error)
            else:
                self._unwritten.clear()
                self._failures = 0
                return True
            return False

    def write_safely(self, write: Write) -> bool:
        """As ``write``, or not at all: True once it is written, and on disk."""
        if not self.write(write, keep=False):
            return False
        self.rows("PRAGMA wal_checkpoint(PASSIVE)", ())  # it flushes what was written
        return True

    def rows(self, query: str, of: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """What a query answers. Raises StoreError while the journal can't be read."""
        with self._lock:
            try:
                return self.connection.execute(query, of).fetchall()
            except sqlite3.OperationalError as error:
                raise StoreError(f"{self._path} can't be read now: {error}; run the command again later") from error

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()


def _line(db: sqlite3.Connection, write: Write) -> None:
    """One line; one that can never be written is left out, and must not keep back those of everyone else."""
    db.execute("SAVEPOINT line")
    try:
        write(db)
    except sqlite3.OperationalError:
        raise
    except Exception:
        db.execute("ROLLBACK TO line")
        log.exception("a line of the journal can't be written, left out")
    db.execute("RELEASE line")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is no journal, or no longer; a disk or a lock is to blame for the rest, and may be mended."""
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in damage


def columns(db: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; none if there is no such table."""
    return {str(name) for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, safe beside a running daemon. Raises sqlite3.DatabaseError.

    Not ``mode=ro``: the last reader of a WAL database must be able to tidy its side files away. Someone who may not
    write can't have a WAL database opened, unless it is taken as never changing.
    """
    mode = "mode=rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "immutable=1"
    db = sqlite3.connect(f"file:{path}?{mode}", uri=True, timeout=10, isolation_level=None)
    db.execute("PRAGMA query_only = ON")
    return db


def _was_used(store: Path) -> bool:
    """Whether batches were accepted in this STORE before, by its collectors' state files."""
    for path in (store / "state").glob("*.json"):
        try:
            if read_state(path).last_ns:
                return True
        except StoreError:
            return True  # it can't be read: nobody can tell that there were none
    return False


def _open(path: Path, *, late: bool) -> sqlite3.Connection:
    # isolation_level=None: transactions are begun and ended in JournalFile.write, and nowhere else.
    # A short wait: whoever reads the journal with a lock must not hold up loads and polls; lines are kept meanwhile.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        _split_replays(db)
        db.execute("PRAGMA synchronous=NORMAL")
        if late and not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'deliveries'").fetchone():
            begun = f"INSERT INTO daemon VALUES ('{BEGUN_ANEW}', {time.time_ns()});"
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {begun} COMMIT;")
        db.executescript(_SCHEMA)
        for table, column in _ADDED:
            if column not in columns(db, table):
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _split_replays(db: sqlite3.Connection) -> None:
    """Where a batch's rows could only leave quarantine together: a line for each batch that has some of them now."""
    if db.execute("SELECT 1 FROM pragma_table_info('replays') WHERE name = 'batch_id' AND pk = 0").fetchone():
        db.executescript(
            f"BEGIN IMMEDIATE; ALTER TABLE replays RENAME TO replays_before; {_SCHEMA}"
            "INSERT INTO replays SELECT * FROM replays_before; DROP TABLE replays_before; COMMIT;"
        )

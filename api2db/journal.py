"""STORE/journal.sqlite: every batch's acceptance and outcome per stream, every run, and how things are now.

Never needed for safety: batches are safe in the spool and counted once by the ledgers. It is what people and
``--status`` read. Writes are single transactions without a flush (WAL, synchronous=NORMAL): a killed process
loses none of them, a power cut may lose the newest.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from api2db.batch import Receipt
from api2db.errors import StoreError
from api2db.failpoint import reach
from api2db.secret import redact
from api2db.shard import Header

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    batch_id TEXT PRIMARY KEY, collector TEXT NOT NULL, created_ns INTEGER NOT NULL, rows INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (  -- outcome: waiting, parked, loaded, quarantined, superseded, purged, removed
    collector TEXT NOT NULL, stream TEXT NOT NULL, created_ns INTEGER NOT NULL, batch_id TEXT NOT NULL,
    outcome TEXT NOT NULL, rows INTEGER, quarantined INTEGER, at_ns INTEGER,
    PRIMARY KEY (collector, stream, created_ns)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replays (  -- rows that left a batch's quarantine, to be delivered as another; '': given up
    collector TEXT NOT NULL, stream TEXT NOT NULL, origin_batch TEXT NOT NULL, batch_id TEXT NOT NULL,
    rows INTEGER NOT NULL, at_ns INTEGER NOT NULL, PRIMARY KEY (collector, stream, origin_batch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    collector TEXT NOT NULL, started_ns INTEGER NOT NULL, duration_s REAL, outcome TEXT NOT NULL,
    batches INTEGER, rows INTEGER, cause TEXT, steps TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_collector ON runs (collector, started_ns);
CREATE TABLE IF NOT EXISTS collectors (
    collector TEXT PRIMARY KEY, seconds REAL, next_run_ns INTEGER, state TEXT, cause TEXT,
    last_success_ns INTEGER, polls INTEGER DEFAULT 0, failures INTEGER DEFAULT 0, skips INTEGER DEFAULT 0,
    batches INTEGER DEFAULT 0, rows INTEGER DEFAULT 0, steps TEXT, fresh_within_s REAL, declared_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (
    collector TEXT NOT NULL, stream TEXT NOT NULL, target TEXT, state TEXT, cause TEXT, retry_ns INTEGER,
    last_success_ns INTEGER, batches INTEGER DEFAULT 0, rows INTEGER DEFAULT 0, quarantined INTEGER DEFAULT 0,
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

# Runs are kept for people: the newest of each collector; the sums beside them are never pruned.
RUNS_KEPT = 1000

# While the journal can't be written. What is dropped beyond that is found again from shards and ledgers.
UNWRITTEN_KEPT = 10_000
BUSY_S = 0.1

Write = Callable[[sqlite3.Connection], object]


class Journal:
    """The one writer of the journal. Safe to use from any thread.

    A write that fails (no space left, say) is kept in memory and repeated before the next one; so is one to a journal
    that can't be opened. Only what is no journal, or damaged, is set aside.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._unwritten: deque[Write] = deque(maxlen=UNWRITTEN_KEPT)
        self._failures = 0
        self._path = path
        self._opened: sqlite3.Connection | None = None
        try:
            _ = self._connection
        except sqlite3.OperationalError as error:  # locked, no space, an I/O error: it heals
            log.warning("journal can't be opened, trying again at each write cause=%s", error)

    @property
    def _connection(self) -> sqlite3.Connection:
        """The open journal; a damaged one is begun anew. Raises sqlite3.OperationalError while it can't be opened."""
        if self._opened is None:
            try:
                self._opened = _open(self._path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                # Nothing depends on it: a new one is filled from the shards, and the sums begin again.
                aside = self._path.with_name(f"{self._path.name}.broken-{time.time_ns()}")
                self._path.rename(aside)
                log.error("journal can't be read, begun anew cause=%s; the old one is kept as %s", error, aside)
                self._opened = _open(self._path)
        return self._opened

    def accepted(self, header: Header) -> None:
        """A batch is safe in the spool and waits for each of its streams. Repeating it changes nothing."""

        def write(db: sqlite3.Connection) -> None:
            fresh = db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (header.batch_id, header.collector, header.created_ns, header.rows),
            ).rowcount
            if fresh:
                _collector(db, header.collector, batches=1, rows=header.rows)
            db.executemany(
                "INSERT INTO deliveries (collector, stream, created_ns, batch_id, outcome)"
                " VALUES (?, ?, ?, ?, 'waiting') ON CONFLICT DO NOTHING",
                [(header.collector, s, header.created_ns, header.batch_id) for s in header.streams],
            )
            if header.origin is not None:
                _replayed(db, header.collector, header.origin, header.batch_id, header.rows)

        self._write(write)
        reach("journal.accepted")

    def delivered(self, collector: str, stream: str, shards: Sequence[int], receipts: Sequence[Receipt]) -> None:
        """A stream has receipts for these shards, in the same order."""
        now = time.time_ns()

        def write(db: sqlite3.Connection) -> None:
            loaded = rows = quarantined = 0
            for created_ns, receipt in zip(shards, receipts, strict=True):
                outcome = "quarantined" if receipt.quarantined and not receipt.rows else "loaded"
                refused = _still_refused(db, (collector, stream, receipt.batch_id), receipt)
                changed = db.execute(
                    "UPDATE deliveries SET outcome = ?, rows = ?, quarantined = ?, at_ns = ?"
                    " WHERE collector = ? AND stream = ? AND created_ns = ? AND outcome IN ('waiting', 'parked')",
                    (outcome, receipt.rows, refused, now, collector, stream, created_ns),
                ).rowcount
                if changed:
                    loaded += 1
                    rows += receipt.rows
                    quarantined += refused
            _stream(db, collector, stream, batches=loaded, rows=rows, quarantined=quarantined)
            db.execute(
                "UPDATE streams SET state = 'ok', cause = NULL, retry_ns = NULL, last_success_ns = ?"
                " WHERE collector = ? AND stream = ?",
                (now, collector, stream),
            )

        self._write(write)
        reach("journal.delivered")

    def found(self, collector: str, stream: str, created_ns: int, rows: int) -> None:
        """The place has so many rows of a batch whose receipt was missed; the others it had refused."""
        place = (rows, time.time_ns(), rows, collector, stream, created_ns)
        self._write(
            lambda db: db.execute(
                "UPDATE deliveries SET outcome = 'loaded', rows = ?, at_ns = ?, quarantined = max(0, coalesce("
                "(SELECT b.rows FROM batches b WHERE b.batch_id = deliveries.batch_id), 0) - ?"
                " - coalesce((SELECT r.rows FROM replays r WHERE r.collector = deliveries.collector"
                " AND r.stream = deliveries.stream AND r.origin_batch = deliveries.batch_id), 0))"
                " WHERE collector = ? AND stream = ? AND created_ns = ? AND outcome IN ('waiting', 'parked')",
                place,
            )
        )

    def replayed(self, collector: str, origin: str, batch_id: str, rows: int) -> None:
        """The rows of a file of refused rows (its path relative to STORE) are in another batch now."""
        self._write(lambda db: _replayed(db, collector, origin, batch_id, rows))

    def in_quarantine(self, collector: str, stream: str) -> list[tuple[str, int, int]]:
        """(batch id, created_ns, rows) of a stream's batches of which rows are in quarantine, oldest first."""
        return self._found(
            "SELECT d.batch_id, d.created_ns, coalesce(d.quarantined, b.rows, 0) FROM deliveries d"
            " LEFT JOIN batches b ON b.batch_id = d.batch_id"
            " WHERE d.collector = ? AND d.stream = ? AND (d.quarantined > 0"
            " OR (d.outcome = 'quarantined' AND d.quarantined IS NULL)) ORDER BY d.created_ns",
            (collector, stream),
        )

    def given_up(self, collector: str, stream: str, batch_id: str, rows: int) -> bool:
        """So many rows of a batch, in quarantine until now, are purged; False if that can't be written now.

        On disk when the call returns: the file that says they are in quarantine goes next.
        """
        place = (collector, stream, batch_id)
        return self._write_safely(lambda db: _left(db, place, _GIVEN_UP, rows, "purged"))

    def shard_given_up(self, collector: str, stream: str, created_ns: int) -> bool:
        """As ``given_up``, for a shard that was damaged before any stream had it."""
        place = (time.time_ns(), collector, stream, created_ns)
        return self._write_safely(
            lambda db: db.execute(
                "UPDATE deliveries SET outcome = 'purged', at_ns = ? WHERE collector = ? AND stream = ?"
                " AND created_ns = ? AND outcome IN ('waiting', 'parked')",
                place,
            )
        )

    def _write_safely(self, write: Write) -> bool:
        """Whether it is written, and on disk."""
        if not self._write(write, keep=False):
            return False
        self._found("PRAGMA wal_checkpoint(PASSIVE)", ())  # it flushes what was written
        return True

    def waits_again(self, headers: Sequence[Header], stream: str) -> None:
        """Kept shards wait for a stream once more: what they brought it before counts no longer."""

        def write(db: sqlite3.Connection) -> None:
            for header in headers:
                place = (header.collector, stream, header.created_ns)
                db.execute(
                    "INSERT INTO batches VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (header.batch_id, header.collector, header.created_ns, header.rows),
                )
                before = db.execute(
                    "SELECT coalesce(rows, 0), coalesce(quarantined, 0) FROM deliveries"
                    " WHERE collector = ? AND stream = ? AND created_ns = ? AND outcome IN ('loaded', 'quarantined')",
                    place,
                ).fetchone()
                if before is not None:
                    _stream(db, *place[:2], batches=-1, rows=-before[0], quarantined=-before[1])
                # Refused rows are refused again, and in quarantine again.
                db.execute(
                    "DELETE FROM replays WHERE collector = ? AND stream = ? AND origin_batch = ?",
                    (*place[:2], header.batch_id),
                )
                db.execute(
                    "INSERT INTO deliveries (collector, stream, created_ns, batch_id, outcome)"
                    " VALUES (?, ?, ?, ?, 'waiting') ON CONFLICT DO UPDATE"
                    " SET outcome = 'waiting', rows = NULL, quarantined = NULL, at_ns = NULL",
                    (*place, header.batch_id),
                )

        self._write(write)

    def with_outcome(self, collector: str, stream: str, outcome: str) -> set[int]:
        """``created_ns`` of a stream's batches with this outcome. Raises StoreError while it can't be read."""
        return self._shards(
            "SELECT created_ns FROM deliveries WHERE collector = ? AND stream = ? AND outcome = ?",
            (collector, stream, outcome),
        )

    def superseded(self, collector: str, stream: str, shards: Sequence[int]) -> None:
        """These shards were not loaded: a younger one replaces all they would have brought."""
        now = time.time_ns()
        rows = [(now, collector, stream, created_ns) for created_ns in shards]
        self._write(
            lambda db: db.executemany(
                "UPDATE deliveries SET outcome = 'superseded', at_ns = ?"
                " WHERE collector = ? AND stream = ? AND created_ns = ? AND outcome IN ('waiting', 'parked')",
                rows,
            )
        )

    def outcome(
        self,
        collector: str,
        stream: str,
        created_ns: int,
        outcome: str,
        *,
        of: tuple[str, ...] = ("waiting", "parked"),
    ) -> None:
        """A shard was parked, set aside whole, or removed by someone. One that was loaded stays loaded."""
        self._write(
            lambda db: db.execute(
                "UPDATE deliveries SET outcome = ?, at_ns = ? WHERE collector = ? AND stream = ? AND created_ns = ?"
                f" AND outcome IN ({', '.join('?' * len(of))})",
                (outcome, time.time_ns(), collector, stream, created_ns, *of),
            )
        )

    def stream_state(
        self, collector: str, stream: str, state: str, cause: str | None = None, retry_s: float | None = None
    ) -> None:
        """How a stream is now: ok, retrying, down, stopped; with the cause and when it tries again."""
        cause = _writable(cause)
        retry_ns = None if retry_s is None else time.time_ns() + int(retry_s * 1e9)

        def write(db: sqlite3.Connection) -> None:
            _stream(db, collector, stream)
            db.execute(
                "UPDATE streams SET state = ?, cause = ?, retry_ns = ? WHERE collector = ? AND stream = ?",
                (state, cause, retry_ns, collector, stream),
            )

        self._write(write)

    def run(
        self,
        collector: str,
        *,
        started_ns: int,
        duration_s: float,
        outcome: str,
        batches: int,
        rows: int,
        cause: str | None,
        steps: Sequence[Mapping[str, object]],
        next_run_ns: int | None,
    ) -> None:
        """A poll ended: ``outcome`` is ok, failed, abandoned, paused, stopped, or waiting for a file its form merges.

        ``next_run_ns`` is when it is due next, as wall-clock nanoseconds.
        """
        failed = int(outcome in ("failed", "abandoned"))
        text, cause = json.dumps(steps), _writable(cause)

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (collector, started_ns, duration_s, outcome, batches, rows, cause, text),
            )
            _collector(db, collector, polls=1, failures=failed)
            _add_steps(db, collector, started_ns, steps)
            db.execute(
                "UPDATE collectors SET state = ?, cause = ?, next_run_ns = ?,"
                " last_success_ns = CASE ? WHEN 'ok' THEN ? ELSE last_success_ns END,"
                " steps = CASE ? WHEN '[]' THEN steps ELSE ? END WHERE collector = ?",
                (outcome, cause, next_run_ns, outcome, time.time_ns(), text, text, collector),
            )

        self._write(write)

    def skipped(self, collector: str) -> None:
        """A collector was due while its last poll was still running."""
        self._write(lambda db: _collector(db, collector, skips=1))

    def declare(
        self, collectors: Iterable[tuple[str, float, float | None]], streams: Iterable[tuple[str, str, str]]
    ) -> None:
        """What this daemon runs: (collector, seconds, fresh_within_s) and (collector, stream directory, target)."""
        now = time.time_ns()

        def write(db: sqlite3.Connection) -> None:
            db.execute("UPDATE collectors SET seconds = NULL, next_run_ns = NULL, state = NULL, cause = NULL")
            db.execute("UPDATE streams SET target = NULL")
            for name, seconds, fresh_within_s in collectors:
                _collector(db, name)
                db.execute(
                    # Kept over restarts: one that never succeeds gets no younger by them.
                    "UPDATE collectors SET seconds = ?, fresh_within_s = ?, declared_ns = COALESCE(declared_ns, ?),"
                    " state = NULL, cause = NULL WHERE collector = ?",
                    (seconds, fresh_within_s, now, name),
                )
            db.execute("UPDATE collectors SET declared_ns = NULL WHERE seconds IS NULL")
            for name, stream, target in streams:
                _stream(db, name, stream)
                db.execute(
                    "UPDATE streams SET target = ?, state = 'ok', cause = NULL, retry_ns = NULL"
                    " WHERE collector = ? AND stream = ?",
                    (target, name, stream),
                )

        self._write(write)

    def collector_state(self, collector: str, state: str, cause: str | None) -> None:
        """A collector that isn't run, broken or disabled, and why."""
        cause = _writable(cause)

        def write(db: sqlite3.Connection) -> None:
            _collector(db, collector)
            db.execute("UPDATE collectors SET state = ?, cause = ? WHERE collector = ?", (state, cause, collector))

        self._write(write)

    def note(self, **values: object) -> None:
        """Facts about the daemon itself: pid, started_ns, heartbeat_ns, heartbeat_steady_ns, stuck_polls."""
        rows = list(values.items())
        self._write(lambda db: db.executemany("INSERT OR REPLACE INTO daemon VALUES (?, ?)", rows))

    def waiting(self, collector: str, stream: str) -> set[int]:
        """``created_ns`` of the batches whose outcome isn't known here; none while the journal can't be read."""
        try:
            return self._shards(
                "SELECT created_ns FROM deliveries WHERE collector = ? AND stream = ?"
                " AND outcome IN ('waiting', 'parked')",
                (collector, stream),
            )
        except StoreError as error:
            log.warning("journal can't be read, shards that wait are told to it again cause=%s", error)
            return set()

    def _shards(self, query: str, of: tuple[str, ...]) -> set[int]:
        return {created_ns for (created_ns,) in self._found(query, of)}

    def _found(self, query: str, of: tuple[str, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(query, of).fetchall()
            except sqlite3.OperationalError as error:
                raise StoreError(f"{self._path} can't be read now: {error}; run the command again later") from error

    def fold(self, collector: str, stream: str, until_ns: int) -> bool:
        """Sum up a stream's lines up to that ``created_ns``, all of them with an outcome, and remove them.

        False if the journal can't be written now: nothing has changed, and nothing waits to be.
        """
        return self._write(lambda db: _fold(db, collector, stream, until_ns), keep=False)

    def prune(self) -> None:
        """Drop all but the newest runs of each collector, as they were written down, whatever the clock said."""
        self._write(
            lambda db: db.execute(
                "DELETE FROM runs WHERE rowid IN (SELECT rowid FROM (SELECT rowid, row_number() OVER"
                " (PARTITION BY collector ORDER BY rowid DESC) AS place FROM runs) WHERE place > ?)",
                (RUNS_KEPT,),
            )
        )

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def _write(self, write: Write, *, keep: bool = True) -> bool:
        """True once it is written. One that can't be is repeated with the next, unless it isn't to be kept."""
        with self._lock:
            if not keep and self._failures:
                return False
            self._unwritten.append(write)
            try:
                db = self._connection
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


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, safe beside a running daemon. Raises sqlite3.DatabaseError.

    Not ``mode=ro``: the last reader of a WAL database must be able to tidy its side files away. Someone who may not
    write can't have a WAL database opened, unless it is taken as never changing.
    """
    mode = "mode=rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "immutable=1"
    db = sqlite3.connect(f"file:{path}?{mode}", uri=True, timeout=10, isolation_level=None)
    db.execute("PRAGMA query_only = ON")
    return db


def _open(path: Path) -> sqlite3.Connection:
    # isolation_level=None: transactions are begun and ended in Journal._write, and nowhere else.
    # A short wait: whoever reads the journal with a lock must not hold up loads and polls; lines are kept meanwhile.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _writable(text: str | None) -> str | None:
    """A cause as it may be kept: without secrets, and without lone surrogates, which SQLite doesn't take."""
    return None if text is None else redact(text).encode("utf-8", "backslashreplace").decode()


def _collector(db: sqlite3.Connection, name: str, **add: int) -> None:
    """Make sure of the row and add to its sums."""
    db.execute("INSERT INTO collectors (collector) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    if add:
        sums = ", ".join(f"{column} = {column} + ?" for column in add)
        db.execute(f"UPDATE collectors SET {sums} WHERE collector = ?", (*add.values(), name))


# In place of the batch that has rows which left quarantine: nobody has them.
_GIVEN_UP = ""

_MINE = (
    "collector = :collector AND stream = :stream AND created_ns <= :until_ns AND outcome NOT IN ('waiting', 'parked')"
)


def _fold(db: sqlite3.Connection, collector: str, stream: str, until_ns: int) -> None:
    names = {"collector": collector, "stream": stream, "until_ns": until_ns}
    found = db.execute(
        "SELECT d.created_ns, d.batch_id, d.outcome, coalesce(d.rows, 0), coalesce(d.quarantined, 0),"
        " coalesce(b.rows, coalesce(d.rows, 0) + coalesce(d.quarantined, 0)), coalesce(r.rows, 0), r.batch_id"
        f" FROM (SELECT * FROM deliveries WHERE {_MINE}) d LEFT JOIN batches b ON b.batch_id = d.batch_id"
        " LEFT JOIN replays r ON r.collector = d.collector AND r.stream = d.stream AND r.origin_batch = d.batch_id",
        names,
    ).fetchall()
    sums = dict.fromkeys(("batches", "accepted", "loaded", "quarantined", "replayed", "superseded", "purged"), 0)
    for _, _, outcome, rows, quarantined, accepted, left, left_for in found:
        sums["batches"] += 1
        sums["accepted"] += accepted
        if left:
            sums["purged" if left_for == _GIVEN_UP else "replayed"] += left
        if outcome == "loaded":
            sums["loaded"] += rows
            sums["quarantined"] += quarantined
        elif outcome == "quarantined":
            sums["quarantined"] += accepted - left
        else:
            # What someone removed was named for as long as the history is; from now on it counts as given up.
            sums["purged" if outcome == "removed" else outcome] += accepted
    db.execute(
        "INSERT INTO totals VALUES (:collector, :stream, :batches, :accepted, :loaded, :quarantined, :replayed,"
        " :superseded, :purged, :until_ns) ON CONFLICT DO UPDATE SET "
        + ", ".join(f"{column} = {column} + excluded.{column}" for column in sums)
        + ", until_ns = max(until_ns, excluded.until_ns)",
        {**names, **sums},
    )
    db.execute(f"DELETE FROM deliveries WHERE {_MINE}", names)
    # Their lines in ``replays`` stay: by them it is known that rows have left quarantine, whoever says it once more.
    streams = json.dumps(_streams_of(db, collector))
    db.executemany(
        "DELETE FROM batches WHERE batch_id = ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE collector = ?"
        " AND stream IN (SELECT value FROM json_each(?)) AND created_ns = ?)",
        [(batch_id, collector, streams, created_ns) for created_ns, batch_id, *_ in found],
    )


def _streams_of(db: sqlite3.Connection, collector: str) -> list[str]:
    """The streams a collector has lines of: a step along the key for each, however many lines there are."""
    found: list[str] = []
    query = "SELECT min(stream) FROM deliveries WHERE collector = ? AND stream > ?"
    while stream := db.execute(query, (collector, found[-1] if found else "")).fetchone()[0]:
        found.append(stream)
    return found


def _add_steps(db: sqlite3.Connection, collector: str, started_ns: int, steps: Sequence[Mapping[str, object]]) -> None:
    counts = [
        (collector, step["step"], place, *(step[word] for word in ("rows_in", "rows_out", "nulled", "replaced")))
        for place, step in enumerate(steps)
    ]
    db.executemany(
        "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET place = excluded.place,"
        " rows_in = rows_in + excluded.rows_in, rows_out = rows_out + excluded.rows_out,"
        " nulled = nulled + excluded.nulled, replaced = replaced + excluded.replaced",
        [(*count, started_ns) for count in counts],
    )


def _stream(db: sqlite3.Connection, collector: str, stream: str, **add: int) -> None:
    db.execute("INSERT INTO streams (collector, stream) VALUES (?, ?) ON CONFLICT DO NOTHING", (collector, stream))
    if add:
        sums = ", ".join(f"{column} = {column} + ?" for column in add)
        db.execute(
            f"UPDATE streams SET {sums} WHERE collector = ? AND stream = ?",
            (*add.values(), collector, stream),
        )


def _replayed(db: sqlite3.Connection, collector: str, origin: str, batch_id: str, rows: int) -> None:
    """Rows count once: they leave the quarantine of the batch they came with, and the new batch counts by itself."""
    _, _, stream, name = origin.split("/")
    origin_batch, _, suffix = name.partition(".")
    if suffix == "parquet":  # held rows and payloads were never accepted
        _left(db, (collector, stream, origin_batch), batch_id, rows, "replayed")


def _left(db: sqlite3.Connection, place: tuple[str, str, str], batch_id: str, rows: int, word: str) -> None:
    """Rows of the batch at ``place`` (collector, stream, batch id) aren't in quarantine any more. Repeatable.

    batch_id  which batch has them now
    word      the column of the sums in which they count, where the batch's own line is summed up
    """
    mine = "collector = ? AND stream = ? AND"
    line = db.execute(
        "SELECT d.quarantined, CASE d.outcome WHEN 'quarantined' THEN coalesce(d.quarantined, b.rows)"
        " ELSE d.quarantined END FROM deliveries d LEFT JOIN batches b ON b.batch_id = d.batch_id"
        " WHERE d.collector = ? AND d.stream = ? AND d.batch_id = ?",
        place,
    ).fetchone()
    before = db.execute(f"SELECT batch_id, rows FROM replays WHERE {mine} origin_batch = ?", place).fetchone()
    if line is not None and line[1]:
        rows = line[1]
        db.execute(f"UPDATE deliveries SET quarantined = 0 WHERE {mine} batch_id = ?", place)
        _stream(db, *place[:2], quarantined=-(line[0] or 0))  # a shard set aside whole isn't in that sum
    elif before is not None and before[0] == _GIVEN_UP and batch_id != _GIVEN_UP:
        # Given up, and found again: its file was somewhere else.
        rows = before[1]
        if line is None:
            _move_sum(db, place, "purged", word, rows)
    elif line is None and before is None:
        _move_sum(db, place, "quarantined", word, rows)
    elif line is not None and line[1] is None and before is None:
        pass  # killed before its receipt was written down
    else:
        return  # told already
    db.execute("INSERT OR REPLACE INTO replays VALUES (?, ?, ?, ?, ?, ?)", (*place, batch_id, rows, time.time_ns()))


def _still_refused(db: sqlite3.Connection, place: tuple[str, str, str], receipt: Receipt) -> int:
    """Rows in quarantine by this receipt: all, if they were refused just now; else without those that left since."""
    if not receipt.quarantined:
        return 0
    mine = "collector = ? AND stream = ? AND origin_batch = ?"
    if not receipt.duplicate:
        db.execute(f"DELETE FROM replays WHERE {mine}", place)
        return receipt.quarantined
    left = db.execute(f"SELECT rows FROM replays WHERE {mine}", place).fetchone()
    return max(0, receipt.quarantined - (left[0] if left else 0))


def _move_sum(db: sqlite3.Connection, place: tuple[str, str, str], source: str, target: str, rows: int) -> None:
    """Of what is summed up so many rows, at most all there are, count in another column."""
    db.execute(
        f"UPDATE totals SET {source} = {source} - min({source}, :rows), {target} = {target} + min({source}, :rows)"
        " WHERE collector = :collector AND stream = :stream",
        {"rows": rows, "collector": place[0], "stream": place[1]},
    )

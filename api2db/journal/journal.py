"""``Journal``: what happens to batches, collectors and streams, written down."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from api2db.batch import Receipt
from api2db.errors import StoreError
from api2db.failpoint import reach
from api2db.journal.file import JournalFile
from api2db.journal.sums import (
    GIVEN_UP,
    LEFT_QUARANTINE,
    add_steps,
    add_to_collector,
    add_to_stream,
    fold,
    rows_left,
    rows_replayed,
    set_elsewhere,
    still_refused,
)
from api2db.secret import redact
from api2db.shard import Header

log = logging.getLogger(__name__)

# Runs are kept for people: the newest of each collector; the sums beside them are never pruned.
RUNS_KEPT = 1000


class Again(NamedTuple):
    """A kept batch that waits for a stream once more.

    elsewhere   rows that it waits without: how many of them are in which other batch
    refused     those that are in quarantine
    superseded  batches that had rows of it, and are given up for those
    """

    header: Header
    elsewhere: Mapping[str, int]
    refused: int
    superseded: Sequence[str]


class Journal:
    """The one writer of the journal. Safe to use from any thread; what can't be written now is written later."""

    def __init__(self, path: Path) -> None:
        self._file = JournalFile(path)

    def accepted(self, header: Header) -> None:
        """A batch is safe in the spool and waits for each of its streams. Repeating it changes nothing."""

        def write(db: sqlite3.Connection) -> None:
            fresh = db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (header.batch_id, header.collector, header.created_ns, header.rows),
            ).rowcount
            if fresh:
                add_to_collector(db, header.collector, batches=1, rows=header.rows)
            db.executemany(
                "INSERT INTO deliveries (collector, stream, created_ns, batch_id, outcome)"
                " VALUES (?, ?, ?, ?, 'waiting') ON CONFLICT DO NOTHING",
                [(header.collector, s, header.created_ns, header.batch_id) for s in header.streams],
            )
            if header.origin is not None:
                rows = header.rows if header.origin_rows is None else len(header.origin_rows)
                rows_replayed(db, header.collector, header.origin, header.batch_id, rows)

        self._file.write(write)
        reach("journal.accepted")

    def delivered(self, collector: str, stream: str, shards: Sequence[int], receipts: Sequence[Receipt]) -> None:
        """A stream has receipts for these shards, in the same order."""
        now = time.time_ns()

        def write(db: sqlite3.Connection) -> None:
            loaded = rows = quarantined = 0
            for created_ns, receipt in zip(shards, receipts, strict=True):
                outcome = "quarantined" if receipt.quarantined and not receipt.rows else "loaded"
                refused = still_refused(db, collector, stream, created_ns, receipt)
                changed = db.execute(
                    "UPDATE deliveries SET outcome = ?, rows = ?, quarantined = ?, at_ns = ?"
                    " WHERE collector = ? AND stream = ? AND created_ns = ? AND outcome IN ('waiting', 'parked')",
                    (outcome, receipt.rows, refused, now, collector, stream, created_ns),
                ).rowcount
                if changed:
                    loaded += 1
                    rows += receipt.rows
                    quarantined += refused
            add_to_stream(db, collector, stream, batches=loaded, rows=rows, quarantined=quarantined)
            db.execute(
                "UPDATE streams SET state = 'ok', cause = NULL, retry_ns = NULL, last_success_ns = ?"
                " WHERE collector = ? AND stream = ?",
                (now, collector, stream),
            )

        self._file.write(write)
        reach("journal.delivered")

    def found(self, collector: str, stream: str, created_ns: int, rows: int) -> None:
        """The place has so many rows of a batch whose receipt was missed; the others it had refused."""
        place = (rows, time.time_ns(), rows, collector, stream, created_ns)
        self._file.write(
            lambda db: db.execute(
                "UPDATE deliveries SET outcome = 'loaded', rows = ?, at_ns = ?, quarantined = max(0, coalesce("
                "(SELECT b.rows FROM batches b WHERE b.batch_id = deliveries.batch_id), 0) - ?"
                " - coalesce((SELECT sum(r.rows) FROM replays r WHERE r.collector = deliveries.collector"
                " AND r.stream = deliveries.stream AND r.origin_batch = deliveries.batch_id), 0))"
                " WHERE collector = ? AND stream = ? AND created_ns = ?"
                " AND outcome IN ('waiting', 'parked', 'removed')",
                place,
            )
        )

    def replayed(self, collector: str, origin: str, batch_id: str, rows: int) -> None:
        """The rows of a file of refused rows (its path relative to STORE) are in another batch now."""
        self._file.write(lambda db: rows_replayed(db, collector, origin, batch_id, rows))

    def in_quarantine(self, collector: str, stream: str) -> list[tuple[str, int, int]]:
        """(batch id, created_ns, rows) of a stream's batches of which rows are in quarantine, oldest first."""
        return self._file.rows(
            "SELECT d.batch_id, d.created_ns, coalesce(d.quarantined, b.rows - coalesce(r.replayed + r.purged, 0), 0)"
            f" FROM deliveries d LEFT JOIN batches b ON b.batch_id = d.batch_id {LEFT_QUARANTINE}"
            " WHERE d.collector = ? AND d.stream = ? AND (d.quarantined > 0"
            " OR (d.outcome = 'quarantined' AND d.quarantined IS NULL)) ORDER BY d.created_ns",
            (collector, stream),
        )

    def given_up(self, collector: str, stream: str, batch_id: str, rows: int) -> bool:
        """So many rows of a batch, in quarantine until now, are purged; False if that can't be written now.

        On disk when the call returns: the file that says they are in quarantine goes next.
        """
        place = (collector, stream, batch_id)
        return self._file.write_safely(lambda db: rows_left(db, place, GIVEN_UP, rows, "purged"))

    def shard_given_up(self, collector: str, stream: str, created_ns: int) -> bool:
        """As ``given_up``, for a whole shard: damaged before any stream had it, or removed before it was delivered."""
        place = (time.time_ns(), collector, stream, created_ns)
        return self._file.write_safely(
            lambda db: db.execute(
                "UPDATE deliveries SET outcome = 'purged', at_ns = ? WHERE collector = ? AND stream = ?"
                " AND created_ns = ? AND outcome IN ('waiting', 'parked', 'removed')",
                place,
            )
        )

    def replays(self, collector: str, stream: str) -> list[tuple[str, str, str]]:
        """(batch, the batch that has rows of it, that one's outcome or "") of all whose refused rows were replayed."""
        return self._file.rows(
            "SELECT r.origin_batch, r.batch_id, coalesce(d.outcome, '') FROM replays r"
            " LEFT JOIN batches b ON b.batch_id = r.batch_id LEFT JOIN deliveries d ON d.collector = r.collector"
            " AND d.stream = r.stream AND d.created_ns = b.created_ns"
            " WHERE r.collector = ? AND r.stream = ? AND r.batch_id <> ''",
            (collector, stream),
        )

    def waits_again(self, again: Sequence[Again], stream: str) -> None:
        """Kept shards wait for a stream once more: what they brought it before counts no longer."""

        def write(db: sqlite3.Connection) -> None:
            for header, elsewhere, refused, superseded in again:
                place = (header.collector, stream, header.created_ns)
                db.execute(
                    "INSERT INTO batches VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (batch_id) DO UPDATE SET rows = max(rows, excluded.rows)",
                    (header.batch_id, header.collector, header.created_ns, header.rows),
                )
                _uncount(db, "created_ns", place)
                set_elsewhere(db, (header.collector, stream, header.batch_id), elsewhere)
                db.execute(
                    "INSERT INTO deliveries (collector, stream, created_ns, batch_id, outcome, quarantined)"
                    " VALUES (?, ?, ?, ?, 'waiting', ?) ON CONFLICT DO UPDATE SET outcome = 'waiting', rows = NULL,"
                    " quarantined = excluded.quarantined, at_ns = NULL, target = NULL",
                    (*place, header.batch_id, refused or None),
                )
                for batch_id in superseded:
                    _uncount(db, "batch_id", (header.collector, stream, batch_id))
                    db.execute(
                        "UPDATE deliveries SET outcome = 'superseded', rows = NULL, quarantined = NULL, at_ns = ?"
                        " WHERE collector = ? AND stream = ? AND batch_id = ?",
                        (time.time_ns(), header.collector, stream, batch_id),
                    )

        self._file.write(write)

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
        self._file.write(
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
        self._file.write(
            lambda db: db.execute(
                "UPDATE deliveries SET outcome = ?, at_ns = ?, quarantined = CASE ? WHEN 'quarantined' THEN NULL"
                " ELSE quarantined END WHERE collector = ? AND stream = ? AND created_ns = ?"
                f" AND outcome IN ({', '.join('?' * len(of))})",
                (outcome, time.time_ns(), outcome, collector, stream, created_ns, *of),
            )
        )

    def stream_state(
        self, collector: str, stream: str, state: str, cause: str | None = None, retry_s: float | None = None
    ) -> None:
        """How a stream is now: ok, retrying, down, stopped; with the cause and when it tries again."""
        cause = _writable(cause)
        retry_ns = None if retry_s is None else time.time_ns() + int(retry_s * 1e9)

        def write(db: sqlite3.Connection) -> None:
            add_to_stream(db, collector, stream)
            db.execute(
                "UPDATE streams SET state = ?, cause = ?, retry_ns = ? WHERE collector = ? AND stream = ?",
                (state, cause, retry_ns, collector, stream),
            )

        self._file.write(write)

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
            add_to_collector(db, collector, polls=1, failures=failed)
            add_steps(db, collector, started_ns, steps)
            db.execute(
                "UPDATE collectors SET state = ?, cause = ?, next_run_ns = ?,"
                " last_success_ns = CASE ? WHEN 'ok' THEN ? ELSE last_success_ns END,"
                " steps = CASE ? WHEN '[]' THEN steps ELSE ? END WHERE collector = ?",
                (outcome, cause, next_run_ns, outcome, time.time_ns(), text, text, collector),
            )

        self._file.write(write)

    def next_run(self, collector: str, at_ns: int | None) -> None:
        """A collector is due next at ``at_ns``, as wall-clock nanoseconds; None: not again."""
        self._file.write(
            lambda db: db.execute("UPDATE collectors SET next_run_ns = ? WHERE collector = ?", (at_ns, collector))
        )

    def last_run(self, collector: str) -> int:
        """The number of its newest run; 0 before the first. Raises StoreError while the journal can't be read."""
        found = self._file.rows("SELECT coalesce(max(rowid), 0) FROM runs WHERE collector = ?", (collector,))
        return int(found[0][0])

    def skipped(self, collector: str) -> None:
        """A collector was due while its last poll was still running."""
        self._file.write(lambda db: add_to_collector(db, collector, skips=1))

    def declare(
        self,
        collectors: Iterable[tuple[str, float, float | None]],
        streams: Iterable[tuple[str, str, str]],
        *,
        schedules: Mapping[str, str] | None = None,
    ) -> None:
        """What this daemon runs: (collector, seconds, fresh_within_s) and (collector, stream directory, target).

        schedules  collector -> its schedule, as people read it
        """
        now, texts = time.time_ns(), schedules or {}

        def write(db: sqlite3.Connection) -> None:
            db.execute("UPDATE collectors SET seconds = NULL, next_run_ns = NULL, state = NULL, cause = NULL")
            db.execute("UPDATE streams SET target = NULL")
            for name, seconds, fresh_within_s in collectors:
                add_to_collector(db, name)
                db.execute(
                    # Kept over restarts: one that never succeeds gets no younger by them.
                    "UPDATE collectors SET seconds = ?, fresh_within_s = ?, declared_ns = COALESCE(declared_ns, ?),"
                    " state = NULL, cause = NULL, schedule = ? WHERE collector = ?",
                    (seconds, fresh_within_s, now, texts.get(name), name),
                )
            db.execute("UPDATE collectors SET declared_ns = NULL WHERE seconds IS NULL")
            for name, stream, target in streams:
                add_to_stream(db, name, stream)
                db.execute(
                    "UPDATE streams SET target = ?, state = 'ok', cause = NULL, retry_ns = NULL"
                    " WHERE collector = ? AND stream = ?",
                    (target, name, stream),
                )

        self._file.write(write)

    def collector_state(self, collector: str, state: str, cause: str | None) -> None:
        """A collector that isn't run, broken or disabled, or that waits, and why."""
        cause = _writable(cause)

        def write(db: sqlite3.Connection) -> None:
            add_to_collector(db, collector)
            db.execute("UPDATE collectors SET state = ?, cause = ? WHERE collector = ?", (state, cause, collector))

        self._file.write(write)

    def note(self, **values: object) -> None:
        """Facts about the daemon itself: pid, started_ns, heartbeat_ns, heartbeat_steady_ns, stuck_polls, polling."""
        rows = list(values.items())
        self._file.write(lambda db: db.executemany("INSERT OR REPLACE INTO daemon VALUES (?, ?)", rows))

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

    def known(self, collector: str, stream: str, since_ns: int) -> set[int]:
        """``created_ns`` of a stream's lines from there on. Raises StoreError while it can't be read."""
        return self._shards(
            "SELECT created_ns FROM deliveries WHERE collector = ? AND stream = ? AND created_ns >= ?",
            (collector, stream, since_ns),
        )

    def streams(self, collector: str) -> list[str]:
        """The streams that a collector has, or had. Raises as ``known``."""
        found = self._file.rows("SELECT stream FROM streams WHERE collector = ? ORDER BY stream", (collector,))
        return [str(stream) for (stream,) in found]

    def rows_of(self, batch_ids: Iterable[str]) -> int:
        """How many rows these batches had, as far as they are known. Raises as ``known``."""
        query = "SELECT coalesce(sum(rows), 0) FROM batches WHERE batch_id IN (SELECT value FROM json_each(?))"
        return int(self._file.rows(query, (json.dumps(list(batch_ids)),))[0][0])

    def place(self, collector: str, stream: str) -> str | None:
        """The target that a stream's deliveries went to; None before the first. Raises as ``known``."""
        found = self._file.rows("SELECT place FROM streams WHERE collector = ? AND stream = ?", (collector, stream))
        return found[0][0] if found else None

    def loaded(self, collector: str, stream: str, after_ns: int, limit: int) -> list[tuple[int, str]]:
        """(created_ns, batch id) of batches that are in ``place``, oldest first. Raises as ``known``."""
        query = (
            "SELECT created_ns, batch_id FROM deliveries WHERE collector = ? AND stream = ? AND created_ns > ?"
            " AND outcome = 'loaded' AND target IS NULL ORDER BY created_ns LIMIT ?"
        )
        return self._file.rows(query, (collector, stream, after_ns, limit))

    def goes_to(self, collector: str, stream: str, target: str, *, elsewhere: str | None) -> None:
        """A stream's deliveries go to ``target`` from now on.

        elsewhere  where they went, if that is another place: what went there stays there. None if its data has moved
        """

        def write(db: sqlite3.Connection) -> None:
            name = (collector, stream)
            add_to_stream(db, *name)
            if elsewhere is not None:
                db.execute(
                    "UPDATE deliveries SET target = ? WHERE collector = ? AND stream = ? AND target IS NULL"
                    " AND outcome NOT IN ('waiting', 'parked', 'removed')",
                    (elsewhere, *name),
                )
            db.execute(
                "UPDATE deliveries SET target = NULL WHERE collector = ? AND stream = ? AND target = ?", (*name, target)
            )
            db.execute("UPDATE streams SET place = ? WHERE collector = ? AND stream = ?", (target, *name))

        self._file.write(write)

    def batch_ids(self, collector: str, stream: str) -> set[str]:
        """The ids of a stream's batches, whatever became of them; without those summed up. Raises as ``known``."""
        query = "SELECT batch_id FROM deliveries WHERE collector = ? AND stream = ?"
        return {batch_id for (batch_id,) in self._file.rows(query, (collector, stream))}

    def summed_until(self, collector: str, stream: str) -> int:
        """``created_ns`` of the newest line that was summed up; 0 if none was. Raises as ``known``."""
        found = self._file.rows("SELECT until_ns FROM totals WHERE collector = ? AND stream = ?", (collector, stream))
        return int(found[0][0]) if found else 0

    def without_outcome(self, collector: str, stream: str) -> dict[int, str]:
        """``created_ns`` and id of the batches whose rows the journal can't place. Raises as ``known``."""
        query = (
            "SELECT created_ns, batch_id FROM deliveries WHERE collector = ? AND stream = ?"
            " AND outcome IN ('waiting', 'parked', 'removed')"
        )
        return dict(self._file.rows(query, (collector, stream)))

    def _shards(self, query: str, of: tuple[object, ...]) -> set[int]:
        return {created_ns for (created_ns,) in self._file.rows(query, of)}

    def fold(self, collector: str, stream: str, until_ns: int) -> bool:
        """Sum up a stream's lines up to that ``created_ns``, all of them with an outcome, and remove them.

        False if the journal can't be written now: nothing has changed, and nothing waits to be.
        """
        return self._file.write(lambda db: fold(db, collector, stream, until_ns), keep=False)

    def prune(self) -> None:
        """Drop all but the newest runs of each collector, as they were written down, whatever the clock said."""
        self._file.write(
            lambda db: db.execute(
                "DELETE FROM runs WHERE rowid IN (SELECT rowid FROM (SELECT rowid, row_number() OVER"
                " (PARTITION BY collector ORDER BY rowid DESC) AS place FROM runs) WHERE place > ?)",
                (RUNS_KEPT,),
            )
        )

    def close(self) -> None:
        self._file.close()


def _uncount(db: sqlite3.Connection, column: str, place: tuple[str, str, int | str]) -> None:
    """Take what a delivery brought out of its stream's sums: it is to come again, or not to count."""
    before = db.execute(
        "SELECT coalesce(rows, 0), coalesce(quarantined, 0) FROM deliveries WHERE collector = ? AND stream = ?"
        f" AND {column} = ? AND outcome IN ('loaded', 'quarantined')",
        place,
    ).fetchone()
    if before is not None:
        add_to_stream(db, *place[:2], batches=-1, rows=-before[0], quarantined=-before[1])


def _writable(text: str | None) -> str | None:
    """A cause as it may be kept: without secrets, and without lone surrogates, which SQLite doesn't take."""
    return None if text is None else redact(text).encode("utf-8", "backslashreplace").decode()

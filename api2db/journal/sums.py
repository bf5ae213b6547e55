"""What the journal adds up: a collector's and a stream's sums, what left quarantine, and lines older than the history.

Each function is part of a transaction of the journal's.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence

from api2db.batch import Receipt


def add_to_collector(db: sqlite3.Connection, name: str, **add: int) -> None:
    """Make sure of the row and add to its sums."""
    db.execute("INSERT INTO collectors (collector) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    if add:
        sums = ", ".join(f"{column} = {column} + ?" for column in add)
        db.execute(f"UPDATE collectors SET {sums} WHERE collector = ?", (*add.values(), name))


# In place of the batch that has rows which left quarantine: nobody has them.
GIVEN_UP = ""

# Of each delivery ``d`` the rows that left its quarantine: for another batch, or given up.
LEFT_QUARANTINE = (
    "LEFT JOIN (SELECT collector, stream, origin_batch, sum(CASE batch_id WHEN '' THEN 0 ELSE rows END) AS replayed,"
    " sum(CASE batch_id WHEN '' THEN rows ELSE 0 END) AS purged"
    " FROM replays GROUP BY collector, stream, origin_batch) r"
    " ON r.collector = d.collector AND r.stream = d.stream AND r.origin_batch = d.batch_id"
)

_MINE = (
    "collector = :collector AND stream = :stream AND created_ns <= :until_ns"
    " AND outcome NOT IN ('waiting', 'parked', 'removed')"
)


def fold(db: sqlite3.Connection, collector: str, stream: str, until_ns: int) -> None:
    names = {"collector": collector, "stream": stream, "until_ns": until_ns}
    found = db.execute(
        "SELECT d.created_ns, d.batch_id, d.outcome, coalesce(d.rows, 0), coalesce(d.quarantined, 0),"
        " coalesce(b.rows, coalesce(d.rows, 0) + coalesce(d.quarantined, 0)), coalesce(r.replayed, 0),"
        f" coalesce(r.purged, 0) FROM (SELECT * FROM deliveries WHERE {_MINE}) d"
        f" LEFT JOIN batches b ON b.batch_id = d.batch_id {LEFT_QUARANTINE}",
        names,
    ).fetchall()
    sums = dict.fromkeys(("batches", "accepted", "loaded", "quarantined", "replayed", "superseded", "purged"), 0)
    for _, _, outcome, rows, quarantined, accepted, replayed, purged in found:
        sums["batches"] += 1
        sums["accepted"] += accepted
        sums["replayed"] += replayed
        sums["purged"] += purged
        if outcome == "loaded":
            sums["loaded"] += rows
            sums["quarantined"] += quarantined
        elif outcome == "quarantined":
            sums["quarantined"] += accepted - replayed - purged
        else:
            sums[outcome] += accepted
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


def add_steps(db: sqlite3.Connection, collector: str, started_ns: int, steps: Sequence[Mapping[str, object]]) -> None:
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


def add_to_stream(db: sqlite3.Connection, collector: str, stream: str, **add: int) -> None:
    db.execute("INSERT INTO streams (collector, stream) VALUES (?, ?) ON CONFLICT DO NOTHING", (collector, stream))
    if add:
        sums = ", ".join(f"{column} = {column} + ?" for column in add)
        db.execute(
            f"UPDATE streams SET {sums} WHERE collector = ? AND stream = ?",
            (*add.values(), collector, stream),
        )


def rows_replayed(db: sqlite3.Connection, collector: str, origin: str, batch_id: str, rows: int) -> None:
    """Rows count once: they leave the quarantine of the batch they came with, and the new batch counts by itself."""
    _, _, stream, name = origin.split("/")
    origin_batch, _, suffix = name.partition(".")
    if suffix == "parquet":  # held rows and payloads were never accepted
        rows_left(db, (collector, stream, origin_batch), batch_id, rows, "replayed")


def rows_left(db: sqlite3.Connection, place: tuple[str, str, str], batch_id: str, rows: int, word: str) -> None:
    """Rows of the batch at ``place`` (collector, stream, batch id) aren't in quarantine any more. Repeatable.

    batch_id  which batch has them now
    rows      how many: of rows in quarantine those that are in nobody's file stay there
    word      the column of the sums in which they count, where the batch's own line is summed up
    """
    line = db.execute(
        "SELECT d.quarantined, CASE d.outcome WHEN 'quarantined' THEN coalesce(d.quarantined, b.rows - ?)"
        " ELSE d.quarantined END FROM deliveries d LEFT JOIN batches b ON b.batch_id = d.batch_id"
        " WHERE d.collector = ? AND d.stream = ? AND d.batch_id = ?",
        (sum(rows_elsewhere(db, place).values()), *place),
    ).fetchone()
    before = rows_elsewhere(db, place)
    given_up = before.get(GIVEN_UP, 0)
    if batch_id in before and batch_id != GIVEN_UP:
        return  # told already
    if line is not None and line[1]:
        rows = min(rows, line[1])
        db.execute(
            "UPDATE deliveries SET quarantined = ? WHERE collector = ? AND stream = ? AND batch_id = ?",
            (line[1] - rows, *place),
        )
        # A shard set aside whole isn't in that sum.
        add_to_stream(db, *place[:2], quarantined=0 if line[0] is None else -rows)
    elif given_up and batch_id != GIVEN_UP:
        # Given up, and found again: its file was somewhere else.
        rows = min(rows, given_up)
        if line is None:
            _move_sum(db, place, "purged", word, rows)
        _enter(db, place, GIVEN_UP, given_up - rows)
    elif line is None and not before:
        _move_sum(db, place, "quarantined", word, rows)
    elif line is not None and line[1] is None and not before:
        pass  # killed before its receipt was written down
    else:
        return  # told already
    _enter(db, place, batch_id, rows + (given_up if batch_id == GIVEN_UP else 0))


def rows_elsewhere(db: sqlite3.Connection, place: tuple[str, str, str]) -> dict[str, int]:
    """Which batches have rows that left quarantine, of the one at ``place``, and how many; ``GIVEN_UP``: nobody."""
    query = "SELECT batch_id, rows FROM replays WHERE collector = ? AND stream = ? AND origin_batch = ?"
    return dict(db.execute(query, place).fetchall())


def set_elsewhere(db: sqlite3.Connection, place: tuple[str, str, str], batches: Mapping[str, int]) -> None:
    """Say anew which batches have rows of the one at ``place``, and how many."""
    db.execute("DELETE FROM replays WHERE collector = ? AND stream = ? AND origin_batch = ?", place)
    for batch_id, rows in batches.items():
        _enter(db, place, batch_id, rows)


def _enter(db: sqlite3.Connection, place: tuple[str, str, str], batch_id: str, rows: int) -> None:
    db.execute("INSERT OR REPLACE INTO replays VALUES (?, ?, ?, ?, ?, ?)", (*place, batch_id, rows, time.time_ns()))
    mine = "collector = ? AND stream = ? AND origin_batch = ?"
    db.execute(f"DELETE FROM replays WHERE {mine} AND rows = 0", place)


def still_refused(db: sqlite3.Connection, collector: str, stream: str, created_ns: int, receipt: Receipt) -> int:
    """Rows in quarantine by this receipt, and those that were left there when the batch was loaded without them.

    Rows that have left since count where they are now; refused just now, all are in quarantine again.
    """
    known = db.execute(
        "SELECT coalesce(d.quarantined, 0), b.rows FROM deliveries d LEFT JOIN batches b ON b.batch_id = d.batch_id"
        " WHERE d.collector = ? AND d.stream = ? AND d.created_ns = ? AND d.outcome IN ('waiting', 'parked')",
        (collector, stream, created_ns),
    ).fetchone()
    place = (collector, stream, receipt.batch_id)
    stayed, accepted = known if known is not None else (0, None)
    left = sum(rows_elsewhere(db, place).values())
    if accepted is None:
        twice = stayed + left
    else:
        twice = min(stayed + left, max(0, receipt.rows + receipt.quarantined + stayed + left - accepted))
    if twice and not receipt.duplicate:
        set_elsewhere(db, place, {})
        return receipt.quarantined
    return max(0, receipt.quarantined + stayed - twice)


def _move_sum(db: sqlite3.Connection, place: tuple[str, str, str], source: str, target: str, rows: int) -> None:
    """Of what is summed up so many rows, at most all there are, count in another column."""
    db.execute(
        f"UPDATE totals SET {source} = {source} - min({source}, :rows), {target} = {target} + min({source}, :rows)"
        " WHERE collector = :collector AND stream = :stream",
        {"rows": rows, "collector": place[0], "stream": place[1]},
    )

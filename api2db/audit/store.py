"""What STORE says: the journal's lines in order, the shards in their folders, the files in quarantine."""

from __future__ import annotations

import os
import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from api2db.audit.compare import Entry
from api2db.errors import StoreError
from api2db.journal.file import BEGUN_ANEW, columns, open_to_read
from api2db.journal.sums import LEFT_QUARANTINE
from api2db.layout import ACCEPTED, Layout

_ENTRY = (
    "SELECT d.batch_id, d.created_ns, b.rows, d.outcome, d.rows, d.quarantined, {replayed}, {target}"
    " FROM deliveries d LEFT JOIN batches b ON b.batch_id = d.batch_id {replays}"
    " WHERE d.collector = ? AND d.stream = ?"
)
_REPLAYED = ("coalesce(r.replayed, 0), coalesce(r.purged, 0)", LEFT_QUARANTINE)
_IDS_PER_QUERY = 500
_SUMMED = ("batches", "accepted", "loaded", "quarantined", "replayed", "superseded", "purged")


class Lines:
    """The journal as one moment had it, read line by line. ``close`` it."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.journal
        try:
            self._db = open_to_read(self._path)
            self._begin()
            self._targets = "target" in columns(self._db, "deliveries")
            self._tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as error:
            raise self._unreadable(error) from error

    @property
    def _entry(self) -> str:
        # An older version's journal has no replays, and no targets.
        replayed, replays = _REPLAYED if "replays" in self._tables else ("0, 0", "")
        return _ENTRY.format(replayed=replayed, replays=replays, target="d.target" if self._targets else "NULL")

    def close(self) -> None:
        self._db.close()

    def again(self) -> None:
        """Look at the journal as it is now."""
        self._db.execute("ROLLBACK")
        self._begin()

    def _begin(self) -> None:
        self._db.execute("BEGIN")
        self._db.execute("SELECT 1 FROM sqlite_master").fetchone()  # the moment is that of the first read

    def streams(self) -> list[tuple[str, str]]:
        """(collector, stream) of all that the journal knows."""
        return [(collector, stream) for collector, stream in self._rows("SELECT collector, stream FROM streams")]

    def begun_anew_ns(self) -> int | None:
        """When the journal was begun in a STORE that had been used before; None if it knows all of it."""
        for (began_ns,) in self._rows("SELECT value FROM daemon WHERE key = ?", (BEGUN_ANEW,)):
            return int(began_ns)
        return None

    def collectors(self) -> list[str]:
        return [str(name) for (name,) in self._rows("SELECT collector FROM collectors")]

    def entries(self, collector: str, stream: str) -> Generator[Entry, None, None]:
        """Every batch of a stream, sorted by batch id. SQLite sorts them in a file where they are many."""
        for row in self._rows(f"{self._entry} ORDER BY d.batch_id", (collector, stream)):
            yield Entry(*row)

    def place(self, collector: str, stream: str) -> str | None:
        """The target that a stream's deliveries went to; None where the journal doesn't know."""
        query = "SELECT place FROM streams WHERE collector = ? AND stream = ?"
        return next((row[0] for row in self._rows(query, (collector, stream))), None) if self._targets else None

    def elsewhere(self, collector: str, stream: str) -> list[tuple[str, int, int]]:
        """(target, batches, rows) of what went to targets that the stream doesn't have any more."""
        query = (
            "SELECT target, count(*), coalesce(sum(rows), 0) FROM deliveries"
            " WHERE collector = ? AND stream = ? AND target IS NOT NULL GROUP BY target ORDER BY min(created_ns)"
        )
        return [(str(t), n, rows) for t, n, rows in self._rows(query, (collector, stream))] if self._targets else []

    def totals(self, collector: str, stream: str) -> dict[str, int]:
        """What was summed up of a stream: batches, accepted, loaded, quarantined, replayed, superseded, purged."""
        if "totals" not in self._tables:
            return {}  # written by an older version
        query = f"SELECT {', '.join(_SUMMED)} FROM totals WHERE collector = ? AND stream = ?"
        for row in self._rows(query, (collector, stream)):
            return dict(zip(_SUMMED, row, strict=True))
        return {}

    def entry(self, collector: str, stream: str, created_ns: int) -> Entry | None:
        for row in self._rows(f"{self._entry} AND d.created_ns = ?", (collector, stream, created_ns)):
            return Entry(*row)
        return None

    def known(self, batch_ids: Sequence[str]) -> int:
        """How many of these batches the journal knows."""
        found = 0
        for start in range(0, len(batch_ids), _IDS_PER_QUERY):
            part = batch_ids[start : start + _IDS_PER_QUERY]
            marks = ", ".join("?" * len(part))
            found += sum(n for (n,) in self._rows(f"SELECT count(*) FROM batches WHERE batch_id IN ({marks})", part))
        return found

    def steps(self, collector: str) -> list[dict[str, object]]:
        """The form's steps, summed over all runs; rows made by a step count as negative ``dropped``."""
        if "steps" not in self._tables:
            return []  # written by an older version
        query = "SELECT step, rows_in, rows_out, nulled, replaced FROM steps WHERE collector = ? ORDER BY place, step"
        return [
            {"step": step, "rows_in": rows_in, "rows_out": rows_out, "dropped": rows_in - rows_out}
            | {"nulled": nulled, "replaced": replaced}
            for step, rows_in, rows_out, nulled, replaced in self._rows(query, (collector,))
        ]

    def _rows(self, query: str, values: Sequence[object] = ()) -> Iterable[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.DatabaseError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.DatabaseError) -> StoreError:
        return StoreError(f"{self._path} can't be read: {error}; the daemon begins a new one at its start")


class Shards:
    """A stream's shards as they lie in STORE's folders now: 9 bytes of memory each.

    Folders are read in the order in which a shard goes through them, so that one under way isn't missed.
    """

    def __init__(self, layout: Layout, collector: str, stream: str) -> None:
        self._folders = [
            (where, folder, array("q", numbered(folder)))
            for where, folder in (
                ("accepted", layout.accepted(collector)),
                ("waiting", layout.queue(collector, stream)),
                ("parked", layout.failed(collector, stream)),
            )
        ]
        self._seen = [bytearray(len(shards)) for _, _, shards in self._folders]

    def where(self, created_ns: int) -> str:
        """Where a shard is: "parked", "waiting", or "" for nowhere; a name in ``accepted/`` waits to be linked."""
        found = ""
        for (where, _, shards), seen in zip(self._folders, self._seen, strict=True):
            at = bisect_left(shards, created_ns)
            if at < len(shards) and shards[at] == created_ns:
                seen[at] = 1
                found = "parked" if where == "parked" else "waiting"
        return found

    def not_asked_for(self) -> dict[int, Path]:
        """The shards that ``where`` was never asked for."""
        return {
            shards[at]: folder / f"{shards[at]}.parquet"
            for (_, folder, shards), seen in zip(self._folders, self._seen, strict=True)
            for at, flag in enumerate(seen)
            if not flag
        }


def numbered(folder: Path) -> list[int]:
    """``created_ns`` of the shards in a folder, oldest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(".parquet") for name in names if name.endswith(".parquet"))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) <= 19)


def stream_folders(layout: Layout) -> set[tuple[str, str]]:
    """(collector, stream) of all folders that hold, or held, shards."""
    return {
        (path.parent.name, path.name)
        for root in (layout.queues, layout.root / "upload_failed")
        for path in root.glob("*/*")
        if path.is_dir() and path.name != ACCEPTED
    }


def holds_anything(layout: Layout, collector: str, stream: str) -> bool:
    """Does anything wait in a stream's folders: a shard, or a file prepared and not published?"""
    folders = (layout.queue(collector, stream), layout.failed(collector, stream))
    return any(any(folder.iterdir()) for folder in folders if folder.is_dir())

"""What was served against what is stored: the demo's sum, in figures and in words."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.demo.replay import Served

Key = tuple[str, int]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Report:
    """Counts of versions (id, updated) and of events; all zero but the first four when the sum is right.

    cut_off   only in answers that were not accepted: a kill fell between, or another client asked. No loss:
              the collector asked again from where it was, and got what was current then
    """

    versions_served: int
    versions_stored: int
    events_served: int
    events_stored: int
    versions_missing: int
    versions_twice: int
    versions_unknown: int
    events_missing: int
    events_outdated: int
    events_twice: int
    events_unknown: int
    cut_off: int
    text: str

    @property
    def equal(self) -> bool:
        return not (
            self.versions_missing
            or self.versions_twice
            or self.versions_unknown
            or self.events_missing
            or self.events_outdated
            or self.events_twice
            or self.events_unknown
        )


def report(
    served: Served,
    *,
    database: Path,
    table: str,
    files: Path,
    waiting_batches: int = 0,
    base: Path | None = None,
) -> Report:
    """Compare the replay's answers with the SQLite table ``table`` and the parquet files in ``files``.

    ``waiting_batches``: how many accepted batches aren't delivered yet; what is missing may be in them. Paths
    in the text are shown relative to ``base`` (the working directory). What isn't there counts as empty. Both
    places have columns ``id`` and ``updated``. Other processes may write to them meanwhile.
    """
    return compare(
        served,
        Counter(in_files(files)),
        _in_database(database, table),
        files=os.path.relpath(files, base),
        database=os.path.relpath(database, base),
        waiting_batches=waiting_batches,
    )


def compare(
    served: Served, in_files: Counter[Key], rows: Sequence[Key], *, files: str, database: str, waiting_batches: int = 0
) -> Report:
    """The same for keys somebody has read: ``in_files`` with how often each is there; places as the text shows them."""
    # An offered version that is stored was taken; the client just hadn't asked for the next one yet.
    accepted = served.taken | (served.offered & (in_files.keys() | set(rows)))
    newest: dict[str, int] = {}
    for event_id, updated_ms in sorted(accepted):
        newest[event_id] = updated_ms
    row_of = dict(rows)
    counts = {
        "versions_served": len(accepted),
        "versions_stored": in_files.total(),
        "events_served": len(newest),
        "events_stored": len(rows),
        "versions_missing": len(accepted - in_files.keys()),
        "versions_twice": in_files.total() - len(in_files),
        "versions_unknown": len(in_files.keys() - accepted),
        "events_missing": len(newest.keys() - row_of.keys()),
        "events_outdated": sum(row_of.get(event_id, at) != at for event_id, at in newest.items()),
        "events_twice": len(rows) - len(row_of),
        "events_unknown": len(row_of.keys() - newest.keys()),
        "cut_off": len(served.offered - accepted),
    }
    return Report(
        **counts,
        text=_words(counts, files, database, waiting_batches),
    )


def in_files(folder: Path) -> list[Key]:
    """(id, updated in epoch milliseconds) of each row in the parquet files of a folder."""
    keys: list[Key] = []
    for path in sorted(folder.glob("*.parquet")):
        columns = pq.read_table(path, columns=["id", "updated"])
        updated = columns["updated"].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
        keys += zip(columns["id"].to_pylist(), updated.to_pylist(), strict=True)
    return keys


def _in_database(path: Path, table: str) -> list[Key]:
    if not path.exists():
        return []
    # Not mode=ro: that would leave the files of the write-ahead log behind, which the daemon has tidied away.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10)) as connection:
        connection.execute("PRAGMA query_only = ON")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            return []
        quoted = table.replace('"', '""')
        return [(row[0], milliseconds(row[1])) for row in connection.execute(f'SELECT id, updated FROM "{quoted}"')]


def milliseconds(stored: object) -> int:
    """Epoch milliseconds of a timestamp as a database gives it, SQLite as ISO-8601 text; UTC where it has no zone."""
    moment = stored if isinstance(stored, datetime) else datetime.fromisoformat(str(stored))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _words(counts: Mapping[str, int], files: str, database: str, waiting_batches: int) -> str:
    late = "still on the way to" if waiting_batches else "MISSING from"
    old = "not yet" if waiting_batches else "NOT"
    findings = (
        ("versions_missing", "version", f"{late} {files}"),
        ("versions_twice", "version", f"there more than once in {files}"),
        ("versions_unknown", "version", f"in {files} that this demo never served"),
        ("events_missing", "event", f"{late} {database}"),
        ("events_outdated", "event", f"{old} in the latest version in {database}"),
        ("events_twice", "event", f"there more than once in {database}"),
        ("events_unknown", "event", f"in {database} that this demo never served"),
    )
    versions = _equation(counts["versions_served"], "version", counts["versions_stored"], "version")
    events = _equation(counts["events_served"], "event", counts["events_stored"], "row")
    wrong = counts["events_missing"] or counts["events_outdated"] or counts["events_twice"]
    latest = "" if wrong else ", each in its latest version"
    lines = [f"{versions} stored in {files}; {events} in {database}{latest}."]
    lines += [f"{_n(counts[name], noun, are=True)} {words}." for name, noun, words in findings if counts[name]]
    if waiting_batches:
        lines.append("What was accepted but not delivered waits in the store: the next run delivers it.")
    elif counts["cut_off"]:
        cut_off = _n(counts["cut_off"], "other version", are=True)
        lines.append(f"{cut_off} only in answers that were never accepted (a kill fell between): asked anew.")
    return "\n".join(lines)


def _equation(served: int, one: str, stored: int, other: str) -> str:
    return f"{_n(served, one)} served {'=' if served == stored else '≠'} {_n(stored, other)}"


def _n(count: int, noun: str, *, are: bool = False) -> str:
    words = f"{count:,} {noun if count == 1 else noun + 's'}"
    return f"{words} {'is' if count == 1 else 'are'}" if are else words

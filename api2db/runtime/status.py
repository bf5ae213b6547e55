"""How everything is, read from STORE alone: the same whether the daemon runs or not."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api2db.errors import StoreError
from api2db.journal.file import open_to_read
from api2db.layout import ACCEPTED, FILES, HELD, Layout, lock_owner
from api2db.tapes import taped

_LOST = "SELECT collector, stream, count(*) FROM deliveries WHERE outcome = 'removed' GROUP BY collector, stream"
# The daemon writes its heartbeat every ten seconds; without it what stands here is old.
SILENT_S = 60.0


@dataclass(frozen=True)
class StreamStatus:
    """One stream. Times are nanoseconds since 1970 UTC, None where there is none yet.

    state        ok, retrying, down or stopped; "removed" if shards wait, or are lost, for a stream no collector has now
    waiting      shards in its queue; parked: those that failed and are tried again
    rows         loaded so far; quarantined: rows kept aside so far
    oldest_ns    of the shards that wait
    quarantine_files   files of refused rows that nobody has taken away yet
    lost         batches whose shard somebody removed before it was delivered
    """

    stream: str
    target: str | None
    state: str
    cause: str | None
    retry_ns: int | None
    last_success_ns: int | None
    rows: int
    batches: int
    quarantined: int
    waiting: int
    parked: int
    backlog_bytes: int
    oldest_ns: int | None
    quarantine_files: int
    lost: int = 0


@dataclass(frozen=True)
class CollectorStatus:
    """One collector. ``state``: ok, failed, abandoned, paused, waiting, stopped, broken, disabled,
    "due" before its first poll,
    "stale" beyond its ``fresh_within``, or "removed".

    stale is also told beside another state, of one that failed, say; last_outcome is of its last poll, None before.

    held_files   files of rows that were not accepted, since a value can't be of its column's type
    unread_files of a store: files that it can't read, set aside
    schedule     when it is polled, as people read it; None of one that doesn't run
    tape_polls   so many polls are on its tape, in ``tape_bytes``
    polling_since_ns   of a poll under way that had taken long already when the daemon told last: every ten seconds
    polling_at   what it asked for then, of one that asks for what is new
    """

    collector: str
    state: str
    cause: str | None
    seconds: float | None
    last_success_ns: int | None
    next_run_ns: int | None
    polls: int
    failures: int
    skips: int
    rows: int
    batches: int
    steps: list[dict[str, object]]
    streams: list[StreamStatus]
    held_files: int = 0
    fresh_within_s: float | None = None
    stale: bool = False
    last_outcome: str | None = None
    unread_files: int = 0
    schedule: str | None = None
    tape_polls: int = 0
    tape_bytes: int = 0
    polling_since_ns: int | None = None
    polling_at: str | None = None

    @property
    def pending(self) -> bool:
        """Whether it runs, and no poll of this daemon has ended yet that tells how it is."""
        return self.seconds is not None and self.last_outcome in (None, "stopped")


@dataclass(frozen=True)
class Status:
    """The daemon (its process id, or None) and all collectors STORE knows."""

    pid: int | None
    stuck_polls: int
    heartbeat_ns: int | None
    collectors: list[CollectorStatus]
    heartbeat_age_s: float | None = None

    @property
    def troubles(self) -> list[str]:
        """What needs attention, a line each; empty when all is well."""
        found = []
        if self.pid is not None and self.heartbeat_age_s is not None and self.heartbeat_age_s > SILENT_S:
            found.append("the daemon runs but hasn't written its journal lately: is the disk of STORE full?")
        for collector in self.collectors:
            if collector.state in ("failed", "abandoned", "paused", "broken", "stale"):
                found.append(f"{collector.collector}: {collector.state}: {collector.cause}")
            if collector.held_files:
                found.append(
                    f"{collector.collector}: rows don't fit the types of their columns; they and the reasons are in"
                    f" STORE/quarantine/{collector.collector}/{HELD}/ ({collector.held_files} files)"
                )
            if collector.unread_files:
                found.append(
                    f"{collector.collector}: files can't be read; they and the reasons are in"
                    f" STORE/quarantine/{collector.collector}/{FILES}/ ({collector.unread_files} files)"
                )
            for stream in collector.streams:
                if stream.state != "ok":
                    found.append(f"{collector.collector}/{stream.stream}: {stream.state}: {stream.cause}")
                elif stream.quarantine_files:
                    found.append(
                        f"{collector.collector}/{stream.stream}: rows were refused; they and the reasons are in"
                        f" STORE/quarantine/{collector.collector}/{stream.stream}/ ({stream.quarantine_files} files)"
                    )
                if stream.lost:
                    name = f"{collector.collector}/{stream.stream}"
                    found.append(
                        f"{name}: {stream.lost} batches are lost, since somebody removed their shards: api2db audit"
                        f" names them; put them back, api2db replay, or api2db shards purge {name} --lost"
                    )
                if stream.parked and stream.state == "ok":
                    found.append(f"{collector.collector}/{stream.stream}: {stream.parked} shards failed to upload")
        return found


@dataclass(frozen=True)
class Pulse:
    """Whether a daemon lives.

    pid              its process id, None if none runs
    heartbeat_age_s  since the last heartbeat of this start of the machine, while it was awake; None if there is none
    heartbeat_ns     that one by the wall clock, also of an earlier start of the machine
    """

    pid: int | None
    heartbeat_age_s: float | None
    heartbeat_ns: int | None = None

    @property
    def trouble(self) -> str | None:
        """Why the daemon can't be said to live; None if it does."""
        if self.pid is None:
            return "the daemon isn't running"
        if self.heartbeat_age_s is None:
            return "the daemon has no heartbeat yet: it is starting, or can't write its journal"
        if self.heartbeat_age_s > SILENT_S:
            return (
                f"the daemon's last heartbeat is {self.heartbeat_age_s:.0f} s old:"
                " its main loop hangs, or can't write its journal (is the disk of STORE full?)"
            )
        return None


def read_status(layout: Layout) -> Status:
    """Read journal and folders. Takes no lock; safe beside a running daemon."""
    layout.check_format()
    pid = lock_owner(layout)
    if not layout.journal.exists():
        return Status(pid, 0, None, [])
    # Not closing the transaction between queries: one moment for all of them.
    try:
        with closing(open_to_read(layout.journal)) as db:
            db.row_factory = sqlite3.Row
            db.execute("BEGIN")
            collectors = db.execute("SELECT * FROM collectors ORDER BY collector").fetchall()
            streams = db.execute("SELECT * FROM streams ORDER BY collector, stream").fetchall()
            facts = dict(db.execute("SELECT key, value FROM daemon").fetchall())
            removed = {(name, stream): count for name, stream, count in db.execute(_LOST)}
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{layout.journal} can't be read: {error}; the daemon begins a new one at its start"
        ) from error
    directories = {(path.parent.name, path.name) for path in _stream_directories(layout)}
    by_collector: dict[str, list[StreamStatus]] = {}
    for row in streams:
        directories.discard((row["collector"], row["stream"]))
        status = _stream(layout, row, removed.get((row["collector"], row["stream"]), 0))
        if status is not None:
            by_collector.setdefault(row["collector"], []).append(status)
    for collector, stream in sorted(directories):
        backlog = _backlog(layout, collector, stream)
        if backlog[0] or backlog[1]:
            lost = StreamStatus(stream, None, "removed", _REMOVED, None, None, 0, 0, 0, *backlog)
            by_collector.setdefault(collector, []).append(lost)
    polling = json.loads(facts.get("polling") or "{}") if pid is not None else {}
    found = [_collector(layout, row, by_collector.pop(row["collector"], []), pid, polling) for row in collectors]
    found = [one for one in found if one.state != "removed" or one.streams]
    found += [
        CollectorStatus(name, "removed", None, None, None, None, 0, 0, 0, 0, 0, [], lost)
        for name, lost in sorted(by_collector.items())
    ]
    return Status(pid, int(facts.get("stuck_polls") or 0), facts.get("heartbeat_ns"), found, _heartbeat_age_s(facts))


def read_pulse(layout: Layout) -> Pulse:
    """Whether the daemon lives, from its lock and its last heartbeat alone: however long the backlog, this is quick."""
    pid = lock_owner(layout)
    if pid is None:
        return Pulse(None, None)
    try:
        with closing(open_to_read(layout.journal)) as db:
            facts = dict(db.execute("SELECT key, value FROM daemon WHERE key LIKE 'heartbeat%'").fetchall())
    except sqlite3.DatabaseError:
        facts = {}  # it is just being made, or can't be written: no heartbeat either
    return Pulse(pid, _heartbeat_age_s(facts), facts.get("heartbeat_ns"))


def _heartbeat_age_s(facts: Mapping[str, Any]) -> float | None:
    """By the clock that nobody sets and that stands still while the machine is suspended; it is every process's."""
    beat_ns, steady_ns = facts.get("heartbeat_ns"), facts.get("heartbeat_steady_ns")
    if steady_ns is not None:
        return (time.monotonic_ns() - int(steady_ns)) / 1e9
    return None if beat_ns is None else (time.time_ns() - int(beat_ns)) / 1e9


_REMOVED = (
    "no running collector has this stream, but shards wait for it: they are delivered once one has it again,"
    " or given up by api2db shards purge --removed"
)


# Other states say more than that no poll has succeeded: failed, paused and abandoned have a cause.
_MAY_BE_STALE = ("ok", "due", "waiting", "stopped")


def _collector(
    layout: Layout, row: sqlite3.Row, streams: list[StreamStatus], pid: int | None, polling: Mapping[str, Any]
) -> CollectorStatus:
    state, cause = row["state"], row["cause"]
    removed = row["seconds"] is None and state not in ("broken", "disabled")
    if removed:
        state = "removed"
    elif state is None:
        state = "due"
    declared = row["seconds"] is not None
    fresh_s = row["fresh_within_s"] if declared else None
    since_ns = row["last_success_ns"] or row["declared_ns"]
    stale = bool(fresh_s and since_ns and time.time_ns() - since_ns > fresh_s * 1e9)
    if stale and state in _MAY_BE_STALE:
        why = f"; {cause}" if cause else ""
        state, cause = "stale", f"no successful poll within its fresh_within of {fresh_s:g} s{why}"
    return CollectorStatus(
        row["collector"],
        state,
        cause,
        row["seconds"],
        row["last_success_ns"],
        row["next_run_ns"] if pid is not None and not removed else None,
        row["polls"],
        row["failures"],
        row["skips"],
        row["rows"],
        row["batches"],
        json.loads(row["steps"] or "[]"),
        streams,
        sum(1 for _ in layout.quarantine(row["collector"], HELD).glob("*.jsonl")),
        fresh_s,
        stale,
        row["state"] if declared else None,
        sum(1 for _ in layout.quarantine(row["collector"], FILES).glob("*.reason")),
        row["schedule"] if declared and "schedule" in row.keys() else None,  # noqa: SIM118 - a row isn't a dict
        *taped(layout.tapes, row["collector"]),
        *_polling(row, polling),
    )


def _polling(row: sqlite3.Row, polling: Mapping[str, Any]) -> tuple[int | None, str | None]:
    since_ns, where = polling.get(row["collector"]) or (0, "")
    is_over = (row["last_success_ns"] or 0) > since_ns
    return (None, None) if is_over or not since_ns else (since_ns, where or None)


def _stream(layout: Layout, row: sqlite3.Row, lost: int) -> StreamStatus | None:
    backlog = _backlog(layout, row["collector"], row["stream"])
    state, cause = row["state"] or "ok", row["cause"]
    if row["target"] is None:
        if backlog[0] or backlog[1]:
            state, cause = "removed", _REMOVED
        elif lost:
            state, cause = "removed", "no running collector has this stream"
        else:
            return None  # a stream of old, with nothing left of it
    return StreamStatus(
        row["stream"],
        row["target"],
        state,
        cause,
        row["retry_ns"],
        row["last_success_ns"],
        row["rows"],
        row["batches"],
        row["quarantined"],
        *backlog,
        lost,
    )


def _stream_directories(layout: Layout) -> Iterator[Path]:
    for root in (layout.queues, layout.root / "upload_failed"):
        if root.exists():
            yield from (path for path in root.glob("*/*") if path.is_dir() and path.name != ACCEPTED)


def _backlog(layout: Layout, collector: str, stream: str) -> tuple[int, int, int, int | None, int]:
    """Waiting, parked, bytes of both, the oldest one's time, and files in quarantine."""
    counts, size, oldest = [0, 0], 0, None
    for at, folder in enumerate((layout.queue(collector, stream), layout.failed(collector, stream))):
        for path in folder.glob("*.parquet"):
            try:
                size += path.stat().st_size
            except FileNotFoundError:
                continue  # delivered just now
            counts[at] += 1
            created_ns = int(path.stem) if path.stem.isdigit() else None
            oldest = created_ns if oldest is None else min(oldest, created_ns or oldest)
    kept = sum(1 for _ in layout.quarantine(collector, stream).glob("*.parquet"))
    return counts[0], counts[1], size, oldest, kept

"""The durable queue: accepting a batch is one rename, everything after it can be repeated.

``accept`` writes a shard under a temporary name, flushes it, renames it into ``accepted/`` and flushes that
directory: two flushes, and batch and cursor are safe. The shard is then linked into the directory of each of
its streams and, unless told otherwise, into the log, where it stays for a time. The name in ``accepted/`` goes away
when the batch is *settled*: links and cursor file flushed, for all batches accepted since the last time at once, and
always before the first stream drops its link. A name found in ``accepted/`` at start is therefore a batch that no
stream has dropped, and its fan-out is repeated.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from api2db import shard
from api2db.batch import Batch, new_batch_id
from api2db.errors import GoneShardError, SourceError, StoreError, StoreFullError, TornShardError
from api2db.failpoint import reach
from api2db.files import IncreasingNanoseconds, fsync_dir, make_dir, write_atomic, write_durable
from api2db.layout import Layout
from api2db.recent import Recent
from api2db.shardlog import ShardLog, name_ns
from api2db.state import CollectorState, after_batch, read_state, write_state
from api2db.usage import Usage

log = logging.getLogger(__name__)

# What link(2) answers where there are none, as on FAT and some network file systems.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV, errno.EACCES)


class Spool:
    """All of STORE's shards. Makes one ``CollectorSpool`` for each collector."""

    def __init__(
        self, layout: Layout, usage: Usage, *, durable: bool = True, keep_s: float = 0.0, max_log_bytes: int = 0
    ) -> None:
        self.layout = layout
        self.usage = usage
        self.log = ShardLog(layout.logs, keep_s=keep_s, max_bytes=max_log_bytes)
        usage.give_way = self.log.give_way
        self.durable = durable
        self.clock = IncreasingNanoseconds()
        self.recent = Recent()
        self.links = _links_work(layout.states)
        self.unsettled: dict[str, list[int]] = {}  # collector -> names in accepted/, all of them fanned out
        self.unusable: dict[str, str] = {}  # collector -> why its part can't be recovered
        # collector -> what was recovered and couldn't be written yet: the state, and batches made of quarantined files
        self.unwritten: dict[str, tuple[CollectorState, dict[int, shard.Header]]] = {}

    def recover(self) -> list[shard.Header]:
        """Repeat the fan-out of every batch that was accepted and not settled, whoever's it is.

        Also sweeps temporary files and counts what waits. Call once, before anything runs. Returns what each
        recovered batch says of itself.
        """
        recovered = []
        for name in sorted(entry.name for entry in os.scandir(self.layout.queues) if entry.is_dir()):
            try:
                recovered += CollectorSpool(self, name, keep_s=None).recover()
            except (StoreError, OSError) as error:
                # That collector can't run until a person has looked; the others can.
                self.unusable[name] = f"its part of STORE can't be recovered: {error}"
        for path in self.layout.states.glob("*.json"):
            try:
                self.clock.raise_to(read_state(path).last_ns)
            except StoreError as error:
                log.error("state can't be read cause=%s", error)
        self._count()
        return recovered

    def _count(self) -> None:
        """Add up each collector's shards, a shard with several names once, and what it has in quarantine."""
        seen: set[int] = set()
        for root in (self.layout.queues, self.layout.root / "upload_failed", self.layout.root / "quarantine"):
            for path in root.glob("*/*/*"):
                if path.suffix in (".ready", ".rows", ".group"):
                    continue  # of a sink that writes files: gone as soon as it runs
                if not path.is_file():
                    continue  # a folder, or a link to nothing: someone else's
                entry = path.stat()
                self.clock.raise_to(name_ns(path.name) or 0)
                if entry.st_ino not in seen:
                    seen.add(entry.st_ino)
                    self.usage.add(path.parent.parent.name, entry.st_size)
        self.clock.raise_to(self.log.recover())


class CollectorSpool:
    """One collector's part of the spool. Any thread.

    keep_s  how long delivered shards stay in the log; None for as long as the spool says; 0: they don't
    """

    def __init__(
        self, spool: Spool, collector: str, streams: Sequence[str] = (), *, keep_s: float | None = 0.0
    ) -> None:
        self.collector = collector
        self._spool = spool
        self._layout = spool.layout
        self._streams = tuple(streams)
        self._accepted = spool.layout.accepted(collector)
        self._state_path = spool.layout.state(collector)
        if collector in spool.unusable:
            raise StoreError(f"collector {collector}: {spool.unusable[collector]}")
        # _origins: batches made of files in quarantine, not settled yet
        self._state, self._origins = (
            spool.unwritten.pop(collector)
            if collector in spool.unwritten
            else (read_state(self._state_path), dict[int, shard.Header]())
        )
        self._unsettled = spool.unsettled.setdefault(collector, [])
        self._unsettled_since_s = time.monotonic()  # of the oldest of them
        self._unlinked: list[tuple[str, tuple[str, ...]]] = []
        self._kept = spool.log.set_keep(collector, keep_s) and spool.links
        self._accepting = threading.Lock()  # polls, replays and resets
        self.resets = 0  # how often the cursor was moved by a person
        self._lock = threading.Lock()  # guards _unsettled, _origins and _state
        self._dropping = threading.Lock()  # makes "was that the last name?" and the unlink one step
        self._settling = threading.Lock()  # held while names are flushed and dropped
        _make_dir(self._accepted, spool.durable)
        for stream in streams:
            _make_dir(self._layout.queue(collector, stream), spool.durable)

    def add_stream(self, stream: str) -> None:
        """One more directory that batches are accepted for from now on. No error for one it has."""
        if stream not in self._streams:
            _make_dir(self._layout.queue(self.collector, stream), self._spool.durable)
            self._streams = (*self._streams, stream)

    def make_folder(self, stream: str) -> None:
        """Where shards that are lent to a stream wait; batches aren't accepted for it."""
        _make_dir(self._layout.queue(self.collector, stream), self._spool.durable)

    @property
    def cursor(self) -> str | None:
        """JSON text of the cursor after the newest accepted batch; None at the start."""
        with self._lock:
            return self._state.cursor

    @property
    def state(self) -> CollectorState:
        with self._lock:
            return self._state

    def accept(
        self,
        table: pa.Table,
        cursor: str | None,
        *,
        run: int = 0,
        ends: int = 0,
        streams: Sequence[str] | None = None,
        types: Mapping[str, str] | None = None,
        batch_id: str | None = None,
        origin: str | None = None,
        rest: tuple[str, str] | None = None,
        resets: int | None = None,
    ) -> Batch:
        """Make a table safe and move cursor and types, all by one rename; it then waits for each stream.

        cursor     JSON text; None leaves it as it is
        types      what is known of the columns' types now; None leaves it as it is
        run, ends  as in ``Batch``
        streams    directories; by default all of the collector's streams
        batch_id   a random one by default
        origin, rest  as in ``Header``; what is accepted already, and not settled yet, is refused
        resets     what ``resets`` was when the cursor was read that this goes on from

        Raises StoreFullError (nothing was written, collect again when there is room), StoreError, or SourceError if
        the cursor was reset meanwhile.
        """
        with self._accepting:
            self._check_resets(resets)
            return self._accept(table, cursor, run, ends, streams, types, batch_id, origin, rest)

    def _accept(
        self,
        table: pa.Table,
        cursor: str | None,
        run: int,
        ends: int,
        streams: Sequence[str] | None,
        types: Mapping[str, str] | None,
        batch_id: str | None,
        origin: str | None,
        rest: tuple[str, str] | None,
    ) -> Batch:
        streams = self._streams if streams is None else tuple(streams)
        batch = Batch(table, batch_id or new_batch_id(), self._spool.clock.next(), run, ends)
        if types == self.state.types:
            types = None
        self._check_origin(origin)
        data = shard.encode(batch, self.collector, streams, cursor, types, kept=self._kept, origin=origin, rest=rest)
        refusal = self._spool.usage.refusal(self.collector, len(data))
        if refusal:
            raise StoreFullError(f"collector {self.collector}: {refusal}")
        name = f"{batch.created_ns}.parquet"
        temporary = self._accepted / f".{name}.tmp"
        try:
            write_durable(temporary, data, flush=self._spool.durable)
            reach("spool.written")
            os.rename(temporary, self._accepted / name)
        except OSError as error:
            with contextlib.suppress(OSError):  # swept at the next start
                temporary.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._spool.log.give_way(len(data))  # the next poll may find room
            raise _store_error(self.collector, error) from error
        reach("spool.renamed")
        # From here on the batch is accepted. What still fails is repeated when it is settled, or at the next start.
        unlinked = []
        try:
            self._flush(self._accepted)
            self._fan_out(name, streams)
            if self._kept:
                self._spool.log.add(self.collector, self._accepted / name)
        except OSError as error:
            unlinked = [(name, streams)]
            log.error("accepted batch not fanned out yet collector=%s cause=%s", self.collector, error.strerror)
        with self._lock:
            self._unlinked += unlinked
            self._state = after_batch(self._state, cursor, batch.created_ns, types)
            if not self._unsettled:
                self._unsettled_since_s = time.monotonic()
            self._unsettled.append(batch.created_ns)
            if origin is not None:
                self._origins[batch.created_ns] = shard.Header(
                    batch.batch_id, self.collector, batch.created_ns, table.num_rows, cursor, streams,
                    origin=origin, rest=rest,
                )  # fmt: skip
        self._spool.usage.add(self.collector, len(data) * (1 if self._spool.links else len(streams)))
        reach("spool.fanned_out")
        self._spool.recent.put(batch)
        return batch

    def move_cursor(self, cursor: str, *, resets: int | None = None) -> None:
        """Move the cursor without a batch, durably. ``resets`` as in ``accept``."""
        with self._accepting:
            self._check_resets(resets)
            with self._lock:
                if cursor == self._state.cursor:
                    return
                self._state = after_batch(self._state, cursor, self._spool.clock.next())
        self.settle(always=True)

    def reset_cursor(self, cursor: str | None) -> str | None:
        """Put the cursor somewhere else, None for the start, durably; where it was.

        A poll under way, which goes on from where it was, accepts nothing more.
        """
        with self._accepting, self._lock:
            self.resets += 1
            before = self._state.cursor
            self._state = replace(self._state, cursor=cursor, last_ns=self._spool.clock.next())
        self.settle(always=True)
        return before

    def _check_resets(self, resets: int | None) -> None:
        if resets is not None and resets != self.resets:
            raise SourceError(
                f"collector {self.collector}: its cursor was reset while it was polled; the next poll begins there"
            )

    def remember_streams(self, streams: dict[str, str]) -> None:
        """Keep which directory belongs to which target."""
        with self._lock:
            if streams == dict(self._state.streams):
                return
            self._state = replace(self._state, streams=streams)
        self.settle(always=True)

    def settle_older_than(self, age_s: float) -> None:
        """Settle if a batch has waited that long for a stream to drop it. As ``settle``."""
        with self._lock:
            old = bool(self._unsettled) and time.monotonic() - self._unsettled_since_s > age_s
        if old:
            self.settle()

    def settle(self, *, always: bool = False) -> None:
        """Flush links and cursor, then drop the names in ``accepted/``: for all batches accepted so far.

        Raises StoreError; whatever was not done is done by the next call or by recovery.
        """
        with self._settling:
            with self._lock:
                settled, unlinked, state = list(self._unsettled), list(self._unlinked), self._state
                origins = dict(self._origins)
            if not settled and not always:
                return
            try:
                for name, streams in unlinked:
                    self._fan_out(name, streams)
                if settled:
                    for stream in self._streams:
                        self._flush(self._layout.queue(self.collector, stream))
                write_state(self._state_path, state, flush=self._spool.durable)
                for header in origins.values():
                    self._end_origin(header)
                for created_ns in settled:
                    (self._accepted / f"{created_ns}.parquet").unlink(missing_ok=True)
                if settled:
                    self._flush(self._accepted)
            except OSError as error:
                raise _store_error(self.collector, error) from error
            with self._lock:
                del self._unsettled[: len(settled)]
                self._unsettled_since_s = time.monotonic()
                del self._unlinked[: len(unlinked)]
                for created_ns in origins:
                    self._origins.pop(created_ns, None)
        reach("spool.settled")

    def recover(self) -> list[shard.Header]:
        """Repeat the fan-out of batches found in ``accepted/``, sweep temporary files. Before anything runs."""
        recovered = []
        for path in sorted(self._accepted.iterdir()):
            if not path.is_file():
                continue  # someone else's
            if path.name.endswith(".tmp"):
                path.unlink()
                continue
            if name_ns(path.name) is None:
                continue
            try:
                header = shard.decode_header(path.read_bytes())
            except TornShardError as error:
                aside = self._layout.quarantine(self.collector, "accepted")
                _make_dir(aside, self._spool.durable)
                os.rename(path, aside / path.name)
                log.error("accepted shard is torn, kept in %s cause=%s", aside, error)
                continue
            for stream in header.streams:
                _make_dir(self._layout.queue(self.collector, stream), self._spool.durable)
            self._fan_out(path.name, header.streams)
            if header.kept and self._spool.links:
                self._spool.log.add(self.collector, path)
            for stream in header.streams:
                self._flush(self._layout.queue(self.collector, stream))
            with self._lock:
                if header.created_ns > self._state.last_ns:
                    self._state = after_batch(self._state, header.cursor, header.created_ns, header.types)
                self._unsettled.append(header.created_ns)
                if header.origin is not None:
                    self._origins[header.created_ns] = header
            recovered.append(header)
        try:
            self.settle()
        except StoreFullError as error:
            # Fanned out and flushed: only the names in accepted/ stay, until there is room to write the cursor. Whoever
            # polls from now on goes on behind them all the same.
            self._spool.unwritten[self.collector] = self._state, self._origins
            log.warning("not settled yet collector=%s cause=%s", self.collector, error)
        return recovered

    def waiting(self, stream: str) -> list[int]:
        """``created_ns`` of the shards in a stream's queue, oldest first."""
        return _shards_in(self._layout.queue(self.collector, stream))

    def parked(self, stream: str) -> list[int]:
        """``created_ns`` of the shards a stream failed to upload, oldest first."""
        return _shards_in(self._layout.failed(self.collector, stream))

    def oldest(self, stream: str) -> int | None:
        """``created_ns`` of the oldest shard a stream may be given: accepted, waiting, parked, or kept in the log."""
        with self._lock:
            accepted = self._unsettled[:1]
        kept = self._spool.log.shards(self.collector)[:1]
        return min([*accepted, *kept, *self.waiting(stream)[:1], *self.parked(stream)[:1]], default=None)

    def holds_anything(self, stream: str) -> bool:
        """Does anything wait in a stream's directories: a shard, or a file prepared and not published?"""
        places = (self._layout.queue(self.collector, stream), self._layout.failed(self.collector, stream))
        return any(any(place.iterdir()) for place in places if place.is_dir())

    def path(self, stream: str, created_ns: int, *, parked: bool) -> Path:
        place = self._layout.failed if parked else self._layout.queue
        return place(self.collector, stream) / f"{created_ns}.parquet"

    def read(self, stream: str, created_ns: int, *, parked: bool) -> Batch:
        """The batch of one shard. Raises TornShardError, or StoreError if it can't be read at all."""
        recent = self._spool.recent.get(created_ns)
        if recent is not None:
            return recent
        return shard.decode(self._bytes(stream, created_ns, parked=parked))[1]

    def part(self, stream: str, created_ns: int) -> tuple[int, int]:
        """``run`` and ``ends`` of a shard that waits, as in ``Batch``. Raises as ``read``."""
        recent = self._spool.recent.get(created_ns)
        if recent is not None:
            return recent.run, recent.ends
        header = shard.decode_header(self._bytes(stream, created_ns, parked=False))
        return header.run, header.ends

    def _bytes(self, stream: str, created_ns: int, *, parked: bool) -> bytes:
        path = self.path(stream, created_ns, parked=parked)
        if not path.exists():
            self.settle()  # accepted, but its link failed then: it is made now, or StoreError says why not
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise GoneShardError(f"{path} is gone: someone removed it") from error
        except OSError as error:
            raise StoreError(f"can't read {path}: {error.strerror}") from error

    def drop(self, stream: str, shards: Iterable[int], *, parked: bool, flush: bool = True) -> None:
        """A stream has its receipt: its names of these shards go. The last name frees the bytes.

        ``flush=False`` where a name that comes back after a power cut does no harm.
        """
        self.settle()
        directory = None
        for created_ns in shards:
            path = self.path(stream, created_ns, parked=parked)
            directory = path.parent
            try:
                with self._dropping:
                    entry = path.stat()
                    path.unlink()
            except FileNotFoundError:
                continue  # removed by a person: the receipt stands all the same
            self._forget(created_ns, entry)
            reach("spool.dropping")
        if flush and directory is not None:
            self._flush(directory)
        reach("spool.acked")

    def lend(self, stream: str, shards: Iterable[int]) -> list[int]:
        """Have kept shards wait for a stream again; those that are kept no longer are left out.

        Raises StoreError, StoreFullError: what was linked until then waits.
        """
        directory = self._layout.queue(self.collector, stream)
        _make_dir(directory, self._spool.durable)
        lent = []
        try:
            for created_ns in shards:
                try:
                    size = self._spool.log.lend(self.collector, created_ns, directory / f"{created_ns}.parquet")
                except FileExistsError:
                    size = 0
                if size is not None:
                    self._spool.usage.add(self.collector, size)
                    lent.append(created_ns)
                    reach("replay.linked")
            self._flush(directory)
        except OSError as error:
            raise _store_error(self.collector, error) from error
        return lent

    def park(self, stream: str, created_ns: int) -> None:
        """Move a shard that failed to upload aside, to be retried from there."""
        self.settle()
        source, target = (self.path(stream, created_ns, parked=parked) for parked in (False, True))
        _make_dir(target.parent, self._spool.durable)
        os.rename(source, target)
        self._flush(target.parent)
        self._flush(source.parent)
        reach("spool.parked")

    def unpark(self, stream: str, created_ns: int) -> None:
        """Have a parked shard wait with the others again."""
        source, target = (self.path(stream, created_ns, parked=parked) for parked in (True, False))
        os.rename(source, target)
        self._flush(target.parent)
        self._flush(source.parent)

    def set_aside(self, stream: str, created_ns: int, *, parked: bool) -> Path:
        """Move a torn shard into quarantine, as it is. Returns where it is now."""
        self.settle()
        source = self.path(stream, created_ns, parked=parked)
        target = self._layout.quarantine(self.collector, stream) / source.name
        _make_dir(target.parent, self._spool.durable)
        if source.exists():
            # A copy: the other streams' names of the same file stay what they are.
            write_durable(target, source.read_bytes(), flush=self._spool.durable)
            self._flush(target.parent)
            self.drop(stream, [created_ns], parked=parked)
        return target

    def _fan_out(self, name: str, streams: Iterable[str]) -> None:
        for stream in streams:
            target = self._layout.queue(self.collector, stream) / name
            if target.exists():
                continue
            if self._spool.links:
                os.link(self._accepted / name, target)
            else:
                temporary = target.with_name(f".{name}.tmp")
                write_durable(temporary, (self._accepted / name).read_bytes(), flush=self._spool.durable)
                os.rename(temporary, target)
            reach("spool.linked")

    def _forget(self, created_ns: int, entry: os.stat_result) -> None:
        """Count what a name that went leaves; ``entry`` is of before, that name included."""
        # A copy where there are no links: its bytes go with it.
        kept = self._spool.links and entry.st_nlink == 2 and self._spool.log.has(self.collector, created_ns)
        last = entry.st_nlink == 1 or kept
        if last or not self._spool.links:
            self._spool.usage.add(self.collector, -entry.st_size)
        if kept:
            self._spool.log.delivered(entry.st_size)
        if last:
            self._spool.recent.drop(created_ns)

    def _check_origin(self, origin: str | None) -> None:
        if origin is None:
            return
        with self._lock:
            accepted = any(header.origin == origin for header in self._origins.values())
        if accepted:
            raise StoreError(f"{origin} is being replayed already: its rows are accepted, and wait for their streams")

    def _end_origin(self, header: shard.Header) -> None:
        """The file that a batch was made of goes, once what is left of it is safe. Repeatable."""
        assert header.origin is not None
        origin = self._layout.root / header.origin
        if not origin.exists():
            return
        size = origin.stat().st_size
        if header.rest is not None:
            path, data = self._layout.root / header.rest[0], header.rest[1].encode()
            _make_dir(path.parent, self._spool.durable)
            fresh = path == origin or not path.exists()
            write_atomic(path, data, flush=self._spool.durable)
            if fresh:
                self._spool.usage.add(self.collector, len(data))
        if header.rest is None or self._layout.root / header.rest[0] != origin:
            origin.unlink()
            self._flush(origin.parent)
        self._spool.usage.add(self.collector, -size)
        reach("spool.origin")

    def _flush(self, directory: Path) -> None:
        if self._spool.durable:
            fsync_dir(directory)


def _shards_in(directory: Path) -> list[int]:
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.is_file()]  # a folder isn't ours, whatever it is called
    except FileNotFoundError:
        return []
    return sorted(filter(None, map(name_ns, names)))


def _make_dir(path: Path, durable: bool) -> None:
    try:
        make_dir(path, flush=durable)
    except OSError as error:
        raise StoreError(f"can't create {path}: {error.strerror}") from error


def _store_error(collector: str, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"collector {collector}: no space left on the disk of STORE; nothing was written")
    return StoreError(f"collector {collector}: STORE can't be written: {error.strerror} ({error.filename})")


def _links_work(directory: Path) -> bool:
    """Does this file system have hard links? Where it has none, each stream gets a copy."""
    first, second = directory / ".link.a", directory / ".link.b"
    try:
        second.unlink(missing_ok=True)
        first.touch()
        os.link(first, second)
    except OSError as error:
        # A disk that is full, or fails, says nothing of links: to take copies then would need more of it.
        return error.errno not in _NO_LINKS
    finally:
        for path in (second, first):
            with contextlib.suppress(OSError):  # empty, and swept at the next start
                path.unlink(missing_ok=True)
    return True

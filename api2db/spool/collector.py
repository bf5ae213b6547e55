"""One collector's way into STORE: a batch is accepted by one rename, and settled once its links are on disk."""

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
from api2db.errors import SourceError, StoreError, StoreFullError
from api2db.failpoint import reach
from api2db.files import make_dir, write_atomic, write_durable
from api2db.spool.origins import Origins
from api2db.spool.queue import StreamQueue
from api2db.spool.store import Spool, store_error
from api2db.state import CollectorState, after_batch, read_state, write_state

log = logging.getLogger(__name__)


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
        self._others: set[str] = set()  # that single batches were accepted for, and no collector names
        self._accepted = spool.layout.accepted(collector)
        self._state_path = spool.layout.state(collector)
        if collector in spool.unusable:
            raise StoreError(f"collector {collector}: {spool.unusable[collector]}")
        if collector not in spool.unwritten and not self._state_path.exists():
            self._forget_poll_state()  # it was moved away, to have everything read again
        self._state, self._origins = (
            spool.unwritten.pop(collector)
            if collector in spool.unwritten
            else (read_state(self._state_path), Origins(spool, collector))
        )
        self._unsettled = spool.unsettled.setdefault(collector, [])
        self._unsettled_since_s = time.monotonic()  # of the oldest of them
        self._unlinked: list[tuple[str, tuple[str, ...]]] = []
        self._kept = spool.log.set_keep(collector, keep_s) and spool.links
        self._accepting = threading.Lock()  # polls, replays and resets
        self.resets = 0  # how often the cursor was moved by a person
        self._lock = threading.Lock()  # guards _unsettled, _origins and _state
        self._dropping = threading.Lock()  # of ``StreamQueue``
        self._queues: dict[str, StreamQueue] = {}
        self._settling = threading.Lock()  # held while names are flushed and dropped
        spool.make_dir(self._accepted)
        for stream in streams:
            self.queue(stream).make()

    def add_stream(self, stream: str) -> None:
        """One more directory that batches are accepted for from now on. No error for one it has."""
        if stream not in self._streams:
            self.queue(stream).make()
            self._streams = (*self._streams, stream)

    def queue(self, stream: str) -> StreamQueue:
        """What waits for a stream, whether batches are accepted for it now or not."""
        if stream not in self._queues:
            made = StreamQueue(self._spool, self.collector, stream, self.settle, self._dropping)
            self._queues.setdefault(stream, made)
        return self._queues[stream]

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
        origin_rows: Sequence[int] | None = None,
        resets: int | None = None,
    ) -> Batch:
        """Make a table safe and move cursor and types, all by one rename; it then waits for each stream.

        cursor     JSON text; None leaves it as it is
        types      what is known of the columns' types now; None leaves it as it is
        run, ends  as in ``Batch``
        streams    directories; by default all of the collector's streams
        batch_id   a random one by default
        origin, rest, origin_rows  as in ``Header``; what is accepted already, and not settled yet, is refused
        resets     what ``resets`` was when the cursor was read that this goes on from: a poll says it, nobody else

        Raises StoreFullError (nothing was written, collect again when there is room), StoreError, or SourceError if
        the cursor was reset meanwhile.
        """
        with self._accepting:
            self._check_resets(resets)
            polled = resets is not None
            return self._accept(table, cursor, run, ends, streams, types, batch_id, origin, rest, origin_rows, polled)

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
        origin_rows: Sequence[int] | None,
        polled: bool,
    ) -> Batch:
        streams = self._streams if streams is None else tuple(streams)
        with self._lock:
            self._others.update(set(streams) - set(self._streams))
        batch = Batch(table, batch_id or new_batch_id(), self._spool.clock.next(), run, ends)
        header = shard.Header(
            batch.batch_id, self.collector, batch.created_ns, table.num_rows, cursor, streams, origin=origin, rest=rest
        )
        if types == self.state.types:
            types = None
        if origin is not None:
            with self._lock:
                self._origins.check(origin)
        data = shard.encode(
            batch, self.collector, streams, cursor, types,
            kept=self._kept, origin=origin, rest=rest, origin_rows=origin_rows,
        )  # fmt: skip
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
            raise store_error(self.collector, error) from error
        reach("spool.renamed")
        # From here on the batch is accepted. What still fails is repeated when it is settled, or at the next start.
        unlinked = []
        try:
            self._spool.flush(self._accepted)
            self._fan_out(name, streams)
            if self._kept:
                self._spool.log.add(self.collector, self._accepted / name)
        except OSError as error:
            unlinked = [(name, streams)]
            log.error("accepted batch not fanned out yet collector=%s cause=%s", self.collector, error.strerror)
        with self._lock:
            self._unlinked += unlinked
            self._state = after_batch(self._state, cursor, batch.created_ns, types, polled=polled)
            if not self._unsettled:
                self._unsettled_since_s = time.monotonic()
            self._unsettled.append(batch.created_ns)
            self._origins.add(header)
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
            # Before the cursor moves: what sources remember would leave out what is to be read again.
            self._forget_poll_state()
            before = self._state.cursor
            self._state = replace(self._state, cursor=cursor, last_ns=self._spool.clock.next())
        self.settle(always=True)
        return before

    def poll_state(self) -> bytes:
        """What ``keep_poll_state`` kept last; nothing at the start, or where it can't be read."""
        try:
            return self._layout.poll_state(self.collector).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            log.warning("what sources remembered can't be read: they ask anew collector=%s cause=%s",
                        self.collector, error)  # fmt: skip
            return b""

    def keep_poll_state(self, data: bytes, *, resets: int) -> None:
        """Keep it for the next poll. ``resets`` as in ``accept``.

        Not flushed: what a power cut takes of it costs requests, never rows. Raises StoreError, SourceError.
        """
        path = self._layout.poll_state(self.collector)
        with self._accepting:
            self._check_resets(resets)
            try:
                make_dir(path.parent, flush=self._spool.durable)
                write_atomic(path, data, flush=False)
            except OSError as error:
                raise store_error(self.collector, error) from error

    def _forget_poll_state(self) -> None:
        path = self._layout.poll_state(self.collector)
        try:
            if path.exists():
                path.unlink()
                self._spool.flush(path.parent)
        except OSError as error:
            raise store_error(self.collector, error) from error

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
                linked = (*self._streams, *self._others)
                origins = self._origins.under_way()
            if not settled and not always:
                return
            try:
                for name, streams in unlinked:
                    self._fan_out(name, streams)
                if settled:
                    for stream in linked:
                        self._spool.flush(self.queue(stream).directory)
                write_state(self._state_path, state, flush=self._spool.durable)
                for header in origins:
                    self._origins.end(header)
                for created_ns in settled:
                    (self._accepted / f"{created_ns}.parquet").unlink(missing_ok=True)
                if settled:
                    self._spool.flush(self._accepted)
            except OSError as error:
                raise store_error(self.collector, error) from error
            with self._lock:
                del self._unsettled[: len(settled)]
                self._unsettled_since_s = time.monotonic()
                del self._unlinked[: len(unlinked)]
                self._origins.forget(origins)
        reach("spool.settled")

    def fan_out_again(self, path: Path, header: shard.Header) -> None:
        """A batch is in ``accepted/`` at the start: no stream has dropped it. Raises StoreError, OSError."""
        queues = [self.queue(stream) for stream in header.streams]
        for queue in queues:
            queue.make()
        self._fan_out(path.name, header.streams)
        if header.kept and self._spool.links:
            self._spool.log.add(self.collector, path)
        for queue in queues:
            self._spool.flush(queue.directory)
        with self._lock:
            if header.created_ns > self._state.last_ns:
                polled = header.origin is None
                self._state = after_batch(self._state, header.cursor, header.created_ns, header.types, polled=polled)
            self._unsettled.append(header.created_ns)
            self._origins.add(header)

    def settle_recovered(self) -> None:
        """As ``settle``, for what was fanned out again; where the disk is full, left to whoever polls next."""
        try:
            self.settle()
        except StoreFullError as error:
            # Fanned out and flushed: only the names in accepted/ stay, until there is room to write the cursor. Whoever
            # polls from now on goes on behind them all the same.
            self._spool.unwritten[self.collector] = self._state, self._origins
            log.warning("not settled yet collector=%s cause=%s", self.collector, error)

    def oldest(self, stream: str) -> int | None:
        """``created_ns`` of the oldest shard a stream may be given: accepted, waiting, parked, or kept in the log."""
        with self._lock:
            accepted = self._unsettled[:1]
        kept, queue = self._spool.log.shards(self.collector)[:1], self.queue(stream)
        return min([*accepted, *kept, *queue.waiting()[:1], *queue.parked()[:1]], default=None)

    def _fan_out(self, name: str, streams: Iterable[str]) -> None:
        for stream in streams:
            self.queue(stream).link(self._accepted / name)

"""What waits for one stream: its directory of shards, and that of the shards it failed to upload."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from api2db import shard
from api2db.batch import Batch
from api2db.errors import GoneShardError, StoreError, TornShardError
from api2db.failpoint import reach
from api2db.files import write_atomic, write_durable
from api2db.shardlog import name_ns
from api2db.spool.store import Spool, store_error


@dataclass(frozen=True)
class StreamQueue:
    """One stream's shards: they wait, are parked, lent, dropped. Any thread.

    settle    has the collector's batches settled, before a name of them goes; raises StoreError
    dropping  one lock for all streams of the collector: makes "was that the last name?" and the unlink one step
    """

    spool: Spool
    collector: str
    stream: str
    settle: Callable[[], None]
    dropping: threading.Lock

    @property
    def directory(self) -> Path:
        return self.spool.layout.queue(self.collector, self.stream)

    def make(self) -> None:
        """Make the directory; nothing happens where it is there. Raises StoreError."""
        self.spool.make_dir(self.directory)

    def waiting(self) -> list[int]:
        """``created_ns`` of the shards in the queue, oldest first."""
        return _shards_in(self.directory)

    def parked(self) -> list[int]:
        """``created_ns`` of the shards the stream failed to upload, oldest first."""
        return _shards_in(self.spool.layout.failed(self.collector, self.stream))

    def holds_anything(self) -> bool:
        """Does anything wait in the stream's directories: a shard, or a file prepared and not published?"""
        places = (self.directory, self.spool.layout.failed(self.collector, self.stream))
        return any(any(place.iterdir()) for place in places if place.is_dir())

    def path(self, created_ns: int, *, parked: bool) -> Path:
        place = self.spool.layout.failed if parked else self.spool.layout.queue
        return place(self.collector, self.stream) / f"{created_ns}.parquet"

    def read(self, created_ns: int, *, parked: bool) -> Batch:
        """The batch of one shard. Raises TornShardError, or StoreError if it can't be read at all."""
        recent = self.spool.recent.get(created_ns)
        if recent is not None:
            return recent
        return shard.decode(self._bytes(created_ns, parked=parked))[1]

    def part(self, created_ns: int) -> tuple[int, int]:
        """``run`` and ``ends`` of a shard that waits, as in ``Batch``. Raises as ``read``."""
        recent = self.spool.recent.get(created_ns)
        if recent is not None:
            return recent.run, recent.ends
        header = shard.decode_header(self._bytes(created_ns, parked=False))
        return header.run, header.ends

    def _bytes(self, created_ns: int, *, parked: bool) -> bytes:
        path = self.path(created_ns, parked=parked)
        if not path.exists():
            self.settle()  # accepted, but its link failed then: it is made now, or StoreError says why not
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise GoneShardError(f"{path} is gone: someone removed it") from error
        except OSError as error:
            raise StoreError(f"can't read {path}: {error.strerror}") from error

    def link(self, accepted: Path) -> None:
        """Have a shard wait that is accepted. Not flushed yet; nothing happens if it waits already. Raises OSError."""
        target = self.directory / accepted.name
        if target.exists():
            return
        if self.spool.links:
            os.link(accepted, target)
        else:
            temporary = target.with_name(f".{accepted.name}.tmp")
            write_durable(temporary, accepted.read_bytes(), flush=self.spool.durable)
            os.rename(temporary, target)
        reach("spool.linked")

    def drop(self, shards: Iterable[int], *, parked: bool, flush: bool = True) -> None:
        """The stream has its receipt: its names of these shards go. The last name frees the bytes.

        ``flush=False`` where a name that comes back after a power cut does no harm.
        """
        self.settle()
        directory = None
        for created_ns in shards:
            path = self.path(created_ns, parked=parked)
            directory = path.parent
            try:
                with self.dropping:
                    entry = path.stat()
                    path.unlink()
            except FileNotFoundError:
                continue  # removed by a person: the receipt stands all the same
            self._forget(created_ns, entry)
            reach("spool.dropping")
        if flush and directory is not None:
            self.spool.flush(directory)
        reach("spool.acked")

    def _forget(self, created_ns: int, entry: os.stat_result) -> None:
        """Count what a name that went leaves; ``entry`` is of before, that name included."""
        # A copy where there are no links: its bytes go with it.
        kept = self.spool.links and entry.st_nlink == 2 and self.spool.log.has(self.collector, created_ns)
        last = entry.st_nlink == 1 or kept
        if last or not self.spool.links:
            self.spool.usage.add(self.collector, -entry.st_size)
        if kept:
            self.spool.log.delivered(entry.st_size)
        if last:
            self.spool.recent.drop(created_ns)

    def lend(self, shards: Iterable[int], without: Mapping[int, Sequence[int]] | None = None) -> list[int]:
        """Have kept shards wait for the stream again; those that are kept no longer are left out.

        without  by ``created_ns``: the numbers of rows that a shard waits without

        Raises StoreError, StoreFullError: what was linked until then waits.
        """
        self.make()
        lent = []
        try:
            for created_ns in shards:
                target, left_out = self.path(created_ns, parked=False), (without or {}).get(created_ns)
                try:
                    part = self._part(created_ns, left_out) if left_out and not target.exists() else None
                    if part is None:
                        size = self.spool.log.lend(self.collector, created_ns, target)
                    else:
                        self.spool.recent.drop(created_ns)  # that is the whole batch
                        write_atomic(target, part, flush=self.spool.durable)
                        size = len(part)
                except FileExistsError:
                    size = 0
                if size is not None:
                    self.spool.usage.add(self.collector, size)
                    lent.append(created_ns)
                    reach("replay.linked")
            self.spool.flush(self.directory)
        except OSError as error:
            raise store_error(self.collector, error) from error
        return lent

    def _part(self, created_ns: int, left_out: Sequence[int]) -> bytes | None:
        """A kept shard without some of its rows, the same batch; None where it isn't kept any more, or is damaged."""
        try:
            header, batch = shard.decode(self.spool.log.path(self.collector, created_ns).read_bytes())
        except (FileNotFoundError, TornShardError):
            return None
        elsewhere = set(left_out)
        there = [number for number in range(batch.table.num_rows) if number not in elsewhere]
        part = replace(batch, table=batch.table.take(pa.array(there, pa.int64())), left_out=tuple(sorted(elsewhere)))
        return shard.encode(
            part, self.collector, header.streams, header.cursor,
            kept=header.kept, origin=header.origin, origin_rows=header.origin_rows,
        )  # fmt: skip

    def park(self, created_ns: int) -> None:
        """Move a shard that failed to upload aside, to be retried from there."""
        self.settle()
        source, target = (self.path(created_ns, parked=parked) for parked in (False, True))
        self.spool.make_dir(target.parent)
        os.rename(source, target)
        self.spool.flush(target.parent)
        self.spool.flush(source.parent)
        reach("spool.parked")

    def unpark(self, created_ns: int) -> None:
        """Have a parked shard wait with the others again."""
        source, target = (self.path(created_ns, parked=parked) for parked in (True, False))
        os.rename(source, target)
        self.spool.flush(target.parent)
        self.spool.flush(source.parent)

    def set_aside(self, created_ns: int, *, parked: bool) -> Path:
        """Move a torn shard into quarantine, as it is. Returns where it is now."""
        self.settle()
        source = self.path(created_ns, parked=parked)
        target = self.spool.layout.quarantine(self.collector, self.stream) / source.name
        self.spool.make_dir(target.parent)
        if source.exists():
            # A copy: the other streams' names of the same file stay what they are.
            write_durable(target, source.read_bytes(), flush=self.spool.durable)
            self.spool.flush(target.parent)
            self.drop([created_ns], parked=parked)
        return target


def _shards_in(directory: Path) -> list[int]:
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.is_file()]  # a folder isn't ours, whatever it is called
    except FileNotFoundError:
        return []
    return sorted(filter(None, map(name_ns, names)))

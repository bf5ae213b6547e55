"""From a stream's declaration to its delivery: its directory, its sink, its place in the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from api2db.errors import Api2dbError, ConfigError, StoreError
from api2db.journal.journal import Journal
from api2db.layout import Layout
from api2db.quarantine import RowQuarantine
from api2db.runtime.delivery import Delivery
from api2db.runtime.hindsight import look_back
from api2db.runtime.replacement import ReplacingDelivery
from api2db.settings import Settings
from api2db.shard import decode_header
from api2db.sinks.base import Placement, Renewable, Target
from api2db.sinks.engines import Engines
from api2db.spool.collector import CollectorSpool
from api2db.spool.recovery import recover
from api2db.spool.store import Spool
from api2db.state import assign_directories
from api2db.usage import Usage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What all streams of a process share."""

    settings: Settings
    spool: Spool
    journal: Journal
    engines: Engines


def spool_of(settings: Settings, layout: Layout) -> Spool:
    """STORE's spool, as the settings limit it. Not recovered yet."""
    usage = Usage(
        layout.root,
        max_collector_bytes=settings.max_collector_bytes,
        max_store_bytes=settings.max_store_bytes,
        min_free_bytes=settings.min_free_bytes,
    )
    return Spool(
        layout,
        usage,
        durable=settings.durability == "fsync",
        keep_s=settings.keep,
        max_log_bytes=settings.max_log_bytes,
        max_tape_bytes=settings.max_tape_bytes,
    )


def opened(settings: Settings, layout: Layout) -> Kept:
    """STORE, recovered. Whoever calls it holds its lock, and closes what is in it."""
    journal = Journal(layout.journal)
    try:
        spool = spool_of(settings, layout)
        for header in recover(spool):
            journal.accepted(header)
    except BaseException:
        journal.close()
        raise
    return Kept(settings, spool, journal, Engines(settings.target_threads))


def settle(shards: CollectorSpool, age_s: float = 0.0) -> None:
    """Settle what has waited so long; where STORE can't be written now, the next time will do."""
    try:
        shards.settle_older_than(age_s)
    except StoreError as error:
        # Debug only: polls and deliveries of this collector meet the same error, and report it.
        log.debug("STORE can't be written, trying again collector=%s cause=%s", shards.collector, error)


def place_of(target: Target, kept: Kept) -> tuple[str, str]:
    """A stream's type and the identity of its place, without credentials."""
    return target.stream_type, target.target(kept.settings.project, kept.spool.layout.root)


def directories_of(shards: CollectorSpool, places: Sequence[tuple[str, str]]) -> list[str]:
    """The directory of each of a collector's places, in order, remembered from now on.

    Raises ConfigError for one place named twice.
    """
    known = shards.state.streams
    waiting = frozenset(name for name in known if shards.queue(name).holds_anything())
    directories, memory = assign_directories(known, list(places), waiting)
    shards.remember_streams(memory)
    return directories


def delivery_to(
    target: Target,
    directory: str,
    shards: CollectorSpool,
    kept: Kept,
    targets_now: Callable[[], Sequence[Target]] | None = None,
) -> Delivery:
    """The delivery of a stream whose directory ``shards`` knows. It has not connected yet.

    targets_now  the collector's streams as they are declared now; by it a stopped one reads its credentials anew
    """
    layout, collector = kept.spool.layout, shards.collector
    placement = Placement(
        stream=f"{collector}/{directory}",
        store=layout.root,
        staging=layout.queue(collector, directory),
        parked=layout.failed(collector, directory),
        project=kept.settings.project,
        engines=kept.engines,
        durable=kept.spool.durable,
        store_id=layout.id,
    )
    sink = target.sink(placement)
    quarantine = RowQuarantine(layout, collector, directory, usage=kept.spool.usage, durable=kept.spool.durable)
    reconcile(kept.journal, shards, directory)
    if sink.replaces:
        queue = shards.queue(directory)
        for created_ns in queue.parked():  # of when the stream didn't replace yet
            queue.unpark(created_ns)
            kept.journal.outcome(collector, directory, created_ns, "waiting")
    kind = ReplacingDelivery if sink.replaces else Delivery
    delivery = kind(collector, directory, sink, shards, kept.journal, quarantine)
    delivery.look_back = partial(look_back, delivery)
    if targets_now is not None and isinstance(sink, Renewable):
        here = place_of(target, kept)
        delivery.renew = lambda: _renew(sink, here, targets_now(), placement, kept)
    return delivery


def _renew(sink: Renewable, here: tuple[str, str], targets: Sequence[Target], placement: Placement, kept: Kept) -> bool:
    """Have ``sink`` go in as the stream that is declared for its place now; whether that differs."""
    for target in targets:
        if place_of(target, kept) == here:
            return sink.go_in_as(target.sink(placement))
    raise ConfigError(f"no stream into {here[1]} is declared any more: start the daemon again")


def reconcile(journal: Journal, shards: CollectorSpool, stream: str) -> None:
    """Tell the journal of shards it doesn't know: it may have been deleted, or a power cut took its last lines."""
    known = journal.waiting(shards.collector, stream)
    queue = shards.queue(stream)
    for parked in (False, True):
        for created_ns in queue.parked() if parked else queue.waiting():
            if created_ns in known:
                continue
            path = queue.path(created_ns, parked=parked)
            try:
                header = decode_header(path.read_bytes())
            except Api2dbError:
                continue  # torn: delivery sets it aside and says so
            # For this stream alone: to others it may have been delivered long ago, and to this one be replayed.
            journal.accepted(replace(header, streams=(stream,)))
            # Killed while it was given up, or put back: it is there.
            journal.outcome(shards.collector, stream, created_ns, "waiting", of=("purged", "removed"))
            if parked:
                journal.outcome(shards.collector, stream, created_ns, "parked")

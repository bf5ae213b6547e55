"""The start: what was accepted and not settled is fanned out again, what waits is counted, what is torn set aside."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from api2db import shard
from api2db.errors import StoreError, TornShardError
from api2db.shardlog import name_ns
from api2db.spool.collector import CollectorSpool
from api2db.spool.store import Spool
from api2db.state import read_state

log = logging.getLogger(__name__)


def recover(spool: Spool) -> list[shard.Header]:
    """Repeat the fan-out of every batch that was accepted and not settled, whoever's it is.

    Also sweeps temporary files and counts what waits. Call once, before anything runs. Returns what each
    recovered batch says of itself.
    """
    recovered = []
    for name in sorted(entry.name for entry in os.scandir(spool.layout.queues) if entry.is_dir()):
        try:
            recovered += _recover_collector(spool, name)
        except (StoreError, OSError) as error:
            # That collector can't run until a person has looked; the others can.
            spool.unusable[name] = f"its part of STORE can't be recovered: {error}"
    for path in spool.layout.states.glob("*.json"):
        try:
            spool.clock.raise_to(read_state(path).last_ns)
        except StoreError as error:
            log.error("state can't be read cause=%s", error)
    _count(spool)
    return recovered


def _recover_collector(spool: Spool, collector: str) -> list[shard.Header]:
    shards = CollectorSpool(spool, collector, keep_s=None)
    recovered = []
    for path, header in _accepted(spool, collector):
        shards.fan_out_again(path, header)
        recovered.append(header)
    shards.settle_recovered()
    return recovered


def _accepted(spool: Spool, collector: str) -> Iterator[tuple[Path, shard.Header]]:
    """The batches in ``accepted/``, oldest first. Temporary files there are removed, torn shards set aside."""
    for path in sorted(spool.layout.accepted(collector).iterdir()):
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
            aside = spool.layout.quarantine(collector, "accepted")
            spool.make_dir(aside)
            os.rename(path, aside / path.name)
            log.error("accepted shard is torn, kept in %s cause=%s", aside, error)
            continue
        yield path, header


def _count(spool: Spool) -> None:
    """Add up each collector's shards, a shard with several names once, and what it has in quarantine."""
    seen: set[int] = set()
    layout = spool.layout
    for root in (layout.queues, layout.root / "upload_failed", layout.root / "quarantine"):
        for path in root.glob("*/*/*"):
            if path.suffix in (".ready", ".rows", ".group"):
                continue  # of a sink that writes files: gone as soon as it runs
            if not path.is_file():
                continue  # a folder, or a link to nothing: someone else's
            entry = path.stat()
            spool.clock.raise_to(name_ns(path.name) or 0)
            if entry.st_ino not in seen:
                seen.add(entry.st_ino)
                spool.usage.add(path.parent.parent.name, entry.st_size)
    spool.clock.raise_to(spool.log.recover())
    spool.tapes.recover()

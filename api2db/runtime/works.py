"""What a command may change of STORE, by whoever holds its lock: the running daemon, or the command itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from api2db.collector import Collector
from api2db.errors import ConfigError, TornShardError
from api2db.nearest import nearest
from api2db.runtime.assembly import Kept, delivery_to, directories_of, place_of
from api2db.runtime.delivery import Delivery, State
from api2db.settings import check_keep, check_tape
from api2db.shard import peek
from api2db.sinks.base import Target
from api2db.spool.collector import CollectorSpool
from api2db.spool.queue import StreamQueue


@dataclass(frozen=True)
class Part:
    """One collector with its part of the spool and its streams."""

    collector: Collector
    shards: CollectorSpool
    deliveries: tuple[Delivery, ...]

    def streams(self, stream: str | None) -> list[Delivery]:
        """The one of that directory; all with None. Raises ConfigError, naming those there are."""
        found = [each for each in self.deliveries if stream in (None, each.stream)]
        if not found:
            there = ", ".join(each.stream for each in self.deliveries) or "none"
            raise ConfigError(
                f"collector {self.collector.name} has no stream {stream!r}; its streams: {there}; what waits for"
                " one that was taken away is given up by: api2db shards purge --removed"
            )
        return found


@dataclass(frozen=True)
class Works:
    """STORE, open, and what delivers from it.

    wake       have a delivery look at what waits
    target_of  the stream of one more place for a collector, with the credentials as they are now; raises ConfigError
    filled     deliveries to such places, by name: a directory has one at a time
    aside      collectors that are declared and don't run, and why
    broken     modules that can't be used, and why: what they declare nobody knows
    begin      begin a poll of the collector of that name, which runs: False while one is under way; any thread. None
               where no daemon runs
    """

    kept: Kept
    parts: Mapping[str, Part]
    wake: Callable[[Delivery], None]
    target_of: Callable[[Collector, str], Target]
    filled: dict[str, Delivery] = field(default_factory=dict)
    aside: Mapping[str, str] = field(default_factory=dict)
    broken: Sequence[str] = ()
    begin: Callable[[str], bool] | None = None

    def part(self, collector: str) -> Part:
        if collector not in self.parts:
            broken = f"; these files can't be used: {'; '.join(self.broken)}" if self.broken else ""
            raise ConfigError(f"there is no collector {collector!r} that runs{nearest(collector, self.parts)}{broken}")
        return self.parts[collector]


@dataclass
class Answer:
    """What was done: for people a line each, for programs ``facts``; ``failed`` where something is left to do."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    failed: bool = False

    def say(self, line: str) -> None:
        self.lines.append(line)


def prepared(
    collector: Collector,
    targets: Sequence[Target],
    kept: Kept,
    targets_now: Callable[[], Sequence[Target]] | None = None,
) -> Part:
    """A collector's streams, ready to deliver; ``targets_now`` as in ``delivery_to``.

    Raises ConfigError, StoreError.
    """
    check_keep(collector.keep_s, kept.settings)
    check_tape(collector.tape_s, kept.settings)
    if collector.tape_s:
        kept.spool.tapes.set_keep(collector.name, collector.tape_s)
    shards = CollectorSpool(kept.spool, collector.name, keep_s=collector.keep_s)
    directories = directories_of(shards, [place_of(target, kept) for target in targets])
    for directory in directories:
        shards.add_stream(directory)
    deliveries = [
        delivery_to(target, directory, shards, kept, targets_now)
        for target, directory in zip(targets, directories, strict=True)
    ]
    return Part(collector, shards, tuple(deliveries))


def one_more(part: Part, name: str, works: Works) -> Delivery:
    """The delivery to a place as it would be were its name in the collector's ``to``; it is remembered as such.

    One of the collector's own where it has that place already.
    """
    target = works.target_of(part.collector, name)
    wanted = place_of(target, works.kept)
    for directory, there in part.shards.state.streams.items():
        if there == wanted[1] and directory.partition("~")[0] == wanted[0]:
            break
    else:
        mine = [(d.stream.partition("~")[0], part.shards.state.streams[d.stream]) for d in part.deliveries]
        directory = directories_of(part.shards, [*mine, wanted])[-1]
    own = next((each for each in part.deliveries if each.stream == directory), None)
    key = f"{part.collector.name}/{directory}"
    if key in works.filled:
        with works.filled[key].turn:
            works.filled[key].renewed()  # it may have been asked for because a password was mended
    elif own is None:
        part.shards.queue(directory).make()  # files are written there before they are published
        works.filled[key] = delivery_to(
            target, directory, part.shards, works.kept, lambda: [works.target_of(part.collector, name)]
        )
    return own or works.filled[key]


def deliver_all(deliveries: Sequence[Delivery]) -> list[str]:
    """Deliver what waits, until nothing does; a stream that fails is left for later. A line for each of those."""
    troubles = []
    for delivery in deliveries:
        while (due_in_s := delivery.due_in_s()) is not None:
            if due_in_s > 0:
                break
            delivery.step()
            if delivery.state is not State.OK:
                break
        left = sum(delivery.backlog)
        if left:
            troubles.append(f"{delivery.name}: {left} shards wait: {delivery.cause or 'they are tried again later'}")
    return troubles


def rows_of(queue: StreamQueue, shards: Sequence[int], *, parked: bool) -> int:
    """How many rows shards that wait hold, as far as they can be read."""
    rows = 0
    for created_ns in shards:
        try:
            rows += peek(queue.path(created_ns, parked=parked)).rows
        except (TornShardError, OSError):
            continue  # nobody can tell
    return rows

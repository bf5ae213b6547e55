"""One stream's way from its shards to its sink: receipt, journal, drop. One ``step`` is one transaction."""

from __future__ import annotations

import enum
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from api2db.batch import Batch, Receipt
from api2db.errors import FatalError, GoneShardError, SinkError, StoreError, TornShardError, in_one_line
from api2db.journal.journal import Journal
from api2db.retry import RetryPolicy
from api2db.runtime.lanes import Lane, Taken, Waiting
from api2db.secret import redact
from api2db.sinks.base import Forgetful, Limits, Paced, Quarantine, Sink
from api2db.spool.collector import CollectorSpool

log = logging.getLogger(__name__)

# What one transaction may hold. Small batches share a commit; a single larger batch is a transaction by itself.
GROUP_ROWS = 100_000
GROUP_BYTES = 24 * 2**20
GROUP_SHARDS = 500
GROUP = Limits(GROUP_ROWS, GROUP_BYTES, GROUP_SHARDS)

# Once all that waited is in, a stream rests for twice as long as that load took, this long at most: what comes thick
# and fast then shares loads, and its polls have the processor meanwhile. Behind a backlog nothing rests.
REST_S = 0.1

# A stopped stream looks again this often: a password may have been mended, and nobody is on call.
STOPPED_PROBE_S = 300.0


def limits_of(sink: Sink) -> Limits:
    """What one transaction of this sink may hold of several batches."""
    return sink.limits if isinstance(sink, Paced) else GROUP


class State(enum.Enum):
    OK = "ok"
    RETRYING = "retrying"
    DOWN = "down"
    STOPPED = "stopped"


@dataclass
class Delivery:
    """A queue, a retry policy, a sink. ``step`` is called by one thread at a time, ``notify`` by any.

    stream  the stream's directory name
    clock   monotonic seconds
    renew   read the place's credentials anew, and have the sink use them; whether they are others. May raise
            anything: it calls the collector's own code
    look_back  once, when the place is reached: tell the journal what it has missed; whether that is done
    """

    collector: str
    stream: str
    sink: Sink
    spool: CollectorSpool
    journal: Journal
    quarantine: Quarantine
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    rng: random.Random = field(default_factory=random.Random)
    clock: Callable[[], float] = time.monotonic
    renew: Callable[[], bool] | None = None
    look_back: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        self._log = logging.LoggerAdapter(log, {"collector": self.collector})
        self._lock = threading.Lock()
        self._paced = self.sink if isinstance(self.sink, Paced) else None
        self._limits = limits_of(self.sink)
        self._rests_until = 0.0
        self.at_once = False  # whatever pace the place asks for: somebody waits for it
        self.turn = threading.Lock()  # held for a step; whoever else holds it may change what waits
        self.queue = self.spool.queue(self.stream)
        self._waiting = Lane(Waiting(self.queue.waiting()), parked=False)
        self._parked = Lane(Waiting(self.queue.parked()), parked=True)
        # The first step reaches the place even if nothing waits: a wrong password is seen at once, and files
        # that a crash left between shard and target are published.
        self._unconnected = True
        self._doubted = False  # what the place was reached with: a person has to mend something, maybe that
        self.state = State.OK
        self.cause = ""  # of the last failure, in one line
        self.horizon_ns = 0  # a shard created before it is held: whether it is in already can't be told

    @property
    def name(self) -> str:
        return f"{self.collector}/{self.stream}"

    @property
    def backlog(self) -> tuple[int, int]:
        """Shards waiting and parked."""
        with self._lock:
            return len(self._waiting.shards), len(self._parked.shards)

    def notify(self, batch: Batch) -> None:
        """A new shard is in this stream's directory."""
        if batch.ends:
            return  # only streams that replace are given those
        with self._lock:
            self._waiting.shards.append(batch.created_ns)

    def holds(self, created_ns: int) -> bool:
        """Whether a shard waits or is parked, not delivered yet."""
        with self._lock:
            return any(created_ns in lane.shards.all() for lane in (self._waiting, self._parked))

    def readmit(self, shards: Sequence[int]) -> None:
        """These wait again, each in its place among the others. With ``turn`` held."""
        with self._lock:
            known = set(self._waiting.shards.all())
            self._waiting.shards = Waiting(sorted(known.union(shards)))

    def oldest(self) -> int | None:
        """``created_ns`` of the oldest shard that waits, is parked or can be replayed, heard of or in its folder."""
        return self.spool.oldest(self.stream)

    def begin_again(self, retry: RetryPolicy) -> None:
        """Try everything at once, with as many repeats as ``retry`` has from now on."""
        with self._lock:
            self.retry = retry
            for lane in (self._waiting, self._parked):
                lane.failures, lane.due = 0, 0.0
            if self.state is not State.OK:
                self.state = State.RETRYING

    def purge(self, rows_of: Callable[[list[int]], int], *, parked: bool) -> tuple[list[int], int]:
        """Give up what is parked, or what waits; which shards, and what ``rows_of`` says of them before they go."""
        lane = self._parked if parked else self._waiting
        with self.turn:
            with self._lock:
                shards = lane.shards.all()
            rows = rows_of(shards)
            for created_ns in shards:
                self.journal.outcome(self.collector, self.stream, created_ns, "purged")
            self.queue.drop(shards, parked=parked)
            with self._lock:
                lane.shards.drop(len(shards))
        return shards, rows

    def park_oldest(self) -> bool:
        """Move the oldest waiting shard to STORE/upload_failed. False if none waits, or it can't be moved."""
        waiting = self.backlog[0]
        if waiting:
            self._park()
        return self.backlog[0] < waiting

    def due_in_s(self) -> float | None:
        """Seconds until ``step`` has something to do; None while nothing waits."""
        with self._lock:
            lanes = self._lanes()
            if not lanes:
                return max(0.0, self._waiting.due - self.clock()) if self._unconnected else None
            due_in_s = max(0.0, min(lane.due for lane in lanes) - self.clock())
        # A place that may not be loaded yet is reached all the same, the first time.
        return due_in_s if self._unconnected else max(due_in_s, self._paced_s())

    @property
    def rest_s(self) -> float:
        """Seconds until whoever shares a processor with polls should call the next ``step``."""
        return max(0.0, self._rests_until - self.clock())

    def _paced_s(self) -> float:
        return 0.0 if self._paced is None or self.at_once else self._paced.wait_s()

    def step(self) -> None:
        """Deliver the oldest shards in one transaction, or note why not. Raises nothing."""
        with self.turn:
            self._step()

    def _step(self) -> None:
        began, there = self.clock(), sum(self.backlog)
        lane, shards = self._choose()
        if self._paced_s():
            shards = []
        if not shards and not (self._unconnected and lane.due <= self.clock()):
            return  # woken before its time
        if self._doubted:
            self.renewed()
        try:
            taken = self._take(lane, shards)
            if self._unconnected or self.state is not State.OK:
                self.sink.connect()  # otherwise ``load`` finds its connection by itself
                if isinstance(self.sink, Forgetful):
                    self.horizon_ns = max(self.horizon_ns, self.sink.horizon_ns)
                if self.look_back is not None and self.look_back():
                    self.look_back = None
                self._unconnected = False
                if self._paced_s():
                    taken = Taken([], [])  # to finish what was under way was this step's share
            held = [shard for shard in taken.shards if shard < self.horizon_ns]
            if held:
                self._hold(lane, held)
            receipts = self._deliver(lane, taken) if taken.batches and not held else []
        except FatalError as error:
            self._stop(error)
        except (SinkError, StoreError, OSError) as error:
            self.failed(error, lane)
        except Exception as error:  # noqa: BLE001 - the supervisor of this stream
            # A bug, ours or a driver's: it must not stop the other streams, and this lane backs off like any other.
            self._log.exception("delivery failed unexpectedly stream=%s", self.name)
            self.failed(error, lane)
        else:
            self._succeeded(lane)
            self._rests_until = (
                self.clock() + min(2 * (self.clock() - began), REST_S) if len(taken.shards) == there else 0.0
            )
            self._report(receipts)

    def _deliver(self, lane: Lane, taken: Taken) -> list[Receipt]:
        receipts = self.sink.load(taken.batches, self.quarantine)
        if taken.superseded:
            self.journal.superseded(self.collector, self.stream, taken.superseded)
            # No ledger has them: one that came back after a power cut would replace what is newer.
            self.queue.drop(taken.superseded, parked=lane.parked)
        self.journal.delivered(self.collector, self.stream, taken.shards, receipts)
        self.queue.drop(taken.shards, parked=lane.parked, flush=not self.sink.remembers)
        with self._lock:
            lane.shards.drop(len(taken.superseded) + len(taken.shards))
        # Until this is done there may be something to publish although nothing waits.
        self._unconnected = True
        self.sink.publish(taken.batches)
        self._unconnected = False
        return receipts

    def _lanes(self) -> list[Lane]:
        """The lanes that may be tried, what failed first. Where order matters, nothing passes a parked shard."""
        if self._parked.shards and self.sink.ordered:
            return [self._parked]
        return [lane for lane in (self._parked, self._waiting) if lane.shards]

    def _choose(self) -> tuple[Lane, list[int]]:
        """Which lane, and its oldest shards: parked ones one at a time, and one while the place is down."""
        with self._lock:
            now = self.clock()
            lane = next((lane for lane in self._lanes() if lane.due <= now), self._waiting)
            single = lane.parked or self.state is not State.OK
            return lane, lane.shards.oldest(1 if single else GROUP_SHARDS) if lane.due <= now else []

    def _take(self, lane: Lane, shards: list[int]) -> Taken:
        """Read as many as fit one transaction. A torn shard is set aside, and the group ends before it."""
        batches: list[Batch] = []
        limits = self._limits
        rows = size = 0
        for created_ns in shards:
            try:
                batch = self.queue.read(created_ns, parked=lane.parked)
            except TornShardError as error:
                if not batches:
                    self._set_aside(lane, created_ns, error)
                break
            rows += batch.table.num_rows
            size += batch.table.nbytes
            if batches and (rows > limits.rows or size > limits.size):
                break
            batches.append(batch)
        return Taken(shards[: len(batches)], batches)

    def _set_aside(self, lane: Lane, created_ns: int, error: TornShardError) -> None:
        gone = isinstance(error, GoneShardError)
        path = self.queue.set_aside(created_ns, parked=lane.parked)
        self.journal.outcome(self.collector, self.stream, created_ns, "removed" if gone else "quarantined")
        with self._lock:
            lane.shards.remove(created_ns)
        if gone:
            self._log.error(
                "shard removed by someone, its rows not loaded collector=%s stream=%s cause=%s",
                self.collector, self.stream, error,
            )  # fmt: skip
        else:
            self._log.error(
                "shard damaged, not loaded collector=%s stream=%s cause=%s; kept as %s",
                self.collector, self.stream, error, path,
            )  # fmt: skip

    def _hold(self, lane: Lane, shards: list[int]) -> None:
        """Shards of before the ledger's memory, as from an old copy of STORE: a person has to look at them."""
        for created_ns in shards:
            path = self.queue.set_aside(created_ns, parked=lane.parked)
            self.journal.outcome(self.collector, self.stream, created_ns, "quarantined")
            with self._lock:
                lane.shards.remove(created_ns)
            self._log.error(
                "shard held, not loaded collector=%s stream=%s: it is older than what the ledger remembers, so nobody"
                " can tell whether its rows are in; see whether they are; kept as %s",
                self.collector, self.stream, path,
            )  # fmt: skip

    def _succeeded(self, lane: Lane) -> None:
        with self._lock:
            recovered = self.state is not State.OK
            self.state = State.OK
            self._doubted = False
            lane.failures, lane.due = 0, 0.0
            if recovered:
                self._waiting.due = self._parked.due = 0.0
        if recovered:
            self.journal.stream_state(self.collector, self.stream, State.OK.value)
            self._log.info("stream recovered collector=%s stream=%s", self.collector, self.stream)

    def failed(self, error: Exception, lane: Lane) -> None:
        """A load failed and is repeated later. Past the retries its shard is parked, once per outage."""
        with self._lock:
            self.cause = str(error)
            lane.failures += 1
            failures = lane.failures
            delay_s = self.retry.delay_s(failures, self.rng)
            lane.due = self.clock() + delay_s
            given_up = failures > self.retry.retries
            park = given_up and not lane.parked and self.state is not State.DOWN and bool(lane.shards)
            self.state = State.DOWN if given_up else State.RETRYING
        if park:
            self._park()
        self.journal.stream_state(self.collector, self.stream, self.state.value, str(error), delay_s)
        if failures & (failures - 1) == 0:  # the first, then ever more rarely: 2, 4, 8, …
            self._log.warning(
                "load failed, trying again collector=%s stream=%s failures=%d next_try_s=%.1f cause=%s",
                self.collector, self.stream, failures, delay_s, error,
            )  # fmt: skip

    def _park(self) -> None:
        """Move the oldest waiting shard to STORE/upload_failed; it is tried first from now on."""
        with self._lock:
            created_ns = self._waiting.shards.oldest(1)[0]
        try:
            self.queue.park(created_ns)
        except (StoreError, OSError) as error:
            self._log.warning(
                "shard can't be parked yet collector=%s stream=%s cause=%s",
                self.collector,
                self.stream,
                error,
            )
            return
        with self._lock:
            self._waiting.shards.drop(1)
            self._parked.shards.append(created_ns)
            self._parked.failures, self._parked.due = self._waiting.failures, self._waiting.due
        self.journal.outcome(self.collector, self.stream, created_ns, "parked")

    def renewed(self) -> bool:
        """Read the credentials anew; whether they are others. Where they can't be read the old ones stay."""
        if self.renew is None:
            return False
        try:
            others = self.renew()
        except Exception as error:  # noqa: BLE001 - it calls the collector's own code
            cause = in_one_line(error)
            self._log.warning("credentials can't be read anew stream=%s cause=%s", self.name, redact(cause))
            return False
        if others:
            self._log.info("credentials read anew stream=%s", self.name)
        return others

    def _stop(self, error: FatalError) -> None:
        if not self._doubted and self.renewed():
            # Mended already, while connections of before still did: the next step tries.
            with self._lock:
                self.state, self._doubted, self._unconnected = State.RETRYING, True, True
            return
        self._doubted = True
        if self.state is not State.STOPPED:
            self._log.error(
                "stream stopped, its shards wait collector=%s stream=%s next_try_s=%d cause=%s",
                self.collector, self.stream, STOPPED_PROBE_S, error,
            )  # fmt: skip
        with self._lock:
            self.state, self.cause = State.STOPPED, str(error)
            self._waiting.due = self._parked.due = self.clock() + STOPPED_PROBE_S
        self.journal.stream_state(self.collector, self.stream, self.state.value, str(error), STOPPED_PROBE_S)

    def _report(self, receipts: list[Receipt]) -> None:
        rows = sum(receipt.rows for receipt in receipts)
        if rows:
            self._log.info("loaded stream=%s rows=%d batches=%d", self.name, rows, len(receipts))
        for receipt in receipts:
            if receipt.quarantined:
                self._log.error(
                    "rows kept in quarantine collector=%s stream=%s rows=%d; each row's reason is in the column"
                    " _quarantine_reason of STORE/quarantine/%s/%s.parquet",
                    self.collector, self.stream, receipt.quarantined, self.name, receipt.batch_id,
                )  # fmt: skip

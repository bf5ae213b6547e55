"""The daemon: owns the spool, the journal, the threads, and decides who runs when."""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import FrameType

from api2db.collector import Collector
from api2db.discovery import Broken
from api2db.errors import ConfigError
from api2db.journal.journal import Journal
from api2db.layout import Layout, StoreLock
from api2db.runtime.assembly import Kept, settle, spool_of
from api2db.runtime.cadence import Cadence
from api2db.runtime.isolated.processes import Processes
from api2db.runtime.memory import give_back, share_arenas
from api2db.runtime.notify import ServiceManager
from api2db.runtime.poll_context import Shared
from api2db.runtime.poller import Poller
from api2db.runtime.pool import DeliveryPool
from api2db.runtime.requests import Desk
from api2db.runtime.retention import Retention
from api2db.runtime.running import Assembly, Running, TargetsOf
from api2db.runtime.signals import signals_to
from api2db.runtime.timetable import Timetable
from api2db.runtime.verbs import perform
from api2db.runtime.vitals import Vitals
from api2db.runtime.works import Works
from api2db.settings import Settings
from api2db.sinks.base import Target
from api2db.sinks.engines import Engines
from api2db.spool.recovery import recover
from api2db.spool.store import Spool
from api2db.upgrade import take_over

log = logging.getLogger(__name__)

TICK_S = 1.0  # how often deadlines are looked at and batches settled; due times are waited for exactly
# Delivery settles what it drops; this is for what waits longer, for a place that is down.
SETTLE_AFTER_S = 10.0
HEARTBEAT_S = 10.0
GC_THRESHOLD = (100_000, 50, 100)
PRUNE_S = 3600.0
# The processes of isolated collectors that idle end at once, unless threads of theirs hold them.
PROCESSES_END_S = 2.0
FIRST_PRUNE_S = 60.0  # a daemon that is restarted often sums its history up all the same

TargetOf = Callable[[Collector, str], Target]


def _no_places(collector: Collector, name: str) -> Target:
    raise ConfigError(f"collector {collector.name}: this program knows no place {name!r}")


class Daemon:
    """Runs collectors until told to stop. One per STORE; ``run`` is called once, in the main thread.

    targets_of  the streams of a collector; may raise ConfigError, which stops that collector alone
    target_of   the stream of a collector into one more place, by its name
    targets_now as ``targets_of``, with the credentials as they are now: for streams that stopped; any thread
    started     called when everything runs, with what does
    manager     told when everything runs, that the main loop turns, and when stopping begins
    attending   entered once STORE is this daemon's, left when it has stopped: those who look on from other threads
    """

    def __init__(
        self,
        settings: Settings,
        collectors: Iterable[Collector],
        targets_of: TargetsOf,
        *,
        target_of: TargetOf = _no_places,
        targets_now: TargetsOf | None = None,
        broken: Iterable[Broken] = (),
        started: Callable[[Sequence[Running]], None] = lambda running: None,
        manager: ServiceManager | None = None,
        attending: Callable[[Vitals], AbstractContextManager[None]] = lambda vitals: nullcontext(),
    ) -> None:
        self._settings = settings
        self._collectors = list(collectors)
        self._targets_of = targets_of
        self._target_of = target_of
        self._targets_now = targets_now or targets_of
        self._broken = list(broken)
        self._started = started
        self._manager = manager or ServiceManager({})
        self._attending = attending
        self._vitals = Vitals()
        self._stop = threading.Event()
        # What the main loop waits on. A queue, since a signal handler may put into it whatever the main thread
        # is doing; an Event's lock could be held by the very frame that the handler interrupts.
        # True tells it to stop, False to look at what is due.
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._signals = 0

    def stop(self) -> None:
        """Begin a graceful stop. Any thread, any number of times; ``run`` then returns."""
        self._wake.put(True)

    def _look_again(self) -> None:
        self._wake.put(False)

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or ``stop``; a second signal ends the process at once.

        Returns the exit status: 0, or 1 when too many sources hang and a supervisor should restart the daemon.
        Raises ConfigError, StoreError or StoreLockedError if it can't start.
        """
        share_arenas()
        layout = Layout(self._settings.store)
        layout.prepare()
        lock = StoreLock(layout)
        try:
            take_over(layout)
            journal = Journal(layout.journal)
            try:
                with signals_to(self._on_signal), self._attending(self._vitals):
                    return self._run(layout, journal)
            finally:
                journal.close()
        finally:
            lock.close()

    def _run(self, layout: Layout, journal: Journal) -> int:
        settings = self._settings
        spool = spool_of(settings, layout)
        self._vitals.usage = spool.usage
        # The last daemon's, maybe before the machine was started: nobody's age.
        journal.note(heartbeat_ns=None, heartbeat_steady_ns=None, polling=None)
        self._manager.status("starting: looking through STORE for what was under way")
        for header in recover(spool):
            journal.accepted(header)
        kept = Kept(settings, spool, journal, Engines(settings.target_threads))
        pool = DeliveryPool(threads=settings.delivery_threads, target_threads=settings.target_threads)
        poller = Poller(threads=settings.poll_threads, stop=self._stop)
        processes = Processes()
        shared = Shared.of(layout, settings.auth)
        retention = Retention(layout, journal, settings.history, spool.tapes)
        timetable = Timetable(Cadence(), poller, journal, layout, self._look_again, durable=spool.durable)
        running: list[Running] = []
        desk: Desk | None = None
        try:
            assembly = Assembly(kept, pool.wake, processes, shared, self._targets_of, self._targets_now)
            running = assembly.running(self._collectors, self._broken)
            jobs = {each.collector.name: each.job for each in running}
            works = Works(
                kept,
                {each.collector.name: each for each in running},
                pool.wake,
                self._target_of,
                aside=assembly.aside,
                broken=[f"{each.path}: {each.cause}" for each in self._broken],
                begin=lambda name: poller.start(jobs[name]),
            )
            desk = Desk(layout, lambda verb, arguments: perform(works, verb, arguments))
            desk.open()
            # A page of records is a hundred thousand objects without a cycle among them: by default the collector
            # of cycles walks them, and all modules, again and again (a third of the time of nested pages).
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
            self._loop(running, spool, journal, poller, pool, desk, retention, timetable)
        finally:
            self._vitals.stopping()
            self._manager.stopping()
            self._manager.status("stopping: polls end, streams finish the transaction they are in")
            deadline = time.monotonic() + settings.stop_timeout_s
            self._stop.set()
            poller.finish(deadline - settings.stop_timeout_s / 4)
            shared.hosts.close()
            timetable.hear()
            processes.close(min(deadline, time.monotonic() + PROCESSES_END_S))
            retention.stop(max(0.0, deadline - time.monotonic()))
            ended = pool.stop(deadline)
            if desk is not None:
                ended = desk.close(deadline) and ended
            if ended:
                kept.engines.close()
            else:
                log.warning("stopped with transactions under way; their databases roll them back")
            for each in running:
                settle(each.shards)
            journal.note(pid=None, stopped_ns=time.time_ns())
        return 1 if poller.stuck > settings.max_stuck_polls else 0

    def _loop(
        self,
        running: list[Running],
        spool: Spool,
        journal: Journal,
        poller: Poller,
        pool: DeliveryPool,
        desk: Desk,
        retention: Retention,
        timetable: Timetable,
    ) -> None:
        for each in running:
            for delivery in each.deliveries:
                pool.wake(delivery)
            timetable.add(each.job)
        journal.note(pid=os.getpid(), started_ns=time.time_ns(), stopped_ns=None)
        self._started(running)
        self._manager.ready()
        next_tick = next_heartbeat = time.monotonic()
        next_prune = next_tick + FIRST_PRUNE_S
        while not self._stop.is_set():
            # Here and from no other thread: beats must end when this loop doesn't turn any more.
            self._manager.beat()
            self._vitals.turn(poller.stuck)
            timetable.run_pending()
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + TICK_S
                poller.watch()
                desk.look()
                _prune(spool)
                timetable.begin_put_off()
                for each in running:
                    settle(each.shards, SETTLE_AFTER_S)
                if poller.stuck > self._settings.max_stuck_polls:
                    log.error(
                        "too many sources hang, stopping so that the supervisor restarts stuck=%d",
                        poller.stuck,
                    )
                    self.stop()
            if now >= next_heartbeat:
                next_heartbeat = now + HEARTBEAT_S
                journal.note(
                    heartbeat_ns=time.time_ns(),
                    heartbeat_steady_ns=time.monotonic_ns(),
                    stuck_polls=poller.stuck,
                    polling=json.dumps(poller.under_way(HEARTBEAT_S / 2)),
                )
                self._manager.status(_summary(running, poller.stuck))
                give_back()
            if now >= next_prune:
                next_prune = now + PRUNE_S
                retention.begin([delivery for each in running for delivery in each.deliveries])
            waits = (TICK_S, timetable.idle_s(), self._manager.idle_s())
            if self._told_to_stop(min(wait_s for wait_s in waits if wait_s is not None)):
                self._stop.set()

    def _told_to_stop(self, timeout_s: float) -> bool:
        try:
            return self._wake.get(timeout=timeout_s)
        except queue.Empty:
            return False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # No logging here: the signal may have interrupted a write of the log.
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)
        self._wake.put(True)


def _prune(spool: Spool) -> None:
    """One small step. Where the disk runs short, the log gives way before collecting pauses."""
    spool.log.prune()
    lacking = spool.usage.lacking()
    if lacking and not spool.tapes.give_way(lacking):
        spool.log.give_way(lacking)


def _summary(running: Sequence[Running], stuck: int) -> str:
    """How it goes, in one line."""
    backlogs = [delivery.backlog for each in running for delivery in each.deliveries]
    parts = [
        f"{len(running)} collectors and {len(backlogs)} streams run",
        f"{sum(map(sum, backlogs))} shards wait",
    ]
    return "; ".join([*parts, f"{stuck} polls hang"] if stuck else parts)

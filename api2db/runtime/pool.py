"""The delivery pool: a bounded number of threads for any number of streams and targets."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, deque

from api2db.runtime.delivery import Delivery


class DeliveryPool:
    """Runs ``step`` of every delivery that is due: each by one thread at a time, few at once per target.

    threads         in all; started when first needed
    target_threads  at once into one target; a sink's own ``max_threads`` goes below that
    """

    def __init__(self, *, threads: int, target_threads: int) -> None:
        self._threads = threads
        self._target_threads = target_threads
        self._wake = threading.Condition()
        self._ready: deque[Delivery] = deque()
        self._later: list[tuple[float, int, Delivery]] = []
        self._number = itertools.count()
        self._queued: set[int] = set()  # id() of deliveries in _ready or being stepped
        self._timed: dict[int, float] = {}  # id() of deliveries in _later -> when
        self._at_target: Counter[str] = Counter()
        self._stopping = False
        self._idle = 0
        self._workers: list[threading.Thread] = []

    def wake(self, delivery: Delivery) -> None:
        """There is something new for this delivery. Any thread."""
        with self._wake:
            # One being stepped looks for itself what is due next, when its step ends.
            if id(delivery) not in self._queued:
                self._schedule(delivery)

    def stop(self, deadline: float) -> bool:
        """Start nothing more; wait until ``deadline`` (monotonic) for transactions under way. True if all ended."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
            workers = list(self._workers)
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        return not any(worker.is_alive() for worker in workers)

    def _schedule(self, delivery: Delivery) -> None:
        """Put a delivery where its next step belongs. With the lock held."""
        due_in_s = delivery.due_in_s()
        if due_in_s is None:
            return
        due_in_s = max(due_in_s, delivery.rest_s)
        if due_in_s > 0:
            at = time.monotonic() + due_in_s
            if self._timed.get(id(delivery), at + 1) <= at:
                return  # it looks again before that anyway
            self._timed[id(delivery)] = at
            heapq.heappush(self._later, (at, next(self._number), delivery))
        else:
            self._queued.add(id(delivery))
            self._ready.append(delivery)
            if not self._has_room(delivery):
                return  # whoever ends a step at its target takes it; a thread woken now would find nothing to do
        if self._idle:
            self._wake.notify()
        # Those notified a moment ago still count as idle: one for each that is ready, not one for all of them.
        if self._idle < max(1, len(self._ready)):
            self._grow()

    def _grow(self) -> None:
        """One more thread, if there may be. With the lock held."""
        if len(self._workers) < self._threads and not self._stopping:
            worker = threading.Thread(target=self._work, name=f"delivery-{len(self._workers)}", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self) -> None:
        while True:
            delivery = self._next()
            if delivery is None:
                return
            delivery.step()
            with self._wake:
                self._at_target[delivery.sink.server] -= 1
                self._queued.discard(id(delivery))
                self._schedule(delivery)
                self._wake.notify()  # a place at this target is free

    def _next(self) -> Delivery | None:
        """Wait for a delivery that is due and whose target has room; None when stopping."""
        with self._wake:
            while not self._stopping:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    at, _, delivery = heapq.heappop(self._later)
                    if self._timed.get(id(delivery)) != at:
                        continue  # it has been looked at since, and stands elsewhere in the heap
                    del self._timed[id(delivery)]
                    if id(delivery) not in self._queued:
                        self._queued.add(id(delivery))
                        self._ready.append(delivery)
                for _ in range(len(self._ready)):
                    delivery = self._ready.popleft()
                    if self._has_room(delivery):
                        self._at_target[delivery.sink.server] += 1
                        if self._later and not self._idle:
                            self._grow()  # someone has to wait for what is due later, however long this one takes
                        return delivery
                    self._ready.append(delivery)
                self._idle += 1
                self._wake.wait(self._later[0][0] - now if self._later else None)
                self._idle -= 1
            return None

    def _has_room(self, delivery: Delivery) -> bool:
        """Whether one more thread may load into its target now. With the lock held."""
        own = delivery.sink.max_threads
        limit = self._target_threads if own is None else min(own, self._target_threads)
        return self._at_target[delivery.sink.server] < limit

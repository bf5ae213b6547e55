"""The polling pool: runs sources in a bounded number of threads and abandons those that hang."""

from __future__ import annotations

import logging
import queue
import threading
import time

from api2db.runtime.job import Job
from api2db.runtime.run import Run

log = logging.getLogger(__name__)


class Poller:
    """A bounded number of threads for any number of collectors. ``watch`` is the main thread's."""

    def __init__(self, *, threads: int, stop: threading.Event) -> None:
        self._threads = threads
        self._stop = stop
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._busy: dict[str, Job] = {}  # waiting for a thread or running
        self._working = 0  # threads that aren't stuck
        self._queued = 0  # polls no thread has taken yet
        self._idle = 0  # threads about to take one
        self._stuck: dict[str, Job] = {}

    @property
    def stuck(self) -> int:
        """Threads left behind in sources that don't come back."""
        with self._lock:
            return len(self._stuck)

    def under_way(self, longer_than_s: float) -> dict[str, tuple[int, str]]:
        """Collector -> when its poll began, as nanoseconds since 1970, and where it is: those that took longer yet."""
        began_s = time.monotonic() - longer_than_s
        with self._lock:
            runs = {name: job.run for name, job in {**self._busy, **self._stuck}.items()}
        long = {name: run for name, run in runs.items() if run is not None and run.started_s <= began_s}
        return {name: (run.started_ns, run.where) for name, run in long.items()}

    def start(self, job: Job, due_s: int | None = None) -> bool:
        """Queue one poll. False if the collector's last one is still under way: it isn't started twice. Any thread.

        due_s  the due time it is for, as seconds since 1970 UTC; None: its own start
        """
        with self._lock:
            if job.name in self._busy or job.name in self._stuck:
                return False
            self._busy[job.name] = job
            job.due_s = due_s
            self._queued += 1
            self._queue.put(job)
            self._grow()
        return True

    def _grow(self) -> None:
        """Start a thread if more polls are queued than threads are free. With the lock held."""
        if self._queued > self._idle and self._working < self._threads:
            self._working += 1
            self._idle += 1  # from its start on it is about to take a poll
            threading.Thread(target=self._work, name="poll", daemon=True).start()

    def watch(self) -> None:
        """End items past their deadline; what can't be ended is abandoned, and another thread takes its place."""
        now = time.monotonic()
        with self._lock:
            overdue = [job for job in self._busy.values() if job.overdue(now)]
        for job in overdue:
            if not job.cut_short():
                self._abandon(job)

    def finish(self, deadline: float) -> None:
        """Wait until polls have ended, then abandon the rest at ``deadline`` (monotonic seconds)."""
        while time.monotonic() < deadline:
            with self._lock:
                waiting = [job for job in self._busy.values() if job.run is not None]
            if not waiting:
                return
            threading.Event().wait(0.02)
        with self._lock:
            left = list(self._busy.values())
        for job in left:
            job.abandon(stopping=True)

    def _abandon(self, job: Job) -> None:
        # The item that is being accepted just now is awaited: after that the run is closed.
        if job.abandon():
            with self._lock:
                if self._busy.pop(job.name, None):
                    self._stuck[job.name] = job
                    self._working -= 1
                    self._grow()

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            with self._lock:
                self._idle -= 1
                self._queued -= 1
            if not self._stop.is_set():
                now = time.monotonic()
                job.run = Run(time.time_ns(), now, now)
                try:
                    job.poll(self._stop)
                except Exception:
                    # The supervisor: a bug of ours in one poll must not take the thread from the others.
                    log.exception("poll ended unexpectedly collector=%s", job.name)
            with self._lock:
                job.run = None
                self._busy.pop(job.name, None)
                if self._stuck.pop(job.name, None):
                    return  # another thread has this one's place
                self._idle += 1

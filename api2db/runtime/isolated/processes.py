"""The processes of a daemon's isolated collectors: started by one thread, and none outlives the daemon."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from api2db.errors import SourceError
from api2db.runtime.isolated.child import Child


class Processes:
    """Starts processes and ends them. Safe to use from any thread."""

    def __init__(self) -> None:
        # A process asks the kernel to be killed when the thread that started it ends, the only way that can't fail
        # when the daemon is killed by SIGKILL. Polling threads end before the daemon does; this one doesn't.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="processes")
        self._lock = threading.Lock()
        self._living: set[Child] = set()
        self._closed = False

    def start(self, collector: str) -> Child:
        """Raises SourceError if no process can be started."""
        with self._lock:
            if self._closed:
                raise SourceError("the daemon is stopping")
            starting = self._starter.submit(Child.start, collector)
        try:
            child = starting.result()
        except OSError as error:
            raise SourceError(f"no process can be started for it: {error.strerror}") from error
        with self._lock:
            self._living.add(child)
        return child

    def gone(self, child: Child) -> None:
        """``child`` is buried."""
        with self._lock:
            self._living.discard(child)

    def close(self, deadline: float) -> None:
        """End them all, by ``deadline`` (monotonic seconds). Nothing is started after this."""
        with self._lock:
            self._closed = True
        self._starter.shutdown(wait=False)
        with self._lock:
            living = list(self._living)
        ending = [child for child in living if child.end()]
        for child in living:
            if child not in ending:
                child.kill("the daemon is stopping")  # the thread that waits for its answer buries it
        for child in ending:
            child.bury(max(0.0, deadline - time.monotonic()))

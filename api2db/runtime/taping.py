"""A poll on tape, from its beginning to its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from api2db.collector import Collector
from api2db.sources.tape.recorder import TAPE, Order, Recorder
from api2db.tapes import Tapes


@contextmanager
def taping(tapes: Tapes, collector: Collector, started_ns: int, since: object) -> Iterator[None]:
    """Tape what this thread asks by ``Http`` meanwhile, where the collector is to be taped. Fails nothing."""
    failed = tapes.ready(collector.name) if collector.tape_s else None
    if failed is None:
        yield
        return
    path = tapes.path(collector.name, started_ns)
    recorder = Recorder(Order(path, collector.name, started_ns, since, tapes.max_bytes), failed)
    token = TAPE.set(recorder)
    outcome = "failed"
    try:
        yield
        outcome = "ok"
    finally:
        TAPE.reset(token)
        recorder.end(outcome)
        # To the nanosecond: the system's own time of a file may be before a batch that was accepted already, and what
        # came after this poll is asked for by it.
        now_ns = time.time_ns()
        with suppress(OSError):  # there may be none
            os.utime(path, ns=(now_ns, now_ns))
        tapes.filed(collector.name, started_ns)

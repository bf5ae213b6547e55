"""One receiver's teller: looks, remembers, groups, sends. ``step`` is one turn of its thread."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from api2db.errors import NotToldError, StoreError
from api2db.layout import Layout
from api2db.retry import RetryPolicy
from api2db.runtime.sparing import Sparing
from api2db.runtime.status import Status, read_pulse
from api2db.runtime.vitals import Phase, Vitals
from api2db.settings import Settings
from api2db.tell.channels import Channel, channels
from api2db.tell.conditions import GRACE_S, Seen, look
from api2db.tell.memory import read_memory, sent_within_s, write_memory
from api2db.tell.message import compose
from api2db.tell.record import Record

log = logging.getLogger(__name__)

LOOK_S = 10.0
MIN_LOOK_S = 0.2
# A daemon that was away for less than this, or less than the interval of messages, says nothing of it.
AWAY_S = 60.0
STOP_S = 2.0
# Of a message that isn't taken: without an end, one at a time, ever more rarely.
RETRY = RetryPolicy(base_s=2.0, cap_s=300.0)


class Teller:
    """Owns one receiver's file in STORE. Used by one thread.

    seen    one look at how things are; may raise StoreError or TimeoutError
    away_s  how long no daemon ran before this one
    clock   monotonic seconds; ``wall_ns`` nanoseconds since 1970
    """

    def __init__(
        self,
        channel: Channel,
        path: Path,
        seen: Callable[[], Seen],
        *,
        every_s: float,
        away_s: float,
        project: Path,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._channel = channel
        self._path = path
        self._seen = seen
        self._every_s = every_s
        self._project = project
        self._clock = clock
        self._wall_ns = wall_ns
        self._memory = read_memory(path)
        self._say_again = away_s >= max(every_s, AWAY_S)
        self._began_s = self._clock()
        self._sent_s = self._began_s - sent_within_s(self._memory, wall_ns())
        self._failures = 0
        self._next_try_s = 0.0
        self._unkept = False
        self._rng = random.Random()

    def step(self) -> float:
        """Look, tell what is to be told now. Seconds until the next turn."""
        if self._memory.outbox is not None and self._clock() >= self._next_try_s:
            self._send()
        try:
            self._observe(self._seen())
        except (StoreError, TimeoutError) as error:
            log.debug("can't look at STORE now cause=%s", error)  # --status and the pages say so
        # By both clocks: one that is set back must not delay a message, nor a machine that was suspended.
        quiet_s = max(self._clock() - self._sent_s, sent_within_s(self._memory, self._wall_ns()))
        if self._memory.outbox is None and quiet_s >= self._every_s and self._write_message():
            self._send()
        pause_s = min(LOOK_S, self._every_s / 5)
        if self._memory.outbox is not None:
            pause_s = min(pause_s, self._next_try_s - self._clock())
        return max(MIN_LOOK_S, pause_s)

    def _observe(self, seen: Seen) -> None:
        now_ns = self._wall_ns()
        records, changed = self._memory.records, False
        for key, condition in seen.bad.items():
            if key not in records:
                records[key] = Record.of(condition)
            changed |= records[key].see(condition, now_ns)
        for key, record in records.items():
            if key not in seen.bad and key not in seen.unknown:
                changed |= record.see(None, now_ns)
        if self._say_again and (not seen.unknown & records.keys() or self._clock() - self._began_s > GRACE_S):
            self._say_again = False
            for record in records.values():
                record.again = changed = True
        for key in [key for key, record in records.items() if record.forgettable(now_ns)]:
            del records[key]
        if changed:
            self._keep(flush=False)

    def _write_message(self) -> bool:
        """Put what is to be told into the outbox. False if there is nothing."""
        now_ns, memory = self._wall_ns(), self._memory
        changes = [(change, record) for record in memory.records.values() if (change := record.change(now_ns))]
        if not changes:
            return False
        memory.number += 1
        told = repr((self._project, memory.number, now_ns))
        wrong = sum(record.bad for record in memory.records.values())
        memory.outbox = compose(
            changes,
            number=memory.number,
            wrong=wrong,
            project=self._project,
            id=hashlib.sha256(told.encode()).hexdigest()[:32],
        )
        for change, record in changes:
            record.tell(change)
        self._keep(flush=True)
        return True

    def _send(self) -> None:
        assert self._memory.outbox is not None
        try:
            self._channel.send(self._memory.outbox)
        except NotToldError as error:
            self._failures += 1
            delay_s = RETRY.delay_s(self._failures, self._rng)
            self._next_try_s = self._clock() + delay_s
            if self._failures & (self._failures - 1) == 0:
                log.warning(
                    "message not told, trying again channel=%s failures=%d next_try_s=%.1f cause=%s",
                    self._channel.name, self._failures, delay_s, error,
                )  # fmt: skip
            return
        log.info("told channel=%s number=%d failures=%d", self._channel.name, self._memory.number, self._failures)
        self._failures, self._memory.outbox = 0, None
        self._sent_s, self._memory.sent_ns = self._clock(), self._wall_ns()
        self._keep(flush=True)

    def _keep(self, *, flush: bool) -> None:
        """Remember; where the disk is full in memory alone, since that is what people must hear of."""
        try:
            write_memory(self._path, self._memory, flush=flush)
        except OSError as error:
            if not self._unkept:
                log.warning("what was told can't be kept file=%s cause=%s", self._path, error.strerror)
            self._unkept = True
        else:
            self._unkept = False


@contextmanager
def telling(settings: Settings, vitals: Vitals, status: Sparing[Status], layout: Layout) -> Iterator[None]:
    """Those whom ``[notify]`` names are told, each by a thread of its own, while inside."""
    receivers = channels(settings.notify, settings.project)
    if not receivers:
        yield
        return
    pulse = read_pulse(layout)  # of the daemon before: this one has no heartbeat yet
    began_s = time.monotonic()
    stop = threading.Event()

    def seen() -> Seen:
        return look(status.get(), settings.notify, vitals, time.monotonic() - began_s)

    threads = []
    for channel in receivers:
        teller = Teller(
            channel,
            layout.told(channel.name),
            seen,
            every_s=settings.notify.every_s,
            # By the wall clock: the machine may have been started again meanwhile.
            away_s=0.0 if pulse.heartbeat_ns is None else (time.time_ns() - pulse.heartbeat_ns) / 1e9,
            project=settings.project,
        )
        thread = threading.Thread(target=_run, args=(teller, vitals, stop), name=f"notify-{channel.name}", daemon=True)
        thread.start()
        threads.append(thread)
    try:
        yield
    finally:
        stop.set()
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _run(teller: Teller, vitals: Vitals, stop: threading.Event) -> None:
    pause_s = MIN_LOOK_S
    while not stop.wait(pause_s):
        if vitals.phase is not Phase.RUNNING:
            continue  # what the journal says is still of the daemon before
        try:
            pause_s = teller.step()
        except Exception:
            # The supervisor of this receiver: a bug of ours must neither end its thread nor be repeated hot.
            log.exception("telling failed unexpectedly")
            pause_s = LOOK_S

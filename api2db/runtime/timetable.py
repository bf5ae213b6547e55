"""When each collector of a daemon is polled, and what is kept of that in STORE."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from api2db.due.calendar import Calendar
from api2db.due.schedule import CatchUp
from api2db.due.settled import Settled
from api2db.errors import StoreError
from api2db.files import make_dir, write_atomic
from api2db.journal.journal import Journal
from api2db.layout import Layout
from api2db.runtime.cadence import Cadence
from api2db.runtime.calendar_job import CalendarJob
from api2db.runtime.job import Job
from api2db.runtime.poller import Poller
from api2db.runtime.run import End

log = logging.getLogger(__name__)


@dataclass
class Timetable:
    """The main thread's, but for the ends of polls.

    wake     called by any thread when something may be due at once
    durable  flush what is kept
    steady   seconds that nobody turns
    """

    cadence: Cadence
    poller: Poller
    journal: Journal
    layout: Layout
    wake: Callable[[], None]
    durable: bool
    steady: Callable[[], float] = time.monotonic
    _calendars: list[CalendarJob] = field(default_factory=list)
    _jobs: list[Job] = field(default_factory=list)

    def add(self, job: Job) -> None:
        """Poll a collector by its schedule from now on, unless nobody can tell which of its due times are done with.

        One that was told to wait says so at once, not only when it is due.
        """
        schedule = job.collector.schedule
        delay_s = schedule.delay_s(job.name, self.layout.id)
        waits = job.waits
        if waits is not None:
            job.put_off = True  # as it was when the daemon before ended
            self.journal.collector_state(job.name, "waiting", waits)
            self.journal.next_run(job.name, job.not_before_ns)
        elif delay_s and schedule.calendar is None:
            self.journal.next_run(job.name, time.time_ns() + int(delay_s * 1e9))
        if schedule.calendar is not None:
            try:
                self._add_calendar(job, schedule.calendar, delay_s)
            except StoreError as error:
                log.error("collector can't be polled collector=%s cause=%s", job.name, error)
                self.journal.collector_state(job.name, "broken", str(error))
            return
        if schedule.slowest_s is not None:
            self._add_paced(job, delay_s)
            return

        def due() -> None:
            job.next_run_ns = time.time_ns() + int(schedule.seconds * 1e9)
            self._begin(job)

        self._jobs.append(job)
        self.cadence.add(schedule.seconds, due, delay_s)

    def run_pending(self) -> None:
        """Begin every poll that is due."""
        self.cadence.run_pending()

    def idle_s(self) -> float | None:
        """Seconds until the next one is due, 0 if one is; None without any."""
        return self.cadence.idle_s()

    def hear(self) -> None:
        """Take note of what polls have ended: once no more begin."""
        for each in self._calendars:
            each.hear()

    def begin_put_off(self) -> None:
        """Begin the polls whose servers, or budgets, wanted to be left alone until now."""
        for job in self._jobs:
            if job.put_off and not job.not_before_ns:
                self.poller.start(job)

    def _begin(self, job: Job) -> None:
        if job.not_before_ns:
            job.put_off = True
        elif not self.poller.start(job):
            self.journal.skipped(job.name)

    def _begin_due(self, job: Job, due_s: int) -> bool:
        """False if it can't begin now. Put off, it still begins, later; where each due time has its poll, it waits."""
        if not job.not_before_ns:
            return self.poller.start(job, due_s)
        if job.collector.schedule.catch_up is CatchUp.ALL:
            return False
        job.put_off = True
        return True

    def _add_paced(self, job: Job, delay_s: float) -> None:
        learned_s = None
        try:
            learned_s = float(self._read(job)["period_s"])
        except (StoreError, KeyError, TypeError, ValueError):
            log.debug("no period was learned yet collector=%s", job.name)
        pace = job.collector.schedule.pace(learned_s)
        assert pace is not None
        began_ns = time.time_ns()

        def due() -> None:
            nonlocal began_ns
            began_ns = time.time_ns()
            job.next_run_ns = began_ns + int(pace.period_s * 1e9)
            self._begin(job)

        def ended(end: End) -> None:
            if end.outcome != "ok":
                return
            before_s = pace.period_s
            pace.learn(end.changed)
            job.next_run_ns = began_ns + int(pace.period_s * 1e9)
            if pace.period_s != before_s:
                self._write(job, {"period_s": pace.period_s}, durable=False)
                self.wake()

        self._jobs.append(job)
        job.watches_changes = True
        job.ended = ended
        self.cadence.add_paced(pace, due, delay_s)

    def _add_calendar(self, job: Job, calendar: Calendar, delay_s: float) -> None:
        delay_s += self.cadence.apart_s()
        kept = self._read(job)
        known = Settled(calendar, int(time.time() - delay_s))
        if kept:
            try:
                ran = [(int(first), int(last)) for first, last in kept["ran"]]
                known = Settled(calendar, int(kept["until_s"]), ran)
            except (KeyError, TypeError, ValueError) as error:
                raise self._damaged(job) from error

        def changed(next_s: float | None) -> None:
            job.next_run_ns = None if next_s is None else max(int(next_s * 1e9), job.not_before_ns)
            self.journal.next_run(job.name, job.next_run_ns)
            self._write(job, {"until_s": known.until_s, "ran": known.ran}, durable=self.durable)

        timed = CalendarJob(
            job.name,
            self.cadence.scheduler,
            catch_up=job.collector.schedule.catch_up,
            delay_s=delay_s,
            settled=known,
            poll=lambda due_s: self._begin_due(job, due_s),
            skipped=lambda: self.journal.skipped(job.name),
            changed=changed,
            steady=self.steady,
        )

        def ended(end: End) -> None:
            timed.ended(end)
            self.wake()

        job.ended = ended
        if job.collector.schedule.catch_up is not CatchUp.ALL:
            self._jobs.append(job)
        timed.do(lambda: None)
        self._calendars.append(timed)

    def _read(self, job: Job) -> Mapping[str, Any]:
        """What is kept of a schedule; nothing where the collector has another one now. Raises StoreError."""
        path = self.layout.due(job.name)
        try:
            kept = json.loads(path.read_bytes())
            return kept if kept["schedule"] == job.collector.schedule.text else {}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{path} can't be read: {error.strerror}; mend it, then start the daemon again") from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(job) from error

    def _damaged(self, job: Job) -> StoreError:
        path = self.layout.due(job.name)
        return StoreError(
            f"{path} is damaged: it says which due times are done with; move it away to go on from now, without those"
            " that were missed, and start the daemon again"
        )

    def _write(self, job: Job, known: Mapping[str, object], *, durable: bool) -> None:
        path = self.layout.due(job.name)
        text = json.dumps({"schedule": job.collector.schedule.text, **known})
        try:
            make_dir(path.parent, flush=durable)
            write_atomic(path, text.encode(), flush=durable)
        except OSError as error:
            # Kept in memory meanwhile; after a restart a due time may come again.
            log.warning("schedule's file can't be written collector=%s cause=%s", job.name, error.strerror)

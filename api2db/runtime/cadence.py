"""When collectors are due: jobs of the ``schedule`` package, on a steady clock, keeping their phase.

Jobs that are due by the wall clock are in ``calendar_job``.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import schedule

from api2db.due.pace import Pace

# ``schedule`` compares naive datetimes of the wall clock. Ours count from the same start by the monotonic
# clock: a step of the wall clock (NTP, daylight saving, a resumed laptop) neither stalls nor bunches polls.
_START = datetime.datetime.now()
_START_S = time.monotonic()


def steady_now() -> datetime.datetime:
    """Naive local time as it would be had nobody touched the clock since this process started."""
    return _START + datetime.timedelta(seconds=time.monotonic() - _START_S)


@runtime_checkable
class Timed(Protocol):
    """A job that knows how long it is until it is due: seconds, negative when it is late."""

    @property
    def due_in_s(self) -> float: ...


class SteadyJob(schedule.Job):
    """A job due every ``period_s`` seconds from its first due time on, however long its runs take. The main thread's.

    A due time missed (the process was suspended) is run once, late; the next one is back in phase.
    """

    def __init__(self, period_s: float, scheduler: schedule.Scheduler) -> None:
        super().__init__(1, scheduler)
        self.unit = "seconds"
        self._period = datetime.timedelta(seconds=period_s)
        self.next_run = steady_now()

    @property
    def should_run(self) -> bool:
        assert self.next_run is not None
        return steady_now() >= self.next_run

    @property
    def due_in_s(self) -> float:
        assert self.next_run is not None
        return (self.next_run - steady_now()).total_seconds()

    def run(self) -> object:
        # What ``schedule`` computes here is "now + interval", which drifts by the run's own duration.
        assert self.job_func is not None
        result = self.job_func()
        self._schedule_next_run()
        return result

    def _schedule_next_run(self) -> None:
        assert self.next_run is not None
        behind = steady_now() - self.next_run
        if behind >= datetime.timedelta(0):
            self.next_run += (behind // self._period + 1) * self._period


class PacedJob(schedule.Job):
    """A job due one period after its last run began, the period being whatever it is by then. The main thread's."""

    def __init__(self, pace: Pace, first: datetime.datetime, scheduler: schedule.Scheduler) -> None:
        super().__init__(1, scheduler)
        self.unit = "seconds"
        self._pace = pace
        self._began: datetime.datetime | None = None
        self.next_run = first

    @property
    def should_run(self) -> bool:
        return self.due_in_s <= 0

    @property
    def due_in_s(self) -> float:
        if self._began is not None:
            self.next_run = self._began + datetime.timedelta(seconds=self._pace.period_s)
        assert self.next_run is not None
        return (self.next_run - steady_now()).total_seconds()

    def run(self) -> object:
        assert self.job_func is not None
        self._began = steady_now()
        return self.job_func()

    def _schedule_next_run(self) -> None:
        """Known from when it began."""


# Jobs of one period start one after the other, at most so far apart: fired together they would wait for each
# other, for one database and one processor, and an API would get them all at once.
STEP_S = 0.1
SPREAD_S = 10.0


class Cadence:
    """The jobs of one daemon. Used by its main thread alone."""

    def __init__(self) -> None:
        self._scheduler = schedule.Scheduler()

    @property
    def scheduler(self) -> schedule.Scheduler:
        return self._scheduler

    def apart_s(self, period_s: float = SPREAD_S) -> float:
        """How much later than the jobs before it the next one starts, where all would start at once."""
        return len(self._scheduler.jobs) * STEP_S % min(period_s, SPREAD_S)

    def add(self, period_s: float, run: Callable[[], object], delay_s: float = 0.0) -> None:
        """Call ``run`` a moment from now, the first job at once, and every ``period_s`` seconds from then on.

        delay_s  begin so much later
        """
        offset_s = delay_s + self.apart_s(period_s)
        job = SteadyJob(period_s, self._scheduler)
        job.do(run)
        job.next_run = steady_now() + datetime.timedelta(seconds=offset_s)  # ``do`` has put it off by one period

    def add_paced(self, pace: Pace, run: Callable[[], object], delay_s: float = 0.0) -> None:
        """As ``add``, with a period that may change at any time."""
        offset_s = delay_s + self.apart_s(pace.fastest_s)
        PacedJob(pace, steady_now() + datetime.timedelta(seconds=offset_s), self._scheduler).do(run)

    def run_pending(self) -> None:
        """Run every job that is due, the longest due first."""
        self._scheduler.run_pending()

    def idle_s(self) -> float | None:
        """Seconds until the next job is due, 0 if one is; None without jobs."""
        jobs = [job for job in self._scheduler.jobs if isinstance(job, Timed)]
        return max(0.0, min(job.due_in_s for job in jobs)) if jobs else None

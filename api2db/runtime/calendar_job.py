"""A job due at the times of a calendar: by the wall clock, whoever turns it, and over restarts."""

from __future__ import annotations

import datetime
import logging
import queue
import time
from collections.abc import Callable
from typing import Final

import schedule

from api2db.due.schedule import CatchUp
from api2db.due.settled import Settled
from api2db.runtime.cadence import steady_now
from api2db.runtime.run import End

log = logging.getLogger(__name__)

MISSED_AFTER_S: Final = 60.0
"""With ``catch_up="skip"`` a due time that is so late isn't run any more: the daemon wasn't there, or stood still."""

AGAIN_S: Final = (60.0, 3600.0)
"""With ``catch_up="all"`` a due time whose poll failed is tried again after the first, in seconds, then after twice as
long, up to the second."""

_BUSY_S: Final = 1.0
_FAR: Final = 1e8  # seconds: further ahead than anybody waits, near enough for a date


class CalendarJob(schedule.Job):
    """Run by the main thread; ``ended`` is called by any.

    name      of the collector
    delay_s   its polls begin so much after their due times
    settled   what is done with already
    poll      begins the poll for a due time; False while another is under way
    skipped   called where a due time is left out for that
    changed   called when something was settled, and when the next poll moves: with when that is, as seconds since 1970
    wall      the wall clock; steady: seconds that nobody turns
    """

    def __init__(
        self,
        name: str,
        scheduler: schedule.Scheduler,
        *,
        catch_up: CatchUp,
        delay_s: float,
        settled: Settled,
        poll: Callable[[int], bool],
        skipped: Callable[[], None],
        changed: Callable[[float | None], None],
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(1, scheduler)
        self.unit = "seconds"
        self._name = name
        self._catch_up = catch_up
        self._delay_s = delay_s
        self._settled = settled
        self._poll = poll
        self._skipped = skipped
        self._changed = changed
        self._wall = wall
        self._steady = steady
        self._ends: queue.SimpleQueue[End] = queue.SimpleQueue()
        self._under_way: int | None = None  # with CatchUp.ALL: what is settled once its poll has ended well
        self._failures = 0
        self._retried: int | None = None
        self._not_before_s = 0.0
        self._told: int | None = -1  # the due time that ``changed`` was last told of

    def ended(self, end: End) -> None:
        """A poll of the collector has ended."""
        self._ends.put(end)

    @property
    def should_run(self) -> bool:
        due_in_s = self.due_in_s
        if self._under_way is None and due_in_s > 0:
            due = self._settled.next(self._wall() - self._delay_s)
            if due != self._told:
                self._tell(due)
        self.next_run = steady_now() + datetime.timedelta(seconds=max(-_FAR, min(_FAR, due_in_s)))
        return due_in_s <= 0

    @property
    def due_in_s(self) -> float:
        """Infinite while what is due is being polled, or where nothing comes any more."""
        self.hear()
        if self._under_way is not None:
            return float("inf")
        now_s = self._wall() - self._delay_s
        due = self._settled.next(now_s)
        return float("inf") if due is None else max(due - now_s, self._not_before_s - self._steady())

    def run(self) -> object:
        now_s = self._wall() - self._delay_s
        due = self._settled.next(now_s)
        if due is None:
            return None
        if self._catch_up is CatchUp.ALL:
            if self._poll(due):
                self._under_way = due
            else:
                self._not_before_s = self._steady() + _BUSY_S
            return None
        latest = self._settled.latest(now_s) or due
        if self._catch_up is CatchUp.SKIP and now_s - latest > MISSED_AFTER_S:
            log.info("due time missed, left out collector=%s due=%s", self._name, self._at(latest))
            self._settle(latest, ran=False)
            return None
        began = self._poll(latest)
        if not began:
            self._skipped()
        elif latest != due:
            log.info("due times missed, polling for the last one collector=%s missed_since=%s due=%s",
                     self._name, self._at(due), self._at(latest))  # fmt: skip
        self._settle(latest, ran=began)
        return None

    def hear(self) -> None:
        """Take note of polls that have ended."""
        while not self._ends.empty():
            end = self._ends.get()
            due = self._under_way
            if due is None or end.due_s != due:
                continue  # somebody asked for that poll
            self._under_way = None
            if end.outcome == "ok":
                self._failures = 0
                self._not_before_s = 0.0
                self._settle(due, ran=True)
            elif end.outcome != "stopped":
                self._try_again(due, end)

    def _try_again(self, due: int, end: End) -> None:
        """Later: ever later after a source that failed; for room on the disk, and for a file, it looks steadily."""
        first_s, longest_s = AGAIN_S
        wait_s = first_s
        if end.outcome in ("failed", "abandoned"):
            wait_s = min(longest_s, first_s * 2.0 ** min(self._failures, 20))
            self._failures += 1
        if self._retried != due:
            self._retried = due
            log.warning("due time not done, tried again, later ones wait for it collector=%s due=%s outcome=%s",
                        self._name, self._at(due), end.outcome)  # fmt: skip
        self._not_before_s = self._steady() + wait_s
        self._told = due
        self._changed(self._wall() + wait_s)

    def _settle(self, due: int, *, ran: bool) -> None:
        self._settled.settle(due, ran=ran)
        self._tell(self._settled.next(self._wall() - self._delay_s))

    def _tell(self, due: int | None) -> None:
        self._told = due
        self._changed(None if due is None else due + self._delay_s)

    def _at(self, due: int) -> str:
        return datetime.datetime.fromtimestamp(due, self._settled.calendar.zone).isoformat()

    def _schedule_next_run(self) -> None:
        """Known from what is settled."""

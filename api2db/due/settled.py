"""Which due times of a calendar are done with, so that none is repeated or forgotten, whatever the clock does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from api2db.due.calendar import Calendar

# A clock that steps back further than so many stretches ago may repeat a due time.
STRETCHES_KEPT = 100


@dataclass
class Settled:
    """What was done of a calendar: seconds since 1970 UTC by the wall clock. Used by one thread.

    until_s  due times up to here are done with: they ran, or were left out
    ran      stretches (first, last) of due times of which each ran; those that were left out aren't in them

    Where the clock is set back, ``until_s`` goes back with it: due times that ran don't come again, the others do.
    """

    calendar: Calendar
    until_s: int
    ran: list[tuple[int, int]] = field(default_factory=list)
    _next: int | None = None
    _known: bool = False

    def next(self, now_s: float) -> int | None:
        """The oldest due time that isn't done with; it may be over. None where the calendar has no more."""
        if now_s < self.until_s:
            self.until_s = int(now_s)
            self._known = False
        if not self._known:
            self._next, self._known = self._after(self.until_s), True
        return self._next

    def latest(self, now_s: float) -> int | None:
        """The last due time that is over and isn't done with; None if there is none."""
        due = self.calendar.latest(self.until_s, now_s)
        while due is not None and (stretch := _stretch_of(self.ran, due)) is not None:
            due = self.calendar.latest(self.until_s, stretch[0] - 1) if stretch[0] > self.until_s else None
        return due

    def settle(self, due_s: int, *, ran: bool) -> None:
        """``due_s`` is done with, and every due time before it."""
        if ran:
            if self.ran and self.calendar.after(self.ran[-1][1]) == due_s:
                self.ran[-1] = (self.ran[-1][0], due_s)
            else:
                self.ran = [*self.ran[-STRETCHES_KEPT + 1 :], (due_s, due_s)]
        self.until_s = due_s
        self._known = False

    def _after(self, at_s: int) -> int | None:
        due = self.calendar.after(at_s)
        while due is not None and (stretch := _stretch_of(self.ran, due)) is not None:
            due = self.calendar.after(stretch[1])
        return due


def _stretch_of(stretches: Sequence[tuple[int, int]], due_s: int) -> tuple[int, int] | None:
    return next((each for each in stretches if each[0] <= due_s <= each[1]), None)

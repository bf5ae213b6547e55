"""A period that learns how often there is something new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FASTER: Final = 0.5
SLOWER: Final = 1.5


@dataclass
class Pace:
    """A period between two bounds: halved by a poll that brought something new, half as long again by one that didn't.

    So about one poll in three brings something, and a change is seen within about a third of the time between two of
    them. Read by any thread, changed by one at a time.
    """

    fastest_s: float
    slowest_s: float
    period_s: float

    def learn(self, changed: bool) -> None:
        wanted_s = self.period_s * (FASTER if changed else SLOWER)
        self.period_s = min(self.slowest_s, max(self.fastest_s, wanted_s))

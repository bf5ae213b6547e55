"""What is known of one condition, and what people were told of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api2db.tell.conditions import Condition

HOUR_NS = 3600 * 10**9
# A condition that changes so often in an hour is told to flap, then nothing until it has been steady for a while.
FLAPS = 6
STEADY_NS = 1800 * 10**9


@dataclass
class Record:
    """``bad`` is how it was seen last, since ``since_ns``; ``told`` is what people believe, True for bad.

    met      it was bad at some moment people haven't been told of
    again    people are to hear of it again: the daemon was away
    changes  when it changed, within the last hour
    """

    kind: str
    collector: str | None
    stream: str | None
    cause: str = ""
    bad: bool = False
    level: int = 0
    since_ns: int = 0
    told: bool = False
    told_level: int = 0
    met: bool = False
    again: bool = False
    flapping: bool = False
    changes: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, condition: Condition) -> Record:
        return cls(condition.kind, condition.collector, condition.stream)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Record:
        """Raises TypeError for what isn't a record's."""
        return cls(**values)

    def see(self, condition: Condition | None, now_ns: int) -> bool:
        """It is bad now, or isn't. True if that is worth remembering."""
        bad = condition is not None
        changed = bad != self.bad
        if changed:
            self.bad, self.since_ns = bad, now_ns
            self.changes = [*(at for at in self.changes if now_ns - at < HOUR_NS), now_ns][-2 * FLAPS :]
        if condition is not None:
            changed = changed or condition.level > self.level
            self.cause, self.level = condition.cause[:500], condition.level
            self.met = self.met or not self.told
        return changed

    def change(self, now_ns: int) -> str | None:
        """What people should hear: began, over, passed, grew, still, flapping; None for nothing new."""
        if self.flapping:
            if 0 <= now_ns - self.since_ns < STEADY_NS:
                return None
            return "still" if self.bad else "over"
        if self.bad == self.told and not self.met:
            grown = self.bad and self.level >= 2 * self.told_level > 0
            return "grew" if grown else "still" if self.bad and self.again else None
        if self._changes_lately(now_ns) >= FLAPS:
            return "flapping"
        if self.bad:
            return "began"
        return "over" if self.told else "passed"

    def tell(self, change: str) -> None:
        """People hear of ``change`` now."""
        self.flapping = change == "flapping"
        self.told, self.told_level = self.bad, self.level
        self.met = self.again = False

    def forgettable(self, now_ns: int) -> bool:
        """All is well, people know it, and it hasn't changed lately."""
        return not (self.bad or self.told or self.met or self.flapping or self._changes_lately(now_ns))

    def _changes_lately(self, now_ns: int) -> int:
        return sum(1 for at in self.changes if 0 <= now_ns - at < HOUR_NS)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

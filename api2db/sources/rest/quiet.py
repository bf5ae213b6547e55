"""How long a poll has handed out nothing: pages that are unchanged are no items, and an item may take minutes alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

LONGEST_S: Final = 10.0
"""After so long without an item the cursor is handed out alone: a poll that is given up then is gone on with there."""


@dataclass
class Quiet:
    """Since when, in monotonic seconds. One thread."""

    since_s: float = field(default_factory=time.monotonic)

    @property
    def is_long(self) -> bool:
        return time.monotonic() - self.since_s >= LONGEST_S

    def broken(self) -> None:
        """Something was handed out, and whoever took it is back."""
        self.since_s = time.monotonic()

"""When to try again: exponential back-off with full jitter, capped. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

# So that "full jitter" never means at once: nothing is retried hot.
MIN_DELAY_S = 0.05


@dataclass(frozen=True)
class RetryPolicy:
    """retries   repeats of one load before its shard is parked
    base_s    the longest first wait, in seconds; it doubles with every attempt
    cap_s     the longest wait ever, in seconds
    """

    retries: int = 5
    base_s: float = 0.5
    cap_s: float = 60.0

    def delay_s(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after failure number ``attempt`` (1 is the first), between 0.05 and the cap.

        Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        # The exponent is bounded, since a place may be down for weeks and 2.0**1100 overflows.
        longest = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30))
        return max(MIN_DELAY_S, rng.uniform(0, longest))

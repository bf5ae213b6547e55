"""psycopg's connection, made fit for a daemon: one that hears nothing for long is given up."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg

# A server that is stopped, or hangs on its disk, acknowledges every packet and never answers: keepalives see nothing.
ANSWER_TIMEOUT_S = 900


class PatientConnection(psycopg.Connection[Any]):
    """A connection whose every wait for the server ends: with its answer, or after ``answer_timeout_s`` without a byte.

    It is closed then, and psycopg.OperationalError raised.
    """

    answer_timeout_s: float = ANSWER_TIMEOUT_S

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        return super().wait(self._patiently(gen), *args, **options)

    def _patiently(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """``gen``, which is told ten times a second when nothing is ready."""
        try:
            wanted = next(gen)
            since = time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    since = time.monotonic()
                elif time.monotonic() - since > self.answer_timeout_s:
                    # What cleans up after this, a COPY say, would wait as long again.
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server gave no answer for {self.answer_timeout_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

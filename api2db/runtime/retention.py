"""What is older than the history: single batches' lines and ledger entries become sums, a few hundred at a time.

First the ledger is asked that it agrees with the journal, batch by batch; then it forgets them and moves its horizon,
in one transaction; then the journal sums them up. A kill in between is repeated by the next pass: what is behind the
horizon counts as forgotten. At the first batch that isn't where the journal says, in the place or in quarantine, a
stream's pass ends: ``api2db audit`` names it.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from api2db.errors import SinkError
from api2db.failpoint import reach
from api2db.journal.file import open_to_read
from api2db.journal.journal import Journal
from api2db.layout import Layout
from api2db.quarantine import is_kept, rows_kept
from api2db.runtime.delivery import Delivery
from api2db.sinks.base import Forgetful, Ledgered
from api2db.tapes import Tapes

log = logging.getLogger(__name__)

AT_ONCE = 500
# Between two transactions, so that a million old entries hold up nobody.
PAUSE_S = 0.05
# A shard's name that is dropped without a flush may come back after a power cut; long before this it can't.
SETTLED_S = 86_400.0


@dataclass(frozen=True)
class _Line:
    created_ns: int
    batch_id: str
    outcome: str
    rows: int | None
    quarantined: int | None
    at_ns: int | None
    target: str | None

    @property
    def in_quarantine(self) -> bool:
        """Whether rows of it are there; None are counted of a shard that was set aside whole, until they have left."""
        return bool(self.quarantined) or (self.outcome == "quarantined" and self.quarantined is None)


class Retention:
    """Runs in a thread of its own, beside deliveries; whatever goes wrong is tried again by the next pass.

    history_s  how old a batch is whose line is summed up
    tapes      of which the old ones go, too
    """

    def __init__(self, layout: Layout, journal: Journal, history_s: float, tapes: Tapes | None = None) -> None:
        self._tapes = tapes
        self._layout = layout
        self._journal = journal
        self._history_s = history_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: set[str] = set()

    def begin(self, deliveries: Sequence[Delivery]) -> None:
        """Start a pass over all streams, unless one is under way."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self.run, args=(deliveries,), name="retention", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the pass after the transaction it is in."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run(self, deliveries: Sequence[Delivery]) -> None:
        """One pass. Raises nothing."""
        self._journal.prune()
        if self._tapes is not None:
            self._tapes.prune(others_s=self._history_s)
        for delivery in deliveries:
            if self._stop.is_set():
                return
            try:
                self._stream(delivery)
            except (SinkError, sqlite3.DatabaseError, OSError) as error:
                log.debug("history not summed up, trying again later stream=%s cause=%s", delivery.name, error)
            except Exception:
                log.exception("history can't be summed up stream=%s", delivery.name)

    def _stream(self, delivery: Delivery) -> None:
        now = time.time_ns()
        until_ns = now - int(self._history_s * 1e9)
        settled_ns = now - int(min(self._history_s, SETTLED_S) * 1e9)
        oldest = delivery.oldest()
        if oldest is not None:
            until_ns = min(until_ns, oldest)
        done_ns = 0
        while not self._stop.is_set():
            lines = self._lines(delivery, done_ns, until_ns)
            self._write_down(delivery, lines)
            final = _before(lines, lambda line: line.outcome in ("waiting", "parked"))
            final = _before(final, lambda line: line.at_ns is None or line.at_ns > settled_ns)
            agreed = self._agreed(delivery, final)
            if not agreed:
                return
            done_ns = agreed[-1].created_ns
            if isinstance(delivery.sink, Forgetful):
                # Before the ledger forgets: from here on none of these may be loaded again.
                delivery.horizon_ns = max(delivery.horizon_ns, done_ns + 1)
                delivery.sink.forget([line.batch_id for line in agreed], done_ns + 1)
            reach("retention.forgot")
            if not self._journal.fold(delivery.collector, delivery.stream, done_ns) or len(agreed) < AT_ONCE:
                return
            self._stop.wait(PAUSE_S)

    def _lines(self, delivery: Delivery, after_ns: int, until_ns: int) -> list[_Line]:
        with closing(open_to_read(self._layout.journal)) as db:
            return [
                _Line(*row)
                for row in db.execute(
                    "SELECT created_ns, batch_id, outcome, rows, quarantined, at_ns, target FROM deliveries"
                    " WHERE collector = ? AND stream = ? AND created_ns > ? AND created_ns < ?"
                    " ORDER BY created_ns LIMIT ?",
                    (delivery.collector, delivery.stream, after_ns, until_ns, AT_ONCE),
                )
            ]

    def _write_down(self, delivery: Delivery, lines: list[_Line]) -> None:
        """Receipts that the journal missed, as in a power cut: no shard waits that old, and the place has them.

        The next pass finds their lines, a day after, like any other's.
        """
        missed = [line for line in lines if line.outcome in ("waiting", "parked", "removed")]
        if missed and isinstance(delivery.sink, Ledgered):
            had = delivery.sink.loaded([line.batch_id for line in missed])
            for line in missed:
                if line.batch_id in had:
                    self._journal.found(delivery.collector, delivery.stream, line.created_ns, had[line.batch_id])

    def _agreed(self, delivery: Delivery, lines: list[_Line]) -> list[_Line]:
        """Those before the first that the ledger, or quarantine, contradicts, or that is nowhere."""
        sink, had, horizon_ns = delivery.sink, dict[str, int](), 0
        if lines and isinstance(sink, Ledgered):
            had, horizon_ns = sink.loaded([line.batch_id for line in lines]), sink.horizon()

        def contradicts(line: _Line) -> bool:
            if line.outcome == "removed":
                return True  # by someone, before it was delivered, and nobody has given it up
            place = (delivery.collector, delivery.stream, line.batch_id, line.created_ns)
            if line.in_quarantine:
                held = rows_kept(self._layout, *place)
                if not is_kept(self._layout, *place) or (held is not None and held != line.quarantined):
                    return True
            if line.outcome != "loaded" or not isinstance(sink, Ledgered):
                return False
            if line.batch_id not in had:
                return line.created_ns >= horizon_ns and line.target is None
            return had[line.batch_id] != line.rows

        agreed = _before(lines, contradicts)
        if len(agreed) < len(lines) and delivery.name not in self._told:
            self._told.add(delivery.name)
            log.warning(
                "history kept: a batch isn't where the journal says; see: api2db audit %s stream=%s batch=%s",
                delivery.collector, delivery.name, lines[len(agreed)].batch_id,
            )  # fmt: skip
        return agreed


def _before(lines: list[_Line], stops: Callable[[_Line], bool]) -> list[_Line]:
    return list(itertools.takewhile(lambda line: not stops(line), lines))

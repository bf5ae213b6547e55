"""A sink in memory, for what delivery does around a sink; it keeps the promises of ``sinks.base.Sink``."""

from __future__ import annotations

from collections.abc import Sequence

from api2db.batch import Batch, Receipt
from api2db.sinks.base import Quarantine


class MemorySink:
    """Loads into a list. ``failures`` are raised one per call, oldest first; ``refuse`` fails single batches."""

    max_threads: int | None = None
    remembers = True

    def __init__(
        self, *, ordered: bool = False, replaces: bool = False, stream: str = "c/memory", target: str = "memory"
    ) -> None:
        self.stream = stream
        self.target = self.server = target
        self.ordered = ordered or replaces
        self.replaces = replaces
        self.loaded: list[Batch] = []
        self.transactions: list[int] = []
        self.published: list[int] = []
        self.failures: list[Exception] = []
        self.refuse: dict[int, Exception] = {}
        self.connects = 0

    def connect(self) -> None:
        self.connects += 1

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        if self.failures:
            raise self.failures.pop(0)
        for batch in batches:
            if batch.created_ns in self.refuse:
                raise self.refuse[batch.created_ns]
        known = {batch.batch_id for batch in self.loaded}
        receipts = [Receipt(b.batch_id, b.table.num_rows, duplicate=b.batch_id in known) for b in batches]
        self.loaded += [batch for batch in batches if batch.batch_id not in known]
        self.transactions.append(len(batches))
        return receipts

    def publish(self, batches: Sequence[Batch]) -> None:
        self.published += [batch.created_ns for batch in batches]

    def close(self) -> None:
        """Nothing is open."""

    @property
    def numbers(self) -> list[int]:
        """The values of column ``n``, in the order loaded."""
        return [value for batch in self.loaded for value in batch.table.column("n").to_pylist()]

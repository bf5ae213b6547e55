"""Errors of which a driver doesn't tell whether a row or the database is to blame, and batches that met one."""

from __future__ import annotations

from dataclasses import dataclass, field

from api2db.errors import BadDataError
from api2db.sinks.dialect import Cause

# So many loads of a batch fail before it is believed that every row of it is bad.
_ALL_BAD_AFTER = 5


@dataclass(frozen=True)
class Doubt:
    """Whose fault a doubtful error is, for a batch that met one ``failures`` times before."""

    failures: int = 0

    def blames_rows(self, cause: Cause) -> bool:
        """Whether the rows are looked at one by one, and the one that fails alone is refused."""
        return cause.error is BadDataError or (cause.doubtful and self.failures > 0)

    @property
    def believes_all_bad(self) -> bool:
        """Whether all rows may be refused by doubtful errors; before that, another row's success has to show that
        the database itself is well."""
        return self.failures >= _ALL_BAD_AFTER


@dataclass
class Doubts:
    """One stream's batches that met a doubtful error, until they are loaded. Used by one thread at a time."""

    _failures: dict[str, int] = field(default_factory=dict)

    def of(self, batch_id: str) -> Doubt:
        return Doubt(self._failures.get(batch_id, 0))

    def failed(self, batch_id: str) -> None:
        self._failures[batch_id] = self._failures.get(batch_id, 0) + 1

    def loaded(self, batch_id: str) -> None:
        self._failures.pop(batch_id, None)

"""After a merge: whose children go, and whose come. The statements, over a stage of the merged rows' keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

STAGE = "_api2db_kin"


@dataclass(frozen=True)
class KinSql:
    """The parts of statements that are the same everywhere.

    stage  what holds ``key`` and ``row`` of the merged rows, in columns of these names
    join   the word that has the database go from the stage to the table, by the table's key
    """

    quote: Callable[[str], str]
    table: str
    stage: str
    key: Sequence[str]
    row: str
    join: str = "JOIN"

    def _on(self, one: str, columns: Sequence[str], other: str, others: Sequence[str]) -> str:
        pairs = zip(columns, others, strict=True)
        return " AND ".join(f"{one}.{self.quote(mine)} = {other}.{self.quote(its)}" for mine, its in pairs)

    @property
    def winners(self) -> str:
        """FROM …: of the stage, as ``fresh``, the rows that the table, as ``stored``, has now."""
        same = [*self.key, self.row]
        on = self._on("stored", same, "fresh", same)
        return f"{self.stage} AS fresh {self.join} {self.quote(self.table)} AS stored ON {on}"

    @property
    def losers(self) -> str:
        """``row`` of the stage's other rows."""
        same = [*self.key, self.row]
        on, row = self._on("stored", same, "fresh", same), self.quote(self.row)
        there = f"{self.stage} AS fresh LEFT JOIN {self.quote(self.table)} AS stored ON {on}"
        return f"SELECT fresh.{row} FROM {there} WHERE stored.{row} IS NULL"

    def delete_in(self, child: str, columns: Sequence[str]) -> str:
        """Where a list of keys is looked up in an index of the child's table."""
        links = ", ".join(map(self.quote, columns))
        links = links if len(columns) == 1 else f"({links})"
        keys = ", ".join(f"fresh.{self.quote(name)}" for name in self.key)
        return f"DELETE FROM {self.quote(child)} WHERE {links} IN (SELECT {keys} FROM {self.winners})"

    def delete_using(self, child: str, columns: Sequence[str]) -> str:
        """PostgreSQL's DELETE of rows that others meet."""
        same = [*self.key, self.row]
        return (
            f"DELETE FROM {self.quote(child)} AS child USING {self.stage} AS fresh, {self.quote(self.table)} AS stored"
            f" WHERE {self._on('stored', same, 'fresh', same)} AND {self._on('child', columns, 'fresh', self.key)}"
        )

    def delete_joined(self, child: str, columns: Sequence[str]) -> str:
        """MySQL's."""
        on = self._on("child", columns, "fresh", self.key)
        return f"DELETE child FROM {self.winners} {self.join} {self.quote(child)} AS child ON {on}"


def losers(run: Any, sql: KinSql) -> pa.Array:
    """``row`` of those of the stage that lost."""
    run.execute(sql.losers)
    return pa.array([row for (row,) in run.fetchall()], pa.string())

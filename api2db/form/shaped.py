"""What shaping a payload gives: a table, and an account of every row and value on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class StepCount:
    """One step of a form: rows in and out, and the values it changed.

    step       the step as people name it: ``ListExtract``, ``features``, ``DropNa(mag)``
    rows_in    rows it was given; a response that is one object counts as one
    rows_out   rows it handed on; a step may drop rows and may make more of them
    nulled     values present in the payload that didn't fit and became null, or the feature's ``nan_*``
    replaced   values changed by a documented rule (a lone surrogate, a fraction cut off, a number kept as text)
    by_column  ``nulled + replaced`` of each column that has any
    """

    step: str
    rows_in: int
    rows_out: int
    nulled: int = 0
    replaced: int = 0
    by_column: tuple[tuple[str, int], ...] = ()

    def plus(self, other: StepCount) -> StepCount:
        """The counts of the same step over two items together."""
        columns = Counter(dict(self.by_column)) + Counter(dict(other.by_column))
        return StepCount(
            self.step,
            self.rows_in + other.rows_in,
            self.rows_out + other.rows_out,
            self.nulled + other.nulled,
            self.replaced + other.replaced,
            tuple(columns.items()),
        )


class StepCounts:
    """The counts of a form's steps over several items together, in the order the steps came first. One thread's."""

    def __init__(self) -> None:
        self._by_step: dict[str, StepCount] = {}

    def add(self, item: Iterable[StepCount]) -> None:
        """Add one item's."""
        for count in item:
            before = self._by_step.get(count.step)
            self._by_step[count.step] = count if before is None else before.plus(count)

    def __iter__(self) -> Iterator[StepCount]:
        return iter(self._by_step.values())


@dataclass(frozen=True)
class Held:
    """A row, as it arrived, with a value that can't be of its column's type; and why."""

    row: object
    reason: str


@dataclass(frozen=True)
class Shaped:
    """A table of canonical types (``docs/forms.md`` lists them), perhaps without rows, and how it came about.

    types  column -> the word for its type, as known after this table; None where types aren't found
    held   rows that aren't in the table

    Each step's ``rows_in`` is the ``rows_out`` of the one before; the last ``rows_out`` is the table's length.
    """

    table: pa.Table
    steps: tuple[StepCount, ...]
    types: Mapping[str, str] | None = None
    held: tuple[Held, ...] = ()


class Form(Protocol):
    """Turns what a source returned into a table."""

    def shape(self, responses: Sequence[object]) -> Shaped:
        """Shape all responses of one poll together, or raise ShapeError. Safe to call from any thread."""

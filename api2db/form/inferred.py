"""The form made of found types: every key a column, its type found once and kept from batch to batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from api2db.children import Children
from api2db.errors import ShapeError
from api2db.form.children import ListForm, list_forms, without
from api2db.form.column import step_count, table_of
from api2db.form.infer import records_of
from api2db.form.known import Fit, fit_column
from api2db.form.names import column_names
from api2db.form.nested import flattened
from api2db.form.rows import rows_of
from api2db.form.shaped import Held, Shaped, StepCount

COLUMNS_KNOWN: Final = 2_000
"""Columns whose types are remembered: as many as a table has in any database. Keys that are data make more."""


@dataclass(frozen=True)
class InferredForm:
    """Records as they are: a column for each key, in the order the keys are first seen, its type found.

    Objects inside them are columns too (``form.nested``), lists are JSON but for those that are children.

    known     column -> the word for its type (``form.known``), from the batches before; what is known after this
              one is in ``Shaped.types``
    children  name -> lists inside the records that are tables of their own
    """

    known: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, Children] = field(default_factory=dict)

    @property
    def lists(self) -> tuple[str, ...]:
        """The names of its children."""
        return tuple(self.children)

    def shape(self, responses: Sequence[object]) -> Shaped:
        """Shape records; a response that is a list is its items.

        A row with a value that can't be of its column's type is held: it is in ``Shaped.held``, not in the table.
        Raises ShapeError for what isn't records.
        """
        return _shape(rows_of(responses), self.known, list_forms(self.children))


def _shape(rows: Sequence[object], known: Mapping[str, str], lists: Sequence[ListForm]) -> Shaped:
    """One row a record. Records that aren't objects have one column, ``value``."""
    bare = without(rows, lists) if lists else rows
    columns_found = flattened(*records_of(bare), known)
    names, values = [name for name, _ in columns_found], [column for _, column in columns_found]
    given = column_names(names)
    fits = {name: _fit(name, column, known.get(name)) for name, column in zip(given, values, strict=True)}
    made = [one.made(rows, known) for one in lists]
    odd = _odd(fits)
    for one in made:
        for row, why in one.misfits.items():
            odd[row] = f"{odd[row]}; {why}" if row in odd else why
    if odd:
        # Shaped again without them: what is held leaves no trace in the types of the others.
        shaped = _shape([row for at, row in enumerate(rows) if at not in odd], known, lists)
        held = tuple(Held(rows[at], reason) for at, reason in sorted(odd.items()))
        step = StepCount("held", len(rows), len(rows) - len(odd))
        return Shaped(shaped.table, (step, *shaped.steps), shaped.types, (*held, *shaped.held))
    words = {name: fit.word for name, fit in fits.items()}
    for one in made:
        words.update(one.words)
    names += [one.name for one in lists]
    columns = [*(fit.column for fit in fits.values()), *(one.column for one in made)]
    table, renamed = table_of(names, columns)
    # Records without a single field make no rows: a table without columns has no length.
    found = step_count("infer", len(rows), table.num_rows, names, columns)
    return Shaped(table, (found, *renamed), _learned(known, words))


def _fit(name: str, values: Sequence[object], word: str | None) -> Fit:
    try:
        return fit_column(values, word)
    except ShapeError as error:
        raise ShapeError(f"column {name!r} as it is remembered: {error}") from error


def _odd(fits: Mapping[str, Fit]) -> dict[int, str]:
    """Position of each row with a misfit, and the reason: one sentence a column."""
    odd: dict[int, str] = {}
    for name, fit in fits.items():
        for row, why in fit.misfits.items():
            text = f'column "{name}" {why}'
            odd[row] = f"{odd[row]}; {text}" if row in odd else text
    return odd


def _learned(known: Mapping[str, str], words: Mapping[str, str | None]) -> dict[str, str]:
    learned = dict(known)
    for name, word in words.items():
        if word is not None and (name in learned or len(learned) < COLUMNS_KNOWN):
            learned[name] = word
    return learned

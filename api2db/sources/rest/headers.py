"""Pages of a table have their row of names each; one that has none would take its first record for it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final

from api2db.errors import SourceError
from api2db.sources.decoding.named import NamedRows
from api2db.sources.rest.paging import Step

_SHOWN_NAMES: Final = 8
# A step goes with each batch of rows; of a table of hundreds of columns so many tell a record from a row of names.
_KEPT_NAMES: Final = 40
_NAMES: Final = "names"
_WIDTH: Final = "columns"


class NamesMissing(SourceError):
    """A page begins with a record where its row of names should be."""


class Headers:
    """The names that the pages of one request had. Used by one thread.

    Pages may differ in columns: what was added, or an export without empty ones. As many columns as before, and none of
    a name that was there before, is what a page looks like that begins with a record.

    The step to the next page says those of the records that paging counts: the poll that goes on there, and one that
    finds the page before unchanged, reads no page that has them.
    """

    def __init__(self) -> None:
        self._names: dict[Hashable, Sequence[str]] = {}
        self._before: tuple[int, Sequence[str]] | None = None  # of pages nobody reads now: how many, and the first ones
        self._counted: tuple[int, Sequence[str]] | None = None

    def go_on(self, step: Step | None) -> None:
        """Take note of what a step, or what is remembered with an answer, says of the pages before."""
        if self._counted is None and step and isinstance(step.get(_NAMES), list):
            self._counted = self._before = int(step[_WIDTH]), step[_NAMES]

    def said(self) -> Step:
        """What is kept, to be put into a step."""
        if self._counted is None:
            return {}
        width, names = self._counted
        return {_WIDTH: width, _NAMES: list(names[:_KEPT_NAMES])}

    def onto(self, step: Step | None) -> Step | None:
        """The step with the names."""
        return None if step is None else {**step, **self.said()}

    def check(self, select: object, records: Sequence[Any], *, counted: bool) -> None:
        """Take note of a page's names, of one way to find its records. Raises NamesMissing.

        counted  these are the records that paging counts; an answer may have other tables
        """
        if not isinstance(records, NamedRows) or not records.names or not isinstance(select, Hashable):
            return
        if counted and self._counted is None:
            self._counted = len(records.names), records.names
        names = self._names.setdefault(select, records.names)
        width, before = self._before if counted and self._before is not None else (len(names), names)
        told = [name for name in before if name not in _by_place(before)]
        if len(records.names) == width and told and not set(told) & set(records.names):
            shown = ", ".join(map(repr, before[:_SHOWN_NAMES])) + (", …" if width > _SHOWN_NAMES else "")
            raise NamesMissing(
                f"none of its {width} columns is named as on the first page read ({shown}): it begins with a"
                f" record, it seems, without a row of names; {records.advice}"
            )


def without_names(step: Step) -> Step:
    """The step as its convention made it."""
    return {name: value for name, value in step.items() if name not in (_NAMES, _WIDTH)} if _NAMES in step else step


def _by_place(names: Sequence[str]) -> set[str]:
    """What columns without a name are called: it says nothing."""
    return {f"column_{at}" for at in range(1, len(names) + 1)}

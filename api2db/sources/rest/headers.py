"""Pages of a table have their row of names each; one that has none would take its first record for it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final

from api2db.errors import SourceError
from api2db.sources.decoding.named import NamedRows

_SHOWN_NAMES: Final = 8


class Headers:
    """The names that the pages of one request had. Used by one thread.

    Pages may differ in columns: what was added, or an export without empty ones. As many columns as before, and none of
    a name that was there before, is what a page looks like that begins with a record.
    """

    def __init__(self) -> None:
        self._names: dict[Hashable, tuple[str, ...]] = {}

    def check(self, select: object, records: Sequence[Any]) -> None:
        """Take note of a page's names, of one way to find its records. Raises SourceError."""
        if not isinstance(records, NamedRows) or not records.names or not isinstance(select, Hashable):
            return
        names = self._names.setdefault(select, records.names)
        told = [name for name in names if name not in _by_place(names)]
        if len(records.names) == len(names) and told and not set(told) & set(records.names):
            shown = ", ".join(map(repr, names[:_SHOWN_NAMES])) + (", …" if len(names) > _SHOWN_NAMES else "")
            raise SourceError(
                f"none of its {len(names)} columns is named as on the first page read ({shown}): it begins with a"
                f" record, it seems, without a row of names; {records.advice}"
            )


def _by_place(names: Sequence[str]) -> set[str]:
    """What columns without a name are called: it says nothing."""
    return {f"column_{at}" for at in range(1, len(names) + 1)}

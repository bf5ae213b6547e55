"""BadRowSwap: rows of an API that sometimes puts two values in each other's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api2db.form.pre import Pre
from api2db.form.step import Labelled

Place = tuple[Any, ...]


class BadRowSwap(Labelled, Pre):
    """Where ``lam(row)`` is true, the values of ``key_1`` and ``key_2`` change places, however deep each is nested.

    Dropped: rows without ``key_1`` (also where that makes ``lam`` raise KeyError), and rows in need of a swap
    without ``key_2``, or with one of the two inside the other. A row on which ``lam`` raises anything else is
    kept as it is. The rows given are not changed.
    """

    ctype = "bad_row_swap"

    def __init__(self, key_1: str, key_2: str, lam: Callable[[Any], Any]) -> None:
        super().__init__(key_1, key_2)
        self.key_1 = key_1
        self.key_2 = key_2
        self.lam = lam

    def lam_wrap(self, lam_arg: Any) -> list[Any] | None:
        if lam_arg is None:
            return None
        swapped = map(self._row, lam_arg if isinstance(lam_arg, (list, tuple)) else [lam_arg])
        return [row for row in swapped if row is not None]

    def _row(self, row: Any) -> Any:
        first = _find(row, self.key_1)
        if first is None:
            return None
        try:
            needs_swap = bool(self.lam(row))
        except KeyError:
            return None
        except Exception:  # noqa: BLE001
            needs_swap = False
        if not needs_swap:
            return row
        second = _find(row, self.key_2)
        if second is None or first[: len(second)] == second or second[: len(first)] == first:
            return None
        value_1, value_2 = _read(row, first), _read(row, second)
        return _with(_with(row, first, value_2), second, value_1)


def _find(row: Any, key: str) -> Place | None:
    """Where the key is: in the object itself, else in the first nested one, depth first, that has it."""
    if isinstance(row, dict):
        if key in row:
            return (key,)
        inside: Any = row.items()
    elif isinstance(row, list):
        inside = enumerate(row)
    else:
        return None
    for name, value in inside:
        place = _find(value, key)
        if place is not None:
            return (name, *place)
    return None


def _read(row: Any, place: Place) -> Any:
    for name in place:
        row = row[name]
    return row


def _with(row: Any, place: Place, value: Any) -> Any:
    """The row with another value in that place; only the objects on the way are copied."""
    if not place:
        return value
    copy = row.copy()
    copy[place[0]] = _with(row[place[0]], place[1:], value)
    return copy

"""Pre-processors: what happens to a response before features are read from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api2db.errors import ShapeError
from api2db.form.kinds import keeps_values
from api2db.form.path import parse_path
from api2db.form.plain import is_absent
from api2db.form.step import Labelled, Step
from api2db.form.tally import MISSING


class Pre(Step):
    """The base of pre-processors, users' own included: what ``lam_wrap(self, lam_arg)`` returns replaces the data.

    None means that this response has nothing to give.
    """

    ctype = "pre"


class ListExtract(Pre):
    """``list(lam(data))`` becomes the rows; None on any error."""

    ctype = "list_extract"

    def __init__(self, lam: Callable[[Any], Any]) -> None:
        self.lam = lam

    def lam_wrap(self, lam_arg: Any) -> list[Any] | None:
        try:
            return list(self.lam(lam_arg))
        except Exception:  # noqa: BLE001
            return None


class GlobalExtract(Labelled, Pre):
    """One value for all rows of a response, as column ``key``; null where it can't be found or doesn't fit."""

    ctype = "global_extract"

    def __init__(self, key: str, lam: Callable[[Any], Any], dtype: Any) -> None:
        super().__init__(key)
        self.key = key
        self.lam = lam
        self.dtype = dtype

    def lam_wrap(self, lam_arg: Any) -> dict[str, Any]:
        """``{"value": dtype(lam(data)) or None, "dtype": dtype}``."""
        return self.counted(lam_arg)[0]

    def counted(self, data: Any) -> tuple[dict[str, Any], int]:
        """What ``lam_wrap`` gives, and 1 if a value was there that didn't fit."""
        misfit = 0
        value = None
        try:
            found = self.lam(data)
            if not is_absent(found):
                value = found if keeps_values(self.dtype) else self.dtype(found)
        except LookupError:
            pass
        except Exception:  # noqa: BLE001
            misfit = 1
        return {"value": value, "dtype": self.dtype}, misfit


class FeatureFlatten(Labelled, Pre):
    """A row whose ``key`` holds a list becomes one row per item, the item under ``key`` and the rest copied.

    A row whose ``key`` holds an object stays; a row with neither is dropped.
    """

    ctype = "feature_flatten"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def lam_wrap(self, lam_arg: Any) -> list[Any]:
        rows: list[Any] = []
        for row in lam_arg if isinstance(lam_arg, (list, tuple)) else [lam_arg]:
            nested = row.get(self.key) if isinstance(row, dict) else None
            if isinstance(nested, list):
                rows.extend({**row, self.key: item} for item in nested)
            elif isinstance(nested, dict):
                rows.append(row)
        return rows


class RowsAt(Labelled, Pre):
    """The list at ``path`` becomes the rows: what ``rows=`` of a shape stands for.

    A null there is no rows, an object is one. Raises ShapeError where the path leads nowhere: what an API says
    when it has failed must not look like a page without rows.
    """

    ctype = "rows_at"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path, _ = parse_path(path, ())

    def lam_wrap(self, lam_arg: Any) -> Any:
        found = self.path.read(lam_arg, MISSING)
        if found is None or isinstance(found, (list, dict)):
            return found
        what = "leads nowhere" if found is MISSING else f"is {type(found).__name__}, not a list"
        raise ShapeError(f"step {self.label}: the path {what} in a response that is {type(lam_arg).__name__}")

"""Post-processors: what happens to the frame of a response after its features are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from api2db.errors import ShapeError
from api2db.form.frames import cast_values, with_column
from api2db.form.plain import is_absent
from api2db.form.step import Labelled, Step, names_of
from api2db.form.typecast import typecast


class Post(Step):
    """The base of post-processors, users' own included: what ``lam_wrap(self, lam_arg)`` returns is the frame."""

    ctype = "post"

    def counted(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
        """The frame after the step, and how many of its values became null because they didn't fit."""
        return self.lam_wrap(frame), 0

    @staticmethod
    def typecast(dtype: Any) -> str:
        """The pandas dtype of a Python type."""
        return typecast(dtype)


class Counting(Labelled, Post):
    """A post-processor that knows how many values it made null: it says ``counted``, and ``lam_wrap`` follows."""

    def lam_wrap(self, lam_arg: pd.DataFrame) -> pd.DataFrame:
        return self.counted(lam_arg)[0]


class ColumnAdd(Counting):
    """``lam()``, called once a frame, as column ``key``: one value for every row, or a list with one for each."""

    ctype = "column_add"

    def __init__(self, key: str, lam: Callable[[], Any], dtype: Any) -> None:
        super().__init__(key)
        self.key = key
        self.lam = lam
        self.dtype = dtype

    def counted(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
        made = self.lam()
        each = self.dtype not in (list, dict) and pd.api.types.is_list_like(made)
        if each and len(made) != len(frame):
            raise ShapeError(f"step {self.label} gave {len(made)} values for {len(frame)} rows")
        series, nulled = cast_values(list(made) if each else [made] * len(frame), self.dtype)
        return with_column(frame, self.key, series), nulled


class ColumnApply(Counting):
    """``lam`` on each value of column ``key``, cast to ``dtype``; null where it raises or the result doesn't fit."""

    ctype = "column_apply"

    def __init__(self, key: str, lam: Callable[[Any], Any], dtype: Any) -> None:
        super().__init__(key)
        self.key = key
        self.lam = lam
        self.dtype = dtype

    def counted(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
        failed = 0
        values: list[Any] = []
        for value in frame[self.key]:
            try:
                values.append(self.lam(value))
            except Exception:  # noqa: BLE001
                # Most functions can't take a null; that one stays null is no loss.
                failed += not is_absent(value)
                values.append(pd.NA)
        series, nulled = cast_values(values, self.dtype)
        return with_column(frame, self.key, series), nulled + failed


class ColumnsCalculate(Counting):
    """``lam(frame)`` gives a frame with the columns ``keys``, which are added or replaced, cast to ``dtypes``.

    Rows are matched by index where the result has the frame's, otherwise by position.
    """

    ctype = "columns_calculate"

    def __init__(self, keys: Sequence[str], lam: Callable[[pd.DataFrame], pd.DataFrame], dtypes: Sequence[Any]) -> None:
        self.keys = names_of(keys)
        super().__init__(*self.keys)
        self.lam = lam
        self.dtypes = list(dtypes)

    def counted(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
        made = self.lam(frame.copy())
        if not made.index.equals(frame.index):
            if made.index.is_unique and made.index.isin(frame.index).all():
                made = made.reindex(frame.index)
            elif len(made) != len(frame):
                raise ShapeError(f"step {self.label} gave {len(made)} rows for {len(frame)}")
        total = 0
        for key, dtype in zip(self.keys, self.dtypes, strict=True):
            series, nulled = cast_values(list(made[key]), dtype)
            frame = with_column(frame, key, series)
            total += nulled
        return frame, total


class DateCast(Counting):
    """Texts of column ``key`` in format ``fmt`` become timestamps; what isn't in the format becomes null.

    Texts with different zones become the instants they mean, in UTC.
    """

    ctype = "date_cast"

    def __init__(self, key: str, fmt: str | None) -> None:
        super().__init__(key)
        self.key = key
        self.fmt = fmt

    def counted(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
        before = frame[self.key]
        try:
            after = pd.to_datetime(before, format=self.fmt, errors="coerce")
        except ValueError:
            # pandas makes one column of several zones only when told that it's UTC.
            after = pd.to_datetime(before, format=self.fmt, errors="coerce", utc=True)
        nulled = int((after.isna() & before.notna()).sum())
        return with_column(frame, self.key, after), nulled


class DropNa(Labelled, Post):
    """Drops the rows that have a null in any of the columns ``keys``."""

    ctype = "drop_na"

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = names_of(keys)
        super().__init__(*self.keys)

    def lam_wrap(self, lam_arg: pd.DataFrame) -> pd.DataFrame:
        return lam_arg.dropna(subset=self.keys)

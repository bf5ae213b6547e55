"""Frames of one kind, one under the other, without a value changing because a neighbour has another dtype."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from api2db.formats import times
from api2db.formats.dtypes import cast

_GROUP: Final = 512
"""Frames that are stacked at once: the overhead of many small ones is never held for all of them."""

_EXACT: Final = 2**53
"""Whole numbers up to here are exact as floats."""


def stack(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All rows in order under a fresh index, all columns in order of appearance.

    A column that some frames lack is null there, and of a type that knows null. Dtypes that differ meet in the
    narrowest that holds all values exactly; a column without any value takes the others' dtype; where there is no
    such dtype the column becomes one of objects. Memory: at most about twice the result.
    """
    groups, pending = [], []
    for frame in frames:
        pending.append(frame)
        if len(pending) == _GROUP:
            groups.append(_stacked(pending))
            pending = []
    return _stacked([*groups, *pending])


def common_dtype(one: Any, other: Any) -> Any:
    """The dtype in which columns of these two meet, as far as that can be said without their values."""
    return one if one == other else _common([one, other], ())


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame()
    if not all(_alike(frame, frames[0]) for frame in frames):
        names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
        targets = {name: _target(name, frames) for name in names}
        frames = [_aligned(frame, targets) for frame in frames]
    return frames[0].reset_index(drop=True) if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _alike(frame: pd.DataFrame, first: pd.DataFrame) -> bool:
    return (
        len(frame.columns) == len(first.columns)
        and list(frame.columns) == list(first.columns)
        and list(frame.dtypes) == list(first.dtypes)
        and not any(map(is_object_dtype, frame.dtypes))
    )


def _aligned(frame: pd.DataFrame, targets: dict[Any, Any]) -> pd.DataFrame:
    rows = len(frame)
    columns = {
        name: _as(frame[name], dtype) if name in frame else pd.Series([None] * rows, dtype=dtype, index=frame.index)
        for name, dtype in targets.items()
    }
    aligned = pd.DataFrame(columns, index=frame.index)
    aligned.columns = pd.Index(list(targets), dtype=object)
    return aligned


def _as(series: pd.Series[Any], dtype: Any) -> pd.Series[Any]:
    if series.dtype == dtype:
        return series
    if not series.notna().any():
        return pd.Series([None] * len(series), dtype=dtype, index=series.index)
    if times.is_time(series.dtype) and isinstance(dtype, pd.StringDtype):
        return pd.Series(times.texts(series), dtype=dtype, index=series.index)
    if isinstance(dtype, pd.CategoricalDtype):
        return series.astype(dtype)
    return cast(series, dtype)


def _target(name: object, frames: Sequence[pd.DataFrame]) -> Any:
    """The dtype in which a column's pieces meet."""
    pieces = [frame[name] for frame in frames if name in frame]
    dtypes = list(dict.fromkeys(piece.dtype for piece in pieces if not _is_blank(piece)))
    lacking = len(pieces) < len(frames) or any(_is_blank(piece) and len(piece) for piece in pieces)
    if not dtypes:
        return pieces[0].dtype
    if len(dtypes) == 1:
        return _nullable(dtypes[0]) if lacking else dtypes[0]
    return _common(dtypes, pieces)


def _is_blank(piece: pd.Series[Any]) -> bool:
    """Is it without a value and without a type, as a column of nulls in a text file is?"""
    return is_object_dtype(piece.dtype) and not piece.notna().any()


def _nullable(dtype: Any) -> Any:
    if dtype == np.dtype(bool):
        return pd.BooleanDtype()
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        return pd.Series([], dtype=dtype).convert_dtypes().dtype
    return dtype


def _common(dtypes: Sequence[Any], pieces: Sequence[pd.Series[Any]]) -> Any:
    kinds = {_kind(dtype) for dtype in dtypes}
    if kinds == {"bool"}:
        return pd.BooleanDtype()
    if kinds == {"int"}:
        return pd.Int64Dtype() if _all_fit(pieces, -(2**63), 2**63 - 1) else _if_positive(pieces)
    if kinds <= {"int", "float"}:
        whole = [piece for piece in pieces if _kind(piece.dtype) == "int"]
        return pd.Float64Dtype() if _all_fit(whole, -_EXACT, _EXACT) else np.dtype(object)
    if kinds == {"time"}:
        return np.dtype(f"datetime64[{_finest(np.datetime_data(dtype)[0] for dtype in dtypes)}]")
    if kinds == {"instant"}:
        return pd.DatetimeTZDtype(_finest(dtype.unit for dtype in dtypes), "UTC")
    if kinds <= {"text", "time", "instant"} and "text" in kinds:
        return pd.StringDtype()
    if kinds == {"category"}:
        return _common_category(dtypes, pieces)
    return np.dtype(object)


def _kind(dtype: Any) -> str:
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "instant"
    if isinstance(dtype, pd.StringDtype):
        return "text"
    return {"b": "bool", "i": "int", "u": "int", "f": "float", "M": "time"}.get(dtype.kind, "other")


def _finest(units: Iterable[str]) -> Any:
    return max(units, key=("s", "ms", "us", "ns").index)


def _all_fit(pieces: Iterable[pd.Series[Any]], least: int, most: int) -> bool:
    known = [piece.dropna() for piece in pieces]
    return all(not len(piece) or (int(piece.min()) >= least and int(piece.max()) <= most) for piece in known)


def _if_positive(pieces: Iterable[pd.Series[Any]]) -> Any:
    return pd.UInt64Dtype() if _all_fit(pieces, 0, 2**64 - 1) else np.dtype(object)


def _common_category(dtypes: Sequence[Any], pieces: Sequence[pd.Series[Any]]) -> Any:
    """All categories in order of appearance; plain values where orders, or types of categories, differ."""
    kinds = {dtype.categories.dtype for dtype in dtypes}
    if len(kinds) > 1 or any(dtype.ordered for dtype in dtypes):
        return np.dtype(object)
    values = dict.fromkeys(value for dtype in dtypes for value in dtype.categories)
    return pd.CategoricalDtype(pd.Index(list(values), dtype=kinds.pop()))

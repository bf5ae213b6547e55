"""Times as text: ``2026-01-31T12:00:00.000000``, with ``Z`` where they are instants; always that many digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_NOTATION = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{3}){2,3}Z?$"


def is_time(dtype: object) -> bool:
    """Is it one of the ``datetime64`` dtypes, with or without zone?"""
    return isinstance(dtype, pd.DatetimeTZDtype) or (isinstance(dtype, np.dtype) and dtype.kind == "M")


def texts(series: pd.Series[Any]) -> list[str | None]:
    """Six digits after the point, nine of a ``[ns]`` column; instants in UTC with ``Z``.

    Raises ValueError for coarser times outside the range of microseconds.
    """
    aware = isinstance(series.dtype, pd.DatetimeTZDtype)
    stamps = pd.DatetimeIndex(series)
    if aware:
        stamps = stamps.tz_convert("UTC").tz_localize(None)
    unit: Any = "ns" if stamps.unit == "ns" else "us"
    values = stamps.as_unit(unit).to_numpy()
    end = "Z" if aware else ""
    return [
        None if missing else text + end
        for text, missing in zip(np.datetime_as_string(values, unit).tolist(), np.isnat(values).tolist(), strict=True)
    ]


def found(array: pa.Array) -> pd.Series[Any] | None:
    """Texts that are all exactly what ``texts`` writes for one dtype, as that dtype; None if they aren't."""
    valid = array.drop_null()
    if not len(valid) or not pc.all(pc.match_substring_regex(valid, _NOTATION)).as_py():
        return None
    lengths = pc.unique(pc.utf8_length(valid)).to_pylist()
    unit: Any = {26: "us", 27: "us", 29: "ns", 30: "ns"}.get(lengths[0])
    if len(lengths) > 1 or unit is None:
        return None
    zoned = lengths[0] in (27, 30)
    if pc.any(pc.not_equal(pc.ends_with(valid, "Z"), zoned)).as_py():
        return None
    dtype: Any = pd.DatetimeTZDtype(unit, "UTC") if zoned else np.dtype(f"datetime64[{unit}]")
    try:
        series = _of_texts(array.to_pylist(), dtype)
    except ValueError:
        # The 31st of February, or a year that nanoseconds don't reach.
        return None
    return series if texts(series) == array.to_pylist() else None


def as_time(series: pd.Series[Any], wanted: Any) -> pd.Series[Any]:
    """Texts, dates and other times as times of ``wanted``; naive ones become UTC's where it has a zone."""
    if isinstance(series.dtype, pd.StringDtype):
        given = [None if missing else str(text) for text, missing in zip(series, series.isna(), strict=True)]
        try:
            result = _of_texts(given, wanted)
        except ValueError:
            # Not our notation: whatever pandas reads as ISO 8601.
            result = _zoned(pd.Series(pd.to_datetime(pd.Series(given, dtype=object), format="ISO8601")), wanted)
    else:
        result = _zoned(pd.Series(pd.to_datetime(series)), wanted)
    result.index, result.name = series.index, series.name
    return result


def _of_texts(given: Sequence[str | None], wanted: Any) -> pd.Series[Any]:
    unit: Any = wanted.unit if isinstance(wanted, pd.DatetimeTZDtype) else np.datetime_data(wanted)[0]
    zoned = sum(text is not None and text.endswith("Z") for text in given)
    if zoned not in (0, sum(text is not None for text in given)):
        raise ValueError("some times have a zone, others don't")
    # numpy would cut digits off: they are read as nanoseconds where there are that many.
    finest = "ns" if any(text is not None and len(text.partition(".")[2].rstrip("Z")) > 6 for text in given) else "us"
    bare = ["NaT" if text is None else text.removesuffix("Z") for text in given]
    stamps = pd.DatetimeIndex(np.array(bare, dtype=f"datetime64[{finest}]"))
    exact = stamps.as_unit(unit)
    if not (exact == stamps)[stamps.notna()].all():
        raise ValueError(f"times have more digits than {wanted} holds")
    if zoned:
        exact = exact.tz_localize("UTC")
    return _zoned(pd.Series(exact), wanted)


def _zoned(series: pd.Series[Any], wanted: Any) -> pd.Series[Any]:
    """Times under a dtype with zone or without one: without means UTC's clock."""
    aware = isinstance(series.dtype, pd.DatetimeTZDtype)
    if isinstance(wanted, pd.DatetimeTZDtype):
        instants = series if aware else series.dt.tz_localize("UTC")
        return instants.dt.tz_convert(wanted.tz).astype(wanted)
    if aware:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    return series.astype(wanted)

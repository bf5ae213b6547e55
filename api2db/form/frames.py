"""Between Arrow tables and the pandas frames that post-processors and ``Api2Pandas`` speak."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import msgspec
import pandas as pd
import pyarrow as pa

from api2db.form.column import Column, is_json, table_of
from api2db.form.kinds import column_kind
from api2db.form.shaped import Shaped
from api2db.form.tables import from_frame
from api2db.form.times import NAIVE, UTC

_PANDAS: Final = {
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
}


def frame_of(table: pa.Table) -> pd.DataFrame:
    """The table as a frame: Int64, Float64, bool (boolean where it has nulls), string; times in microseconds."""
    # As naive ones, and told their zone by pandas: Arrow would want a zone database, which a bare machine lacks.
    naive = [column.cast(NAIVE) if column.type == UTC else column for column in table.columns]
    frame = pa.table(naive, names=table.column_names).to_pandas(types_mapper=_PANDAS.get)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.type == pa.bool_() and not column.null_count:
            frame[name] = frame[name].astype("bool")
        elif column.type == UTC:
            frame[name] = frame[name].dt.tz_localize(dt.UTC)
    return frame


def cast_values(values: Sequence[object], dtype: object) -> tuple[pd.Series[Any], int]:
    """Values as one column of a frame, cast like ``astype`` would, and how many of them didn't fit."""
    column = column_kind(dtype).column(values)
    return _series(column), column.nulled


def with_column(frame: pd.DataFrame, key: Hashable, series: pd.Series[Any]) -> pd.DataFrame:
    """The frame with one column added or replaced, by position."""
    series.index = frame.index
    changed = frame.copy(deep=False)
    changed[key] = series
    return changed


def table_of_frame(frame: pd.DataFrame, known_fields: Mapping[str, pa.Field]) -> Shaped:
    """The frame post-processors left, as a table; columns they kept keep what a frame can't say about them."""
    shaped = from_frame(frame)
    table = shaped.table
    for position, field in enumerate(table.schema):
        known = known_fields.get(field.name)
        if known is None:
            continue
        values = table.column(position)
        if field.type == pa.null() and known.type != pa.null():
            table = table.set_column(position, known, values.cast(known.type))
        elif field.type == pa.string() and is_json(known) and _all_json(values):
            table = table.set_column(position, known, values)
    return Shaped(table, shaped.steps)


def _series(column: Column) -> pd.Series[Any]:
    table, _ = table_of(["value"], [column])
    return frame_of(table)["value"]


def _all_json(values: pa.ChunkedArray) -> bool:
    try:
        for text in values.to_pylist():
            if text is not None:
                msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True

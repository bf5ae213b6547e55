"""Frames and Arrow tables a source returned itself, as tables of canonical types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from api2db.childrows import as_json
from api2db.form.canonical import canonical_column
from api2db.form.column import Column, step_count, table_of
from api2db.form.infer import infer_column
from api2db.form.shaped import Shaped


def from_arrow(table: pa.Table) -> Shaped:
    """An Arrow table of any types as one of canonical types; NaN stays NaN. Raises ShapeError for what has none."""
    table = as_json(table)
    columns = [canonical_column(array, field) for array, field in zip(table.columns, table.schema, strict=True)]
    return _shaped("Arrow table", table.num_rows, table.column_names, columns)


def from_frame(frame: pd.DataFrame) -> Shaped:
    """A frame as a table of canonical types: the index dropped, NaN and NaT null, categories as their values.

    Object columns are looked at like records of a payload.
    """
    columns = [_column(frame.iloc[:, position]) for position in range(frame.shape[1])]
    return _shaped("DataFrame", len(frame), list(frame.columns), columns)


def _shaped(step: str, rows: int, names: list[object], columns: list[Column]) -> Shaped:
    table, renamed = table_of(names, columns)
    return Shaped(table, (step_count(step, rows, table.num_rows, names, columns), *renamed))


def _column(series: pd.Series[Any]) -> Column:
    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        # As many values as categories are looked at, not as many as rows.
        values = _column(pd.Series(series.cat.categories))
        codes = pa.array(series.cat.codes.to_numpy(), mask=(series.cat.codes == -1).to_numpy())
        return Column(values.array.take(codes), values.nulled, values.replaced, values.json)
    if isinstance(dtype, pd.SparseDtype):
        return _column(pd.Series(np.asarray(series)))
    if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        return infer_column(
            [None if missing else str(value) for value, missing in zip(series, series.isna(), strict=True)]
        )
    if dtype == "object" or (isinstance(dtype, np.dtype) and dtype.kind not in "biufmM"):
        return infer_column(list(series))
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError):
        # Lone surrogates, extension dtypes Arrow has never heard of.
        return infer_column(list(series))
    return canonical_column(array, pa.field("", array.type))

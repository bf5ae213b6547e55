"""Frames as ORC: numbers, truth values, texts, bytes, decimals and dates are its own; times and the rest are text.

ORC knows neither unsigned numbers nor times of a day, and Arrow reads its timestamps as nanoseconds, so not before
1677; nor does a file have room for dtypes. So it is told them as csv and json are.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc
import pyarrow.types as pt
from pandas.api.types import is_object_dtype, pandas_dtype

from api2db.errors import StoreError
from api2db.formats import times
from api2db.formats.dtypes import Dtypes, cast
from api2db.formats.objects import clean_categories, object_array

_NULLABLE: Final[dict[pa.DataType, Any]] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
}
_LARGEST: Final = 2**63 - 1


def encode(df: pd.DataFrame) -> bytes:
    arrays = [_array(df[name]) for name in df.columns]
    out = pa.BufferOutputStream()
    pyarrow.orc.write_table(pa.Table.from_arrays(arrays, names=list(df.columns)), out, compression="zstd")
    return bytes(memoryview(out.getvalue()))


def decode(data: bytes, dtypes: Dtypes | None) -> pd.DataFrame:
    try:
        table = pyarrow.orc.ORCFile(pa.BufferReader(data)).read()
    except OSError as error:  # of bytes in memory: they aren't ORC's
        raise StoreError(f"not a readable orc file: {error}") from error
    dtypes = dtypes or {}
    columns = {name: _series(table.column(name), name, dtypes.get(name)) for name in table.column_names}
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows if columns else 0))


def _array(series: pd.Series[Any]) -> pa.Array:
    """The values in one of the types that ORC has."""
    series = clean_categories(series)
    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = pa.array(series.cat.codes.to_numpy(), mask=(series.cat.codes == -1).to_numpy())
        return _array(pd.Series(series.cat.categories)).take(codes)
    if times.is_time(dtype):
        return pa.array(times.texts(series), pa.string())
    if is_object_dtype(dtype):
        return _of_objects(series)
    if dtype.kind == "u":
        array = pa.array(series, from_pandas=True)
        return array.cast(pa.int64() if (pc.max(array).as_py() or 0) <= _LARGEST else pa.string())
    if dtype.kind == "f":
        array = pa.array(series, from_pandas=True)
        return pc.if_else(pc.is_nan(array), None, array)
    if dtype.kind in "ib":
        return pa.array(series, from_pandas=True)
    if isinstance(dtype, pd.StringDtype):
        return pa.array(series, from_pandas=True).cast(pa.string())
    # Periods, durations, complex numbers: as pandas writes them, which is how it reads them.
    return pa.array([None if no else str(value) for value, no in zip(series, series.isna(), strict=True)], pa.string())


def _of_objects(series: pd.Series[Any]) -> pa.Array:
    array = object_array(series).array
    if pt.is_time(array.type):
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    return array.cast(pa.string()) if pt.is_null(array.type) else array


def _series(column: pa.ChunkedArray, name: str, dtype: object) -> pd.Series[Any]:
    array = column.combine_chunks()
    series: pd.Series[Any]
    if array.null_count == len(array) and pt.is_string(array.type):
        series = pd.Series([None] * len(array), dtype=object)
    elif array.type in _NULLABLE:
        # Values of a column of objects are what they are: times stay the text that they are.
        as_text = dtype is not None and is_object_dtype(pandas_dtype(dtype))
        stamps = times.found(array) if pt.is_string(array.type) and dtype is None and not as_text else None
        series = array.to_pandas(types_mapper=_NULLABLE.get) if stamps is None else stamps
    else:
        series = pd.Series(array.to_pylist(), dtype=object)
    return series if dtype is None else cast(series.rename(name), dtype)

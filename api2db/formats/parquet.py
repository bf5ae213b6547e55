"""Frames as parquet: every dtype survives; nested and mixed objects are JSON in the file, and themselves again after.

A file that no frame was written to (a stream's shard, another program's) comes as Int64, Float64, boolean and string,
so a column's dtype doesn't depend on whether this file has nulls in it.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_object_dtype

from api2db.childrows import as_json
from api2db.form.column import JSON_METADATA, is_json
from api2db.formats.dtypes import Dtypes, cast_frame
from api2db.formats.objects import Objects, clean_categories, object_array

_DTYPES: Final = b"api2db.dtypes"
"""Schema metadata: JSON, column -> the dtype that Arrow and pandas between them don't bring back."""

_PANDAS: Final = b"pandas"
_SMALL: Final = 1 << 20

_NULLABLE: Final = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
    pa.large_string(): pd.StringDtype(),
}


def encode(df: pd.DataFrame) -> bytes:
    return bytes(_written(told_table(df)))


def told_table(df: pd.DataFrame) -> pa.Table:
    """The frame as an Arrow table that says what ``told_frame`` needs to bring every dtype back."""
    columns: dict[str, pd.Series[Any]] = {}
    objects: dict[str, Objects] = {}
    dtypes: dict[str, object] = {}
    for name in df.columns:
        series = clean_categories(df[name])
        if is_object_dtype(series.dtype):
            objects[name] = object_array(series)
            dtypes[name] = "object"
        elif isinstance(series.dtype, pd.CategoricalDtype):
            dtypes[name] = {"ordered": bool(series.cat.ordered), "categories": _packed(series.cat.categories)}
        elif series.dtype == np.dtype("datetime64[s]"):
            dtypes[name] = "datetime64[s]"
        columns[name] = series
    return _told(_table(pd.DataFrame(columns, index=df.index), objects), dtypes)


def encode_table(table: pa.Table) -> memoryview:
    """A file of which ``decode`` makes the frame that ``frame_of`` makes of the table."""
    return _written(described(table))


def decode(data: bytes, dtypes: Dtypes | None) -> pd.DataFrame:
    # Starting threads costs more than a small file does.
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=len(data) > _SMALL)
    return cast_frame(told_frame(table), dtypes)


def frame_of(table: pa.Table) -> pd.DataFrame:
    """A batch's table as a frame: Int64, Float64, boolean, string, times; JSON documents as the values they are.

    Children are lists of dicts.
    """
    return told_frame(described(as_json(table)))


def described(table: pa.Table) -> pa.Table:
    """A batch's table, with what ``told_frame`` needs of it."""
    return _told(table, {field.name: "object" for field in table.schema if is_json(field)})


def _told(table: pa.Table, dtypes: dict[str, object]) -> pa.Table:
    if not dtypes:
        return table
    metadata = {**(table.schema.metadata or {}), _DTYPES: json.dumps(dtypes).encode()}
    return table.replace_schema_metadata(metadata)


def _written(table: pa.Table) -> memoryview:
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return memoryview(out.getvalue())


def told_frame(table: pa.Table) -> pd.DataFrame:
    """The frame that a table was made of; of one that no frame was made a table of, in our dtypes."""
    metadata = table.schema.metadata or {}
    if _PANDAS in metadata:
        df = table.to_pandas()
        df = df.reset_index(drop=all(name is None for name in df.index.names))
    else:
        df = table.to_pandas(types_mapper=_NULLABLE.get)
    for name, dtype in json.loads(metadata.get(_DTYPES, b"{}")).items():
        at = table.schema.get_field_index(name)
        df[name] = _restored(table.column(at), table.schema.field(at), df[name], dtype)
    return df


def _table(df: pd.DataFrame, objects: dict[str, Objects]) -> pa.Table:
    # Objects go in as Arrow columns of our making; the rest, and what pandas wants to remember, by pandas.
    stand_in = df.assign(**dict.fromkeys(objects, False)) if objects else df
    table = pa.Table.from_pandas(stand_in, preserve_index=False)
    for name, column in objects.items():
        field = pa.field(name, column.array.type, metadata=JSON_METADATA if column.json else None)
        table = table.set_column(table.schema.get_field_index(name), field, column.array)
    return table


def _restored(column: pa.ChunkedArray, field: pa.Field, series: pd.Series[Any], dtype: Any) -> pd.Series[Any]:
    if dtype == "object":
        values = column.to_pylist()
        if is_json(field):
            values = [None if text is None else msgspec.json.decode(text) for text in values]
        return pd.Series(values, dtype=object)
    if isinstance(dtype, dict):
        return _categorical(column.combine_chunks(), _unpacked(dtype["categories"]), ordered=dtype["ordered"])
    return series.astype(dtype)


def _categorical(array: pa.Array, categories: pd.Index[Any], *, ordered: bool) -> pd.Series[Any]:
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    present = pd.Index(encoded.dictionary.to_pylist(), dtype=categories.dtype)
    # The last one stands for null, which Arrow's indices say by null and pandas' codes by -1.
    codes = np.append(categories.get_indexer(present), -1)
    at = encoded.indices.fill_null(len(present)).to_numpy(zero_copy_only=False).astype("int64")
    return pd.Series(pd.Categorical.from_codes(codes[at], categories=categories, ordered=ordered))


def _packed(categories: pd.Index[Any]) -> str:
    """All categories, those without a row too, in their order: a parquet file of their own, as text."""
    return base64.b64encode(encode(pd.DataFrame({"categories": categories}))).decode()


def _unpacked(text: str) -> pd.Index[Any]:
    return pd.Index(decode(base64.b64decode(text), None)["categories"].array)

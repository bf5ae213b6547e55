"""Frames as feather, which is Arrow's own file: what parquet keeps, larger and faster to read."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.feather

from api2db.formats.dtypes import Dtypes, cast_frame
from api2db.formats.parquet import described, told_frame, told_table


def encode(df: pd.DataFrame) -> bytes:
    return bytes(_written(_without_empty_dictionaries(told_table(df))))


def encode_table(table: pa.Table) -> memoryview:
    """A file of which ``decode`` makes the frame that ``frame_of`` makes of the table."""
    return _written(described(table))


def decode(data: bytes, dtypes: Dtypes | None) -> pd.DataFrame:
    return cast_frame(told_frame(pyarrow.feather.read_table(pa.BufferReader(data))), dtypes)


def _without_empty_dictionaries(table: pa.Table) -> pa.Table:
    """pandas can't read a category without a single value; which dtype it is the file says anyway."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and field.type.value_type == pa.null():
            table = table.set_column(at, field.name, pa.nulls(table.num_rows))
    return table


def _written(table: pa.Table) -> memoryview:
    out = pa.BufferOutputStream()
    pyarrow.feather.write_feather(table, out, compression="lz4")
    return memoryview(out.getvalue())

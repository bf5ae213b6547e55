"""Frames as CSV that says its types: text is quoted, nothing else is; a null is an empty cell, an empty text ``""``.

So without dtypes a quoted 007 stays text and a bare 7 is Int64. In files of other programs, which quote only what
they must, a bare cell is a number, a truth value or a time where the whole column can be written back as it was;
else it is text (007 again).
"""

from __future__ import annotations

import io
import re
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from pandas.api.types import is_object_dtype, pandas_dtype

from api2db.errors import StoreError
from api2db.form.jsontext import text_of
from api2db.form.tally import Tally
from api2db.form.text import text_array
from api2db.formats import times
from api2db.formats.dtypes import Dtypes, cast
from api2db.formats.objects import clean_categories, in_parts, log_changes, values_of

_CELL: Final = re.compile(rb'("(?:[^"]|"")*"|[^,\r\n]*)(,|\r\n|\n|\r|\Z)')
_WHOLE: Final = r"^-?(0|[1-9][0-9]*)$"
_NUMBER: Final = r"^-?((0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|inf)$"
_INEXACT: Final = r"^-?[0-9]{16,}$"
"""Whole numbers that, among fractions, a float might not hold."""
_TRUTH: Final = r"^([Tt]rue|[Ff]alse)$"
_LARGEST_BLOCK: Final = (1 << 31) - 1


def encode(df: pd.DataFrame) -> bytes:
    if not df.shape[1]:
        return b"\n"
    out = io.BytesIO()
    out.write((",".join(_quote(name) for name in df.columns) + "\n").encode())
    for part in in_parts(df):
        cells = [_cells(part[name]).fill_null("") for name in part.columns]
        rows = pc.binary_join_element_wise(*cells, pa.scalar(",", pa.large_string()))
        out.write(("\n".join(rows.to_pylist()) + "\n").encode())
    return out.getvalue()


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _cells(series: pd.Series[Any]) -> pa.Array:
    """Each value as it stands in the file; null for null."""
    series = clean_categories(series)
    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = pa.array(series.cat.codes.to_numpy(), mask=(series.cat.codes == -1).to_numpy())
        return _cells(pd.Series(series.cat.categories)).take(codes)
    if times.is_time(dtype):
        return pa.array(times.texts(series), pa.large_string())
    if is_object_dtype(dtype):
        return _cells_of_objects(series)
    if dtype.kind in "iub":
        return pa.array(series, from_pandas=True).cast(pa.large_string())
    if dtype.kind == "f":
        array = pa.array(series, from_pandas=True)
        return _with_point(pc.if_else(pc.is_nan(array), None, array).cast(pa.large_string()))
    if isinstance(dtype, pd.StringDtype):
        return _quoted(pa.array(series, from_pandas=True).cast(pa.large_string()))
    # Periods, durations, complex numbers: as pandas writes them, which is how it reads them.
    texts = [None if missing else str(value) for value, missing in zip(series, series.isna(), strict=True)]
    return _quoted(pa.array(texts, pa.large_string()))


def _cells_of_objects(series: pd.Series[Any]) -> pa.Array:
    values = values_of(series)
    kinds = {type(value) for value in values if value is not None}
    if kinds in ({bool}, {float}):
        return _cells(pd.Series(pd.array(values, dtype="boolean" if kinds == {bool} else "Float64")))
    if kinds == {int}:
        return pa.array([None if value is None else str(value) for value in values], pa.large_string())
    tally = Tally()
    array = text_array([None if value is None else text_of(value, tally) for value in values], tally)
    log_changes(series.name, tally)
    return _quoted(array.cast(pa.large_string()))


def _quoted(texts: pa.Array) -> pa.Array:
    return _concat('"', pc.replace_substring(texts, '"', '""'), '"')


def _concat(*parts: Any) -> pa.Array:
    scalars = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in (*parts, "")]
    return pc.binary_join_element_wise(*scalars)


def _with_point(numbers: pa.Array) -> pa.Array:
    """1 as 1.0, so that a float stays one."""
    whole = pc.match_substring_regex(numbers, _WHOLE)
    return pc.if_else(whole, _concat(numbers, ".0"), numbers)


def decode(data: bytes, dtypes: Dtypes | None) -> pd.DataFrame:
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data:
        raise StoreError("not a readable csv file: it is empty, without even a header")
    if not data.strip(b"\r\n"):
        return pd.DataFrame()
    width = len(_header(data))
    table = _texts(data, width)
    names = [column[0].as_py() or "" for column in table.columns]
    if len(set(names)) < len(names):
        raise StoreError(f"not a readable csv file: it has two columns of one name: {names}")
    columns = [column.slice(1).combine_chunks() for column in table.columns]
    bare = _bare(data, columns)
    dtypes = dtypes or {}
    series = {}
    for at, name in enumerate(names):
        wanted = dtypes.get(name)
        if wanted is None:
            series[name] = _found(columns[at], bare=at in bare)
        elif wanted == "category":
            series[name] = cast(_found(columns[at], bare=at in bare), wanted)
        elif is_object_dtype(pandas_dtype(wanted)):
            # Values are what their cells say: a bare 7 is a number. Times stay the text that they are in JSON too.
            found = _found(columns[at], bare=at in bare)
            series[name] = cast(_as_text(columns[at]) if times.is_time(found.dtype) else found, wanted)
        else:
            series[name] = cast(_as_text(columns[at]).rename(name), wanted)
    return pd.DataFrame(series, index=pd.RangeIndex(len(columns[0])))


def _header(data: bytes) -> list[bytes]:
    cells = []
    for match in _CELL.finditer(data):
        cells.append(match[1])
        if match[2] != b",":
            break
    return cells


def _texts(data: bytes, width: int) -> pa.Table:
    """All cells as text, the header's being the first row."""
    return pyarrow.csv.read_csv(
        pa.BufferReader(data),
        # A cell may be larger than a block, unless the block is everything.
        read_options=pyarrow.csv.ReadOptions(
            autogenerate_column_names=True, block_size=min(max(len(data) + 1, 1 << 20), _LARGEST_BLOCK)
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={f"f{at}": pa.string() for at in range(width)},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _bare(data: bytes, columns: list[pa.Array]) -> set[int]:
    """The columns whose first value isn't quoted. Reads no further than the last of these values."""
    open_columns = {at for at, column in enumerate(columns) if column.null_count < len(column)}
    bare: set[int] = set()
    at, row = 0, 0
    for match in _CELL.finditer(data):
        if not open_columns:
            break
        if row and match[1] and at in open_columns:
            open_columns.remove(at)
            if not match[1].startswith(b'"'):
                bare.add(at)
        at, row = (at + 1, row) if match[2] == b"," else (0, row + 1)
    return bare


def _found(texts: pa.Array, *, bare: bool) -> pd.Series[Any]:
    valid = texts.drop_null()
    if not len(valid):
        return pd.Series([None] * len(texts), dtype=object)
    if not bare:
        return _as_text(texts)
    if _all(valid, _WHOLE):
        try:
            return cast(_as_text(texts), "Int64")
        except (OverflowError, ValueError):
            return pd.Series([None if text is None else int(text) for text in texts.to_pylist()], dtype=object)
    if _all(valid, _NUMBER) and not pc.any(pc.match_substring_regex(valid, _INEXACT)).as_py():
        return cast(_as_text(texts), "Float64")
    if _all(valid, _TRUTH):
        return cast(_as_text(texts), "boolean")
    stamps = times.found(texts)
    return _as_text(texts) if stamps is None else stamps


def _as_text(texts: pa.Array) -> pd.Series[Any]:
    return texts.to_pandas(types_mapper={pa.string(): pd.StringDtype()}.get)


def _all(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())

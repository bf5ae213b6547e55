"""The dtypes of a frame's columns: by name in a JSON file, and casts that never change a value silently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_object_dtype, pandas_dtype

from api2db.errors import StoreError
from api2db.files import make_dir, write_atomic
from api2db.form.jsontext import text_of
from api2db.form.tally import Tally
from api2db.formats import times

_NULLABLE: Final[dict[str, Any]] = {
    kind.lower(): pandas_dtype(kind)
    for kind in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
}
"""numpy's name of a whole number's dtype -> the one of pandas, which knows nulls and refuses what doesn't fit."""

_PARSED: Final[dict[str, Any]] = {
    "i": (pa.int64(), pd.Int64Dtype()),
    "u": (pa.uint64(), pd.UInt64Dtype()),
    "f": (pa.float64(), pd.Float64Dtype()),
    "b": (pa.bool_(), pd.BooleanDtype()),
}

_EXACT_IN_ANY_FLOAT: Final = 2**24
_MANY_DIGITS: Final = r"-?[0-9]{8,}"

Dtypes = Mapping[str, object]
"""Column -> what ``DataFrame.astype`` takes: a dtype, its name, or a Python type."""


def dtypes_of(df: pd.DataFrame) -> dict[str, object]:
    """Each column's dtype, as ``DataFrame.astype`` takes it."""
    return {str(name): dtype for name, dtype in zip(df.columns, df.dtypes, strict=True)}


def store_dtypes(path: Path, dtypes: Dtypes) -> None:
    """Keep dtypes by name; of a category its name alone, since the values of tomorrow aren't known.

    Raises OSError; the file is replaced whole.
    """
    make_dir(path.parent)
    names = {name: str(pandas_dtype(dtype)) for name, dtype in dtypes.items()}
    write_atomic(path, (json.dumps(names, indent=2) + "\n").encode())


def load_dtypes(path: Path) -> dict[str, object]:
    """The dtypes kept at ``path``. Raises FileNotFoundError, and StoreError if it isn't a file of dtypes."""
    try:
        names = json.loads(path.read_bytes())
        return {str(column): pandas_dtype(name) for column, name in names.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} doesn't hold dtypes by column: {error}; remove it, it is made anew") from error


def cast_frame(df: pd.DataFrame, dtypes: Dtypes | None) -> pd.DataFrame:
    """The frame with the columns that ``dtypes`` names cast; the others as they are."""
    if not dtypes or not any(name in dtypes for name in df.columns):
        return df
    columns = [
        cast(df.iloc[:, at], dtypes[name]) if name in dtypes else df.iloc[:, at] for at, name in enumerate(df.columns)
    ]
    return pd.concat(columns, axis=1)


def cast(series: pd.Series[Any], dtype: object) -> pd.Series[Any]:
    """The same values under another dtype. Raises ValueError or TypeError where one doesn't fit exactly."""
    wanted: Any = pandas_dtype(dtype)
    if isinstance(wanted, pd.CategoricalDtype):
        return _categorical(series, wanted)
    if series.dtype == wanted:
        return series
    if is_object_dtype(wanted):
        return pd.Series(
            [None if missing else value for value, missing in zip(series.tolist(), series.isna(), strict=True)],
            dtype=object,
            index=series.index,
            name=series.name,
        )
    if times.is_time(wanted):
        return times.as_time(series, wanted)
    if isinstance(wanted, pd.StringDtype) and series.dtype == object:
        tally = Tally()
        texts = [
            None if missing else text_of(value, tally) for value, missing in zip(series, series.isna(), strict=True)
        ]
        return pd.Series(texts, dtype=wanted, index=series.index, name=series.name)
    if isinstance(series.dtype, pd.StringDtype) and wanted.kind in _PARSED:
        if wanted.kind == "f":
            _check_exact(series[series.str.fullmatch(_MANY_DIGITS).fillna(False)].map(int), wanted)
        series = _parsed(series, wanted.kind)
    elif wanted.kind == "f" and series.dtype.kind in ("i", "u"):
        _check_exact(series.dropna(), wanted)
    if wanted.kind in "iu":
        return _whole(series, wanted)
    if wanted == np.dtype(bool):
        # numpy takes anything, None included, for a truth value; the nullable type refuses it.
        return series.astype("boolean").astype(wanted)
    return series.astype(wanted)


def _parsed(series: pd.Series[Any], kind: str) -> pd.Series[Any]:
    """Texts as the widest type of a kind. Arrow is strict: no blanks, no fraction in a whole number."""
    widest, nullable = _PARSED[kind]
    found = pa.chunked_array([pa.array(series, from_pandas=True)]).cast(widest)
    numbers = found.to_pandas(types_mapper={widest: nullable}.get)
    numbers.index, numbers.name = series.index, series.name
    return numbers


def _check_exact(whole: pd.Series[Any], wanted: Any) -> None:
    """Raises ValueError for whole numbers that a float of this size would change."""
    if len(whole) and max(int(whole.max()), -int(whole.min())) > _EXACT_IN_ANY_FLOAT:
        name: Any = str(wanted).lower()
        floats = whole.astype(name)
        for given, value in zip(whole.tolist(), floats.tolist(), strict=True):
            if given != value:
                raise ValueError(f"column {whole.name}: {given} isn't exact in {wanted}")


def _whole(series: pd.Series[Any], wanted: Any) -> pd.Series[Any]:
    nullable = _NULLABLE.get(str(wanted), wanted)
    if series.dtype == object:
        # By Python's integers: on their way through floats the large ones would change.
        exact = [None if missing else int(value) for value, missing in zip(series, series.isna(), strict=True)]
        changed = [given for value, given in zip(exact, series, strict=True) if value is not None and value != given]
        if changed:
            raise ValueError(f"column {series.name}: {changed[0]!r} isn't a whole number")
        return pd.Series(pd.array(exact, dtype=nullable), index=series.index, name=series.name).astype(wanted)
    result = series.astype(nullable)
    if not (result.astype(object) == series.astype(object))[result.notna()].all():
        raise ValueError(f"column {series.name}: not all values fit {wanted}")
    return result.astype(wanted)


def _categorical(series: pd.Series[Any], wanted: pd.CategoricalDtype) -> pd.Series[Any]:
    if wanted.categories is not None and not isinstance(series.dtype, pd.CategoricalDtype):
        series = cast(series, wanted.categories.dtype) if series.notna().any() else series
        unknown = series[series.notna() & ~series.isin(wanted.categories)]
        if len(unknown):
            raise ValueError(f"column {series.name}: {unknown.iloc[0]!r} is none of the categories")
    return series.astype(wanted)

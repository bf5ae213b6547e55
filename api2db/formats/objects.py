"""Columns of Python objects: texts, numbers and the like as themselves, anything else as JSON."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from api2db.form.jsontext import json_array
from api2db.form.plain import is_absent
from api2db.form.tally import Tally
from api2db.form.text import scrub, text_array

log = logging.getLogger(__name__)

_PART: Final = 1 << 14

_SINGLE: Final = (bool, int, float, bytes, Decimal, dt.date, dt.time)
"""Types of which a whole column is an Arrow column, and comes back equal."""


@dataclass(frozen=True)
class Objects:
    """A column of objects as Arrow holds it; ``json`` where its texts are JSON documents."""

    array: pa.Array
    json: bool = False


def values_of(series: pd.Series[Any]) -> list[Any]:
    """The values, None for whatever pandas calls missing."""
    return [None if is_absent(value) or (isinstance(value, float) and value != value) else value for value in series]


def in_parts(df: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows, so many at a time that their Python objects cost little beside the frame."""
    for start in range(0, len(df), _PART):
        yield df.iloc[start : start + _PART].reset_index(drop=True)


def object_array(series: pd.Series[Any]) -> Objects:
    """Lone surrogates become U+FFFD; what JSON can't say becomes null. Either is logged, with its count."""
    values = values_of(series)
    tally = Tally()
    kinds = {type(value) for value in values if value is not None}
    found = None
    if not kinds:
        found = Objects(pa.nulls(len(values)))
    elif kinds == {str}:
        found = Objects(text_array(values, tally))
    elif len(kinds) == 1 and kinds <= set(_SINGLE):
        found = _single(values)
    if found is None:
        found = Objects(json_array(values, tally), json=True)
    log_changes(series.name, tally)
    return found


def log_changes(column: object, tally: Tally) -> None:
    """Say what had to change for the file, if anything did."""
    if tally.nulled or tally.replaced:
        log.warning("values changed column=%r nulled=%d replaced=%d", column, tally.nulled, tally.replaced)


def clean_categories(series: pd.Series[Any]) -> pd.Series[Any]:
    """A categorical column whose texts can be encoded; other columns as they are."""
    if not isinstance(series.dtype, pd.CategoricalDtype) or series.cat.categories.dtype != object:
        return series
    texts = [scrub(value) if isinstance(value, str) else value for value in series.cat.categories]
    if all(text == value for text, value in zip(texts, series.cat.categories, strict=True)):
        return series
    log.warning("values changed column=%r: lone surrogates in categories replaced", series.name)
    merged = list(dict.fromkeys(texts))
    codes = [-1 if code == -1 else merged.index(texts[code]) for code in series.cat.codes]
    clean = pd.Categorical.from_codes(codes, categories=pd.Index(merged, dtype=object), ordered=series.cat.ordered)
    return pd.Series(clean, index=series.index, name=series.name)


def _single(values: Sequence[Any]) -> Objects | None:
    try:
        return Objects(pa.array(values))
    except (pa.ArrowException, ValueError, OverflowError):
        # Integers beyond 64 bits, Decimals that aren't numbers.
        return None

"""Which rows are duplicates, and which of them is kept, as ``DataFrame.drop_duplicates`` has it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_object_dtype

from api2db.childrows import as_json
from api2db.errors import ConfigError

log = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
_sorted_json = msgspec.json.Encoder(order="deterministic", enc_hook=str)


class Duplicates:
    """Drops rows that are equal in some columns; a null equals a null.

    keys  these columns; None: all columns; none: no row is a duplicate
    keep  "first" or "last" of equal rows
    where what the log says this is about

    Data that lacks one of the keys is compared by all its columns, which the log says once: by the keys that are left
    too much would be dropped. Raises ConfigError for keys that aren't names, or another ``keep``.
    """

    def __init__(self, keys: Sequence[str] | str | None, keep: str = "first", *, where: str = "") -> None:
        if isinstance(keys, str):
            keys = (keys,)
        if keys is not None and not all(isinstance(key, str) for key in keys):
            raise ConfigError(f"{where}: drop_duplicate_keys={keys!r}: a list of columns' names, or None for all")
        if keep not in ("first", "last"):
            raise ConfigError(f'{where}: keep={keep!r}: which of equal rows stays is "first" or "last"')
        self._keys = None if keys is None else tuple(keys)
        self._keep: Literal["first", "last"] = "first" if keep == "first" else "last"
        self._where = where
        self._warned = False

    def drop(self, table: pa.Table) -> pa.Table:
        """The table without duplicates, its order kept."""
        names = self._columns(table.column_names)
        if not names or table.num_rows < 2:
            return table
        codes, flat = {}, as_json(table)
        for at, name in enumerate(names):
            # Into small codes: any type hashes, nothing is converted to Python objects.
            encoded = flat.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
            if len(encoded.dictionary) == table.num_rows:
                return table  # no two rows agree in this column
            codes[str(at)] = encoded.indices.to_numpy()
        duplicated = pd.DataFrame(codes).duplicated(keep=self._keep).to_numpy()
        return table.filter(pa.array(~duplicated)) if duplicated.any() else table

    def kept(self, frame: pd.DataFrame) -> Mask:
        """True for each row that stays."""
        names = self._columns(list(frame.columns))
        if not names or not len(frame):
            return np.ones(len(frame), dtype=bool)
        columns = {str(at): _comparable(frame[name]) for at, name in enumerate(names)}
        mask: Mask = ~pd.DataFrame(columns).duplicated(keep=self._keep).to_numpy()
        return mask

    def _columns(self, names: Sequence[str]) -> Sequence[str]:
        if self._keys is None:
            return names
        lacking = [key for key in self._keys if key not in names]
        if not lacking:
            return self._keys
        if not self._warned:
            log.warning(
                "duplicates told apart by all columns stream=%s cause=there is no column %s in the data",
                self._where, ", ".join(map(repr, lacking)),
            )  # fmt: skip
            self._warned = True
        return names


def _comparable(series: pd.Series[Any]) -> pd.Series[Any]:
    """Dicts and lists as JSON with their keys in order; everything else as it is."""
    if not is_object_dtype(series.dtype):
        return series
    return pd.Series(
        [_sorted_json.encode(value) if isinstance(value, (dict, list)) else value for value in series],
        dtype=object,
        index=series.index,
    )

"""128 bits of each row, the same for the same values whatever the order, or the number of nulls, of its columns."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Set
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

Bits = npt.NDArray[np.uint64]

_ODD: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""The multipliers of splitmix64 (https://prng.di.unimi.it/splitmix64.c)."""

_WHOLE_BELOW: Final = 2.0**63


class Hashes:
    """Of rows that are compared with each other. Keyed at random: nobody makes two rows meet on purpose.

    exclude  columns that don't count

    A null counts nothing, so a column that isn't there is one of nulls. 1, 1.0 and 1.00 are the same number; a text is
    never one. Rows that differ meet by chance once in 2^128.
    """

    def __init__(self, exclude: Set[str] = frozenset()) -> None:
        self._exclude = exclude
        self._key = secrets.token_bytes(16)
        self._text_keys = (secrets.token_hex(8), secrets.token_hex(8))

    def of(self, table: pa.Table) -> tuple[Bits, Bits]:
        """Two arrays as long as the table, of columns of canonical types."""
        sums = (np.zeros(table.num_rows, dtype=np.uint64), np.zeros(table.num_rows, dtype=np.uint64))
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name in self._exclude or column.null_count == len(column):
                continue
            array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
            kind, values = self._values(array)
            valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
            for total, value, seed in zip(sums, values, self._seeds(name, kind), strict=True):
                mixed = _mixed(value ^ seed)
                total += mixed if valid is None else np.where(valid, mixed, np.uint64(0))
        return sums

    def _seeds(self, name: str, kind: str) -> tuple[np.uint64, np.uint64]:
        digest = hashlib.blake2b(f"{kind}\0{name}".encode(errors="surrogatepass"), key=self._key, digest_size=16)
        low, high = np.frombuffer(digest.digest(), dtype=np.uint64)
        return low, high

    def _values(self, array: pa.Array) -> tuple[str, tuple[Bits, Bits]]:
        """What is told apart by name, and each value as bits, anything for null."""
        kind = array.type
        if pt.is_integer(kind):
            return "number", _twice(_integers(array))
        if pt.is_floating(kind):
            return "number", _twice(_floats(array))
        if pt.is_decimal(kind):
            return "number", self._decimals(array)
        if pt.is_boolean(kind):
            return "bool", _twice(_integers(array.cast(pa.int8())))
        if pt.is_timestamp(kind):
            return "time" if kind.tz is None else "instant", _twice(_integers(array.cast(pa.int64())))
        if pt.is_temporal(kind):
            width = pa.int32() if pt.is_date32(kind) else pa.int64()
            return str(kind), _twice(_integers(array.cast(width)))
        return "bytes" if pt.is_binary(kind) else "text", self._texts(array)

    def _decimals(self, array: pa.Array) -> tuple[Bits, Bits]:
        """Those that are whole numbers as these, the others by their digits."""
        values = array.to_pylist()
        whole = [value is not None and value == value.to_integral_value() and abs(value) < 2**63 for value in values]
        numbers = np.array([int(v) if w else 0 for v, w in zip(values, whole, strict=True)], np.int64).view(np.uint64)
        digits = pa.array([None if value is None else str(value.normalize()) for value in values], pa.string())
        low, high = self._texts(digits)
        return np.where(whole, numbers, low), np.where(whole, numbers, high)

    def _texts(self, array: pa.Array) -> tuple[Bits, Bits]:
        empty = pa.scalar(b"" if pt.is_binary(array.type) else "", array.type)
        values = (array.fill_null(empty) if array.null_count else array).to_numpy(zero_copy_only=False)
        low, high = (pd.util.hash_array(values, hash_key=key, categorize=False) for key in self._text_keys)
        return low, high


def _twice(bits: Bits) -> tuple[Bits, Bits]:
    return bits, bits


def _integers(array: pa.Array) -> Bits:
    filled = array.fill_null(0) if array.null_count else array
    if filled.type == pa.uint64():
        bits: Bits = filled.to_numpy(zero_copy_only=False)
        # Those that a signed one has no room for, apart from the negative ones.
        return np.where(bits >> np.uint64(63), _mixed(bits), bits)
    return filled.to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)


def _floats(array: pa.Array) -> Bits:
    filled = array.cast(pa.float64()).fill_null(0.0)
    values: npt.NDArray[np.float64] = filled.to_numpy(zero_copy_only=False)
    whole = (np.abs(values) < _WHOLE_BELOW) & (np.floor(values) == values)
    numbers = np.where(whole, values, 0.0).astype(np.int64).view(np.uint64)
    rest = np.where(np.isnan(values), np.nan, values).view(np.uint64)
    return np.where(whole, numbers, _mixed(rest))


def _mixed(bits: Bits) -> Bits:
    """splitmix64's finish: each bit of a value changes half of the result's."""
    bits = (bits ^ (bits >> np.uint64(30))) * _ODD[0]
    bits = (bits ^ (bits >> np.uint64(27))) * _ODD[1]
    return bits ^ (bits >> np.uint64(31))

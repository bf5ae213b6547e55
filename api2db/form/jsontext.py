"""Nested values as JSON text: compact, keys as given, always valid JSON, every digit of an integer kept."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from api2db.form.plain import plain
from api2db.form.tally import MISFITS, Tally
from api2db.form.text import clean

_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode

_NON_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""How a NaN or an infinity starts in msgpack, where, unlike in JSON, it can be told from a null."""


def json_array(values: Sequence[object], tally: Tally) -> pa.Array:
    """A string column of JSON documents; None stays null, a value that can't be encoded becomes null and is counted."""
    documents: list[bytes | None] = []
    for value in values:
        try:
            documents.append(None if value is None else json_bytes(value, tally))
        except MISFITS:
            tally.nulled += 1
            documents.append(None)
    return pa.array(documents, pa.string())


def json_bytes(value: object, tally: Tally) -> bytes:
    """One value as UTF-8 JSON.

    NaN and infinities become ``null``, objects of unknown types too (counted as nulled). Dates and times become
    ISO-8601 strings, Decimals and UUIDs strings, bytes base64, keys text; lone surrogates U+FFFD (counted as
    replaced). Raises RecursionError for a value nested deeper than Python's stack.
    """
    try:
        encoded = _encode(value)
    except (TypeError, ValueError, OverflowError):
        return _encode(_encodable(value, tally))
    if b"null" in encoded:
        tally.nulled += _non_finite(value)
    return encoded


def text_of(value: object, tally: Tally) -> str:
    """A value among texts: strings as they are, anything else as its JSON without the quotes around it."""
    if isinstance(value, str):
        return clean(value, tally)
    if isinstance(value, float) and math.isinf(value):
        # JSON would say null, and lose it.
        return "Infinity" if value > 0 else "-Infinity"
    encoded = json_bytes(value, tally).decode()
    return msgspec.json.decode(encoded, type=str) if encoded.startswith('"') else encoded


def _encodable(value: object, tally: Tally) -> object:
    """The value with everything the encoder refuses replaced."""
    value = plain(value, tally)
    if isinstance(value, str):
        return clean(value, tally)
    if isinstance(value, float) and math.isinf(value):
        tally.nulled += 1
        return None
    if isinstance(value, Decimal) and value.is_infinite():
        tally.nulled += 1
        return None
    if isinstance(value, dict):
        return {_key(key, tally): _encodable(item, tally) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item, tally) for item in value]
    return value


def _key(key: object, tally: Tally) -> str:
    if isinstance(key, tuple):
        return "_".join(_key(part, tally) for part in key)
    return text_of(plain(key, tally), tally)


def _non_finite(value: object) -> int:
    """How many floats in the value JSON can't say. Packing it finds out whether any, far sooner than a look at each."""
    try:
        if _NON_FINITE.search(_pack(value)) is None:
            return 0
    except (TypeError, ValueError, OverflowError):
        # An integer beyond 64 bits, say.
        pass
    return _count_non_finite(value)


def _count_non_finite(value: object) -> int:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return sum(map(_count_non_finite, value.values()))
    if isinstance(value, (Sequence, Set, np.ndarray)) and not isinstance(value, (str, bytes)):
        return sum(map(_count_non_finite, value))
    return 0

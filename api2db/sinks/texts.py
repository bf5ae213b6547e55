"""Values as text, the same text in every sink."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api2db.schema import Kind


def as_text(values: pa.Array, kind: Kind) -> pa.Array:
    """The text of a value, the same in every sink; of bytes their hexadecimal digits."""
    if kind in (Kind.TEXT, Kind.JSON):
        return values
    if kind is Kind.NULL:
        return pa.nulls(len(values), pa.string())
    if kind is Kind.INSTANT:
        naive = values.cast(pa.timestamp("us")).cast(pa.string())
        return pc.binary_join_element_wise(naive, "+00:00", "")
    if kind is Kind.DURATION:
        return pc.binary_join_element_wise(values.cast(pa.int64()).cast(pa.string()), "microseconds", " ")
    if kind is Kind.BINARY:
        return pa.array([None if v is None else "\\x" + v.hex() for v in values.to_pylist()], pa.string())
    text = values.cast(pa.string())
    if kind is Kind.DECIMAL and pc.any(pc.match_substring(text, "E")).as_py():
        return pa.array([None if v is None else format(v, "f") for v in values.to_pylist()], pa.string())
    return text


def array_literal(document: str) -> str | None:
    """A JSON list as PostgreSQL writes an array, every digit kept; None for JSON that isn't a list."""
    if not document.lstrip().startswith("["):
        return None
    return "{" + ",".join(map(_element, msgspec.json.decode(document, type=list[msgspec.Raw]))) + "}"


def _element(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    if text.startswith("["):
        return array_literal(text) or ""
    if text == "null":
        return "NULL"
    if text.startswith(('"', "{")):
        text = msgspec.json.decode(text) if text.startswith('"') else text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def has_bytes(values: pa.Array, needle: bytes) -> bool:
    """Whether ``needle`` occurs anywhere in a string or binary array; at memory speed, no copies."""
    _, offsets, data = values.buffers()
    if data is None or len(values) == 0:
        return False
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    return re.search(re.escape(needle), memoryview(data)[ends[0] : ends[-1]]) is not None

"""Frames as Python pickles: everything survives. Reading one runs what it says, so only read your own."""

from __future__ import annotations

import io

import pandas as pd

from api2db.errors import StoreError
from api2db.formats.dtypes import Dtypes, cast_frame


def encode(df: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    try:
        df.to_pickle(out)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return out.getvalue()


def decode(data: bytes, dtypes: Dtypes | None) -> pd.DataFrame:
    try:
        df = pd.read_pickle(io.BytesIO(data))
    except Exception as error:
        raise StoreError(f"not a readable pickle file: {type(error).__name__}: {error}") from error
    if not isinstance(df, pd.DataFrame):
        raise StoreError(f"not a pickled DataFrame but a {type(df).__name__}")
    return cast_frame(df, dtypes)

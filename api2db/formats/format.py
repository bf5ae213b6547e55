"""One file format: what all of them share, and the errors they raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from api2db.errors import ShapeError, StoreError
from api2db.form.text import scrub
from api2db.formats.dtypes import Dtypes
from api2db.formats.parquet import frame_of

_REFUSALS = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, AttributeError, pa.ArrowException)
"""What pandas and pyarrow raise for a frame, or for bytes, that they can't handle."""


@dataclass(frozen=True)
class Format:
    """name          as users write it
    encoder       a frame with text names, each once, and a fresh index -> the file's bytes
    decoder       the bytes, and dtypes where they are known -> the frame
    only_columns  False where a frame is written as it is, index and names included
    says_dtypes   False where a file doesn't say each column's dtype by itself
    of_table      a batch's table -> the file's bytes, where no frame has to be made of it
    """

    name: str
    encoder: Callable[[pd.DataFrame], bytes]
    decoder: Callable[[bytes, Dtypes | None], pd.DataFrame]
    only_columns: bool = True
    says_dtypes: bool = True
    of_table: Callable[[pa.Table], bytes | memoryview] | None = None

    @property
    def suffix(self) -> str:
        return f".{self.name}"

    def encode(self, df: pd.DataFrame) -> bytes:
        """The frame as a whole file. Raises ShapeError for one the format can't hold."""
        if not isinstance(df, pd.DataFrame):
            raise ShapeError(f"a file of format {self.name} holds a DataFrame, not {type(df).__name__}")
        try:
            return self.encoder(with_plain_columns(df) if self.only_columns else df)
        except _REFUSALS as error:
            raise ShapeError(f"format {self.name} can't hold this frame: {error}") from error

    def encode_table(self, table: pa.Table) -> bytes | memoryview:
        """A batch's table as a whole file, which decodes to ``frame_of(table)``. Raises ShapeError as ``encode``."""
        try:
            return self.encode(frame_of(table)) if self.of_table is None else self.of_table(table)
        except _REFUSALS as error:
            raise ShapeError(f"format {self.name} can't hold this table: {error}") from error

    def decode(self, data: bytes, dtypes: Dtypes | None = None) -> pd.DataFrame:
        """The frame of a file's bytes, its columns cast to ``dtypes`` (those of columns it doesn't have are ignored).

        Raises StoreError if the bytes aren't a file of this format, or values don't fit their dtype.
        """
        try:
            return self.decoder(data, dtypes)
        except _REFUSALS as error:
            raise StoreError(f"not a readable {self.name} file: {error}") from error


def with_plain_columns(df: pd.DataFrame) -> pd.DataFrame:
    """The frame with a fresh index, a named index before it as columns, and its names as text, each once."""
    df = df.reset_index(drop=all(name is None for name in df.index.names))
    names = [scrub(name if isinstance(name, str) else str(name)) for name in df.columns]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ShapeError(f"several columns named {', '.join(map(repr, twice))}: rename them")
    df.columns = pd.Index(names, dtype=object)
    return df

"""The file formats: parquet, json, pickle and csv, by name. A frame in, bytes out, and back.

``FORMATS[fmt]`` raises ConfigError for a name that isn't one of them. What each format keeps of a frame, and what it
changes by rule, is one table in docs/files.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NoReturn

from api2db.errors import ConfigError
from api2db.formats import comma, parquet, pickled, records
from api2db.formats.dtypes import Dtypes, dtypes_of, load_dtypes, store_dtypes
from api2db.formats.format import Format

__all__ = ["FORMATS", "Dtypes", "Format", "dtypes_of", "load_dtypes", "store_dtypes"]


class _ByName(dict[str, Format]):
    def __missing__(self, fmt: object) -> NoReturn:
        raise ConfigError(f"fmt={fmt!r}: the formats are {', '.join(self)}")


FORMATS: Final = MappingProxyType(
    _ByName(
        {
            each.name: each
            for each in (
                Format("parquet", parquet.encode, parquet.decode),
                Format("json", records.encode, records.decode),
                Format("pickle", pickled.encode, pickled.decode, only_columns=False),
                Format("csv", comma.encode, comma.decode),
            )
        }
    )
)

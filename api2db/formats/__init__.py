"""The file formats: parquet, json, pickle, csv, feather and ORC, by name. A frame in, bytes out, and back.

``FORMATS[fmt]`` raises ConfigError for a name that isn't one of them. What each format keeps of a frame, and what it
changes by rule, is one table in docs/files.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NoReturn

from api2db.errors import ConfigError
from api2db.formats import arrow, comma, orc, parquet, pickled, records
from api2db.formats.dtypes import Dtypes, dtypes_of, load_dtypes, store_dtypes
from api2db.formats.format import Format
from api2db.formats.parquet import frame_of
from api2db.place import FORMATS as NAMES

__all__ = ["FORMATS", "Dtypes", "Format", "dtypes_of", "frame_of", "load_dtypes", "store_dtypes"]


class _ByName(dict[str, Format]):
    def __missing__(self, fmt: object) -> NoReturn:
        raise ConfigError(f"fmt={fmt!r}: the formats are {', '.join(self)}")


FORMATS: Final = MappingProxyType(
    _ByName(
        {
            each.name: each
            for each in (
                Format(NAMES[0], parquet.encode, parquet.decode, of_table=parquet.encode_table),
                Format(NAMES[1], records.encode, records.decode, says_dtypes=False),
                Format(NAMES[2], pickled.encode, pickled.decode, only_columns=False),
                Format(NAMES[3], comma.encode, comma.decode, says_dtypes=False),
                Format(NAMES[4], arrow.encode, arrow.decode, of_table=arrow.encode_table),
                Format(NAMES[5], orc.encode, orc.decode, says_dtypes=False),
            )
        }
    )
)

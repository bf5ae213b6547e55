"""The base of all streams: whose data it is, where it goes, and in which format."""

from __future__ import annotations

from api2db.errors import ConfigError

FORMATS = ("parquet", "json", "pickle", "csv")


class FileConverter:
    """name    the collector's name
    dtypes  column -> pandas dtype of the data, or None while unknown
    path    a file or a folder; which one, the subclass says
    fmt     "parquet", "json", "pickle" or "csv"; None where no file is written
    """

    def __init__(
        self,
        name: str | None = None,
        dtypes: dict[str, object] | None = None,
        path: str | None = None,
        fmt: str | None = None,
    ) -> None:
        if fmt is not None and fmt not in FORMATS:
            raise ConfigError(f"fmt={fmt!r}: the formats are {', '.join(FORMATS)}")
        self.name = name
        self.dtypes = dtypes
        self.path = path
        self.fmt = fmt

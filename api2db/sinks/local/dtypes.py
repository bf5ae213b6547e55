"""The dtypes of a collector's data, kept in a file for those who read csv and json back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from api2db.errors import FatalError, StoreError
from api2db.files import make_dir
from api2db.formats import Dtypes, dtypes_of, frame_of, load_dtypes, store_dtypes
from api2db.formats.stack import common_dtype
from api2db.sinks.local.publish import locked


class KeptDtypes:
    """``CACHE/<name>_dtypes.json``: a dtype for each column that ever had one, wide enough for all batches so far.

    Several streams of a collector, in one process or several, may keep the same file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, object] = {}
        self._schema: pa.Schema | None = None

    @property
    def known(self) -> Dtypes:
        """What the file says. Raises OSError, FatalError if it isn't a file of dtypes."""
        if not self._known:
            self._known = self._read()
        return self._known

    def widen(self, schemas: Iterable[pa.Schema]) -> None:
        """Make the file cover batches of these schemas, before anything of them is published.

        Written only if that changes it. Raises as ``known``.
        """
        for schema in schemas:
            if schema != self._schema or not self._path.exists():
                self._take(_dtypes(schema))
                self._schema = schema

    def _take(self, dtypes: Dtypes) -> None:
        self._known = _met(self._known, dtypes)
        make_dir(self._path.parent)
        with locked(self._path.parent):
            there = self._read()
            self._known = _met(there, self._known)
            if self._known != there:
                store_dtypes(self._path, self._known)

    def _read(self) -> dict[str, object]:
        try:
            return load_dtypes(self._path)
        except FileNotFoundError:
            return {}
        except StoreError as error:
            raise FatalError(str(error)) from error


def _dtypes(schema: pa.Schema) -> Dtypes:
    """Of a column that has only been null nothing is known yet."""
    typed = pa.schema([field for field in schema if not pa.types.is_null(field.type)])
    return dtypes_of(frame_of(typed.empty_table()))


def _met(known: Dtypes, new: Dtypes) -> dict[str, object]:
    met = dict(known)
    for name, dtype in new.items():
        met[name] = common_dtype(met[name], dtype) if name in met else dtype
    return met

"""The base of all streams: whose data it is, where it goes, in which format; and frames in files, for scripts too."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from api2db.errors import Api2dbError
from api2db.files import make_dir, write_atomic
from api2db.formats import FORMATS, Dtypes, load_dtypes
from api2db.stream.compose import composing

log = logging.getLogger(__name__)

CACHE = Path("CACHE")
"""In the folder a program runs in, as documented."""

_FAILURES = (OSError, ValueError, TypeError, Api2dbError)
"""A ValueError is what Python says to a path with a NUL in it, a TypeError to one that is None."""


class FileConverter:
    """name    the collector's name
    dtypes  column -> pandas dtype of the data; None: those kept for the collector, if any are
    path    a file or a folder; which one, the subclass says
    fmt     "parquet", "json", "pickle", "csv", "feather" or "orc"; None where no file is written

    Raises ConfigError (a ValueError) for another fmt. The static functions raise nothing that a file or a folder
    may be the cause of: they answer False or None, and log the reason as an error.
    """

    def __init__(
        self,
        name: str | None = None,
        dtypes: Mapping[str, object] | None = None,
        path: str | None = None,
        fmt: str | None = None,
    ) -> None:
        if fmt is not None:
            _ = FORMATS[fmt]
        self.name = name
        self.dtypes: Mapping[str, object] | None = dtypes
        self.path = path
        self.fmt = fmt
        self.dtypes = self.build_dtypes()

    def build_dtypes(self) -> Mapping[str, object] | None:
        """The dtypes given; else those in ``CACHE/<name>_dtypes.json``; else None."""
        if self.dtypes is not None or self.name is None:
            return self.dtypes
        try:
            return load_dtypes(dtypes_path(self.name))
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            log.error("dtypes not read name=%s cause=%s", self.name, error)
            return None

    @staticmethod
    def static_compose_df_from_dir(
        path: str,
        fmt: str,
        move_shards_path: str | None = None,
        move_composed_path: str | None = None,
        force: bool = True,
        *,
        dtypes: Dtypes | None = None,
    ) -> pd.DataFrame | None:
        """All files of a folder as one frame; then they are moved, or deleted. None if there are none.

        path                the folder; files are taken in order of their names, numbers by number
        fmt                 their format, and their suffix
        move_shards_path    where the files go; without it they are deleted
        move_composed_path  where a file of all rows goes, named ``<first>_<last>.<fmt>``
        force               create those two where they don't exist; else None is returned
        dtypes              of the columns, for formats that don't keep them

        A file that can't be read stays where it is. With neither of the two paths, the frame that is returned is all
        there is of the data.
        """
        shards_to = None if move_shards_path is None else Path(move_shards_path)
        composed_to = None if move_composed_path is None else Path(move_composed_path)
        try:
            for folder in (shards_to, composed_to):
                if folder is not None:
                    _need_folder(folder, force)
            with composing(Path(path), FORMATS[fmt], dtypes) as composition:
                if composition is None:
                    log.debug("nothing to compose path=%s fmt=%s", path, fmt)
                    return None
                composition.settle(shards_to, composed_to)
                return composition.frame
        except _FAILURES as error:
            log.error("not composed path=%s cause=%s", path, error)
            return None

    @staticmethod
    def static_store_df(df: pd.DataFrame, path: str, fmt: str) -> bool:
        """Store a frame in a file, its folders created. True if it is on disk, whole, under its name."""
        return _store(path, df, fmt, force=True)

    @staticmethod
    def pickle_store(path: str, df: pd.DataFrame, force: bool = True) -> bool:
        return _store(path, df, "pickle", force=force)

    @staticmethod
    def json_store(path: str, df: pd.DataFrame, force: bool = True) -> bool:
        return _store(path, df, "json", force=force)

    @staticmethod
    def csv_store(path: str, df: pd.DataFrame, force: bool = True) -> bool:
        return _store(path, df, "csv", force=force)

    @staticmethod
    def parquet_store(path: str, df: pd.DataFrame, force: bool = True) -> bool:
        return _store(path, df, "parquet", force=force)

    @staticmethod
    def feather_store(path: str, df: pd.DataFrame, force: bool = True) -> bool:
        return _store(path, df, "feather", force=force)

    @staticmethod
    def orc_store(path: str, df: pd.DataFrame, force: bool = True) -> bool:
        return _store(path, df, "orc", force=force)

    @staticmethod
    def store_valid(path: str, force: bool) -> bool:
        """Is there a folder for this file? With ``force`` it is created."""
        try:
            _need_folder(Path(os.path.dirname(path)), force)
        except _FAILURES as error:
            log.error("no folder to store in path=%s cause=%s", path, error)
            return False
        return True

    @staticmethod
    def static_load_df(path: str, fmt: str, dtypes: Dtypes | None = None) -> pd.DataFrame | None:
        """The frame in a file, cast to ``dtypes``; None if it can't be read or a value doesn't fit."""
        try:
            return FORMATS[fmt].decode(Path(path).read_bytes(), dtypes)
        except _FAILURES as error:
            log.error("not loaded path=%s cause=%s", path, error)
            return None

    @staticmethod
    def pickle_load(path: str) -> pd.DataFrame | None:
        """Only of files you trust: a pickle is a program."""
        return FileConverter.static_load_df(path, "pickle")

    @staticmethod
    def json_load(path: str) -> pd.DataFrame | None:
        return FileConverter.static_load_df(path, "json")

    @staticmethod
    def csv_load(path: str) -> pd.DataFrame | None:
        return FileConverter.static_load_df(path, "csv")

    @staticmethod
    def parquet_load(path: str) -> pd.DataFrame | None:
        return FileConverter.static_load_df(path, "parquet")

    @staticmethod
    def feather_load(path: str) -> pd.DataFrame | None:
        return FileConverter.static_load_df(path, "feather")

    @staticmethod
    def orc_load(path: str) -> pd.DataFrame | None:
        return FileConverter.static_load_df(path, "orc")


def dtypes_path(name: str) -> Path:
    """Where a collector's dtypes are kept."""
    return CACHE / f"{name}_dtypes.json"


def _store(path: str, df: pd.DataFrame, fmt: str, *, force: bool) -> bool:
    if not FileConverter.store_valid(path, force):
        return False
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(f"{path} is a folder")
        write_atomic(Path(path), FORMATS[fmt].encode(df))
    except _FAILURES as error:
        log.error("not stored path=%s cause=%s", path, error)
        return False
    return True


def _need_folder(folder: Path, force: bool) -> None:
    """Raises NotADirectoryError or FileNotFoundError if it isn't there and may not, or can't, be made."""
    if force:
        make_dir(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} isn't a folder")

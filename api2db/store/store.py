"""What all stores have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from api2db.durations import seconds as duration_s
from api2db.errors import ConfigError
from api2db.files import make_dir
from api2db.stream.file_converter import FileConverter
from api2db.stream.stream import Stream


class Store(FileConverter):
    """Composes the files of a folder every ``seconds`` and loads what they hold; subclassed for each kind of place.

    A daemon runs it: see docs/stores.md. Constructing one makes the two folders files are moved to, and nothing else.

    name                    the collector's name
    seconds                 the period, a number or a duration ("1h"); 0: it isn't run by schedule
    path                    the folder that is composed; ``STORE/<name>/<fmt>/``, where ``Stream2Local`` puts its files,
                            if None
    fmt                     "parquet", "json", "pickle", "csv", "feather" or "orc": the format of the files
    drop_duplicate_exclude  columns in which two rows may differ and are duplicates all the same; None: in none
    move_shards_path        where the files go once they are loaded; without it they are deleted
    move_composed_path      where a file of all their rows goes, named ``<first>_<last>.<fmt>``
    chunk_size              rows sent to the place at a time; 0 leaves it to the stream

    stream     the stream it loads through; None for a plain Store
    stream_type  that stream's, such as ``sql.mysql``
    store_str  what logs say of the place: no password in it

    Relative paths are against the project's folder. Raises ConfigError (a ValueError).
    """

    def __init__(
        self,
        name: str,
        seconds: float | str,
        path: str | None = None,
        fmt: str = "parquet",
        drop_duplicate_exclude: Sequence[str] | None = None,
        move_shards_path: str | None = None,
        move_composed_path: str | None = None,
        chunk_size: int = 0,
    ) -> None:
        super().__init__(name, path=path, fmt=fmt)
        if fmt is None:
            raise ConfigError(f"store {name}: fmt=None: of which format are the files?")
        if isinstance(drop_duplicate_exclude, str):
            raise ConfigError(
                f"store {name}: drop_duplicate_exclude={drop_duplicate_exclude!r}: give a list of columns"
            )
        for option, given in (
            ("path", path),
            ("move_shards_path", move_shards_path),
            ("move_composed_path", move_composed_path),
        ):
            if given is not None and not (isinstance(given, (str, os.PathLike)) and str(given)):
                raise ConfigError(f"store {name}: {option}={given!r}: give a folder, as text")
        for option, given in (("move_shards_path", move_shards_path), ("move_composed_path", move_composed_path)):
            if path is not None and given is not None and os.path.realpath(path) == os.path.realpath(given):
                raise ConfigError(f"store {name}: {option} is the folder that it composes: give another")
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 0:
            raise ConfigError(f"store {name}: chunk_size={chunk_size!r} is a number of rows: 0 leaves it to the stream")
        self.seconds = duration_s(seconds)
        self.drop_duplicate_exclude = None if drop_duplicate_exclude is None else list(drop_duplicate_exclude)
        self.move_shards_path = move_shards_path
        self.move_composed_path = move_composed_path
        self.chunk_size = chunk_size
        self.if_exists = "append"
        self.is_store_instance = True
        self.stream: Stream | None = None
        self.store_str: str | None = None
        self.build_dependencies()

    def build_dependencies(self) -> None:
        """Make the folders that files are moved to."""
        for path in (self.move_shards_path, self.move_composed_path):
            if path is not None:
                make_dir(Path(os.path.abspath(path)))

    @property
    def stream_type(self) -> str:
        """That of the stream it loads through, such as ``sql.mysql``; ``store`` for a plain Store."""
        return "store" if self.stream is None else self.stream.stream_type

    @property
    def replaces(self) -> bool:
        """Whether what one run brings takes the place of all rows."""
        return self.if_exists == "replace"

    def target(self) -> Stream:
        """The stream it loads through. Raises ConfigError for a plain Store."""
        if self.stream is None:
            raise ConfigError(f"store {self.name}: a plain Store has no place to load into: use Store2Sql or another")
        return self.stream

    def start(self) -> None:
        """A store is run by the daemon."""
        raise AttributeError(
            f"a store has no start: put store {self.name} in the list that a collector's stores return"
        )

    def stream_start(self) -> None:
        """A store is run by the daemon."""
        raise AttributeError(
            f"a store has no stream_start: put store {self.name} in the list that a collector's stores return"
        )

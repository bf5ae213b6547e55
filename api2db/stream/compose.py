"""Composing for scripts: the files of a folder as one frame. ``composing.folder`` says what becomes of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from api2db.composing.folder import Shard, files_in, finish, locked, name_of, settle
from api2db.errors import StoreError
from api2db.files import write_durable
from api2db.formats import Dtypes, Format
from api2db.formats.stack import stack

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Composition:
    """frame   the rows of all files that could be read, in order of the files' names
    shards  those files
    left    files that couldn't be read; they stay where they are
    """

    folder: Path
    format: Format
    frame: pd.DataFrame
    shards: tuple[Shard, ...]
    left: tuple[Path, ...]

    @property
    def name(self) -> str:
        """``<first>_<last>.<fmt>``"""
        return name_of(self.shards, self.format.suffix)

    def settle(self, shards_to: Path | None = None, composed_to: Path | None = None) -> None:
        """Store the frame in ``composed_to``, if given; move the files to ``shards_to``, or delete them.

        As ``composing.folder.settle``. Raises ShapeError, too, for a frame the format can't hold.
        """
        settle(
            self.folder,
            self.shards,
            shards_to,
            composed_to,
            name=self.name,
            write=lambda path: write_durable(path, self.format.encode(self.frame)),
            done=lambda folder: finish(folder),
        )


@contextmanager
def composing(folder: Path, fmt: Format, dtypes: Dtypes | None = None) -> Iterator[Composition | None]:
    """The folder's files as one frame, None if there are none, its lock held; ``settle`` it inside.

    What an earlier, killed compose left to do is done first. Files being written, hidden ones and those of other
    formats are no files of the folder. Raises OSError, and StoreError while another compose is at work in it.
    """
    with locked(folder):
        finish(folder)
        yield _read(folder, fmt, dtypes)


def _read(folder: Path, fmt: Format, dtypes: Dtypes | None) -> Composition | None:
    shards: list[Shard] = []
    left: list[Path] = []

    def frames() -> Iterator[pd.DataFrame]:
        for path in files_in(folder, fmt.suffix):
            try:
                with open(path, "rb") as file:
                    about = os.fstat(file.fileno())
                    data = file.read()
                frame = fmt.decode(data, dtypes)
            except FileNotFoundError:
                continue
            except (OSError, StoreError) as error:
                log.error("file not composed, left where it is file=%s cause=%s", path, error)
                left.append(path)
                continue
            shards.append(Shard(path.name, about.st_size, about.st_mtime_ns))
            yield frame

    frame = stack(frames())
    return Composition(folder, fmt, frame, tuple(shards), tuple(left)) if shards else None

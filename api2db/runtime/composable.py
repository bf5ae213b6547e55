"""What a store is to the daemon: whose files it composes, where they go, through which stream they are loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from api2db.composing.folder import is_same
from api2db.errors import ConfigError
from api2db.layout import Layout
from api2db.sinks.base import Target


class Composable(Protocol):
    """What a collector's list of stores holds. Paths are against the project's folder; ``None``: there is none.

    path                    the folder whose files are composed; STORE/<name>/<fmt> if None
    drop_duplicate_exclude  columns in which duplicates may differ
    """

    name: str | None
    seconds: float
    path: str | None
    fmt: str | None
    drop_duplicate_exclude: Sequence[str] | None
    move_shards_path: str | None
    move_composed_path: str | None

    @property
    def replaces(self) -> bool:
        """Whether what one run brings takes the place of all rows."""

    def target(self) -> Target:
        """The stream it loads through."""


@dataclass(frozen=True)
class Folders:
    """Where a store's files come from and go to, absolute."""

    source: Path
    shards_to: Path | None
    composed_to: Path | None

    @classmethod
    def of(cls, store: Composable, layout: Layout, project: Path) -> Folders:
        """Raises ConfigError where files would be composed again and again."""
        assert store.name is not None
        assert store.fmt is not None
        source = layout.shards(store.name, store.fmt) if store.path is None else _under(project, store.path)
        shards_to, composed_to = (
            None if path is None else _under(project, path)
            for path in (store.move_shards_path, store.move_composed_path)
        )
        for word, path in (("move_shards_path", shards_to), ("move_composed_path", composed_to)):
            if path is not None and (path == source or is_same(path, source)):
                raise ConfigError(f"store {store.name}: {word} is the folder that it composes, {source}: use another")
        return cls(source, shards_to, composed_to)


def _under(project: Path, path: str) -> Path:
    return Path(os.path.abspath(project / path))

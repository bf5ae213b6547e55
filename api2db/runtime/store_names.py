"""Which name is which store's: it stays with its folder and its place, whatever the order of a list is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from api2db.errors import ConfigError, StoreError
from api2db.files import make_dir, write_atomic
from api2db.layout import Layout
from api2db.sinks.base import Target


class Names:
    """Which name is which store's, kept in STORE/state/stores/<collector>.json once one of them has begun."""

    def __init__(self, layout: Layout, collector: str) -> None:
        self._layout = layout
        self._collector = collector
        self._path = layout.states / "stores" / f"{collector}.json"
        self._given: dict[str, str] = {}

    def give(self, stores: Sequence[tuple[str, str]]) -> list[str]:
        """The name of each of (stream type, identity), in order: the one it had, whatever the order is now.

        Raises ConfigError for two of one identity, StoreError if the memory can't be read.
        """
        known = self._known()
        wanted = {identity for _, identity in stores}
        if len(wanted) < len(stores):
            raise ConfigError(f"collector {self._collector}: two stores compose the same folder into the same place")
        taken = {name: identity for name, identity in known.items() if identity in wanted or self._in_use(name)}
        names = []
        for stream_type, identity in stores:
            name = next((name for name, whose in taken.items() if whose == identity), None)
            if name is None:
                name = f"{self._collector}.store.{stream_type}"
                if name in taken:
                    name = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
                taken[name] = identity
            names.append(name)
        self._given = {**known, **taken}
        return names

    def remember(self) -> None:
        """Raises OSError."""
        if self._given != self._known():
            make_dir(self._path.parent)
            write_atomic(self._path, json.dumps(self._given, indent=1).encode())

    def _known(self) -> Mapping[str, str]:
        try:
            return dict(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self._path} can't be read: {error}; remove it once no store is in the midst") from error

    def _in_use(self, name: str) -> bool:
        """Is there anything under way of whoever had this name?"""
        if manifest_path(self._layout, name).exists():
            return True
        roots = (self._layout.queues, self._layout.root / "upload_failed")
        return any(any((root / name).glob("*/*.parquet")) for root in roots)


def identity(source: Path, target: Target, layout: Layout, project: Path) -> str:
    """What a store is told by: its folder and its place. The same wherever the project's own folder is moved."""
    return f"{source} > {target.target(project, layout.root)}".replace(os.path.join(project, ""), "")


def manifest_path(layout: Layout, store: str) -> Path:
    return layout.states / "stores" / f"{store}.manifest"

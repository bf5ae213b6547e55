"""Stores: a store is a collector whose source is a folder.

It polls the folder at its period; what it finds is composed, accepted batch by batch, and delivered by an ordinary
stream. Which files are composed is frozen in a manifest first; how far they are accepted is the store's cursor, which
moves by the same rename as the rows. So a file's rows are accepted once, whatever is killed; and it is moved or deleted
only after that.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from api2db.collector import Collector
from api2db.composing.composed import write_composed
from api2db.composing.folder import Shard, finish, locked, move, name_of, remove, settle
from api2db.composing.manifest import Manifest, Position
from api2db.composing.rows import Composer
from api2db.composing.seen import Seen
from api2db.errors import SourceError, StoreError, StoreFullError
from api2db.failpoint import reach
from api2db.files import make_dir, write_atomic
from api2db.formats import FORMATS, Dtypes, load_dtypes
from api2db.layout import FILES, Layout
from api2db.runtime.composable import Composable, Folders
from api2db.runtime.store_names import Names, identity, manifest_path
from api2db.sources.page import Page
from api2db.usage import Usage

log = logging.getLogger(__name__)

STUCK_AFTER_S: Final = 3600.0
"""A file that isn't read or moved within this time hangs: its disk does."""

_NAMED: Final = 3  # of the files that can't be read, so many are named in the cause


class StoreCollector(Collector):
    """A store as the daemon runs it: a collector named after the one it belongs to, its type, and its place.

    ``weather.store.sql.postgresql``; a ``-`` and a hash of the folder and the place behind it where another store of
    the collector has that name.
    """

    def __init__(self, owner: Collector, at: int, store: Composable, name: str, folders: Folders, names: Names) -> None:
        super().__init__(
            name,
            store.seconds,
            _never,
            None,
            lambda: [_now(owner, at, store).target()],
            debug=owner.debug,
            timeout=STUCK_AFTER_S,
            keep=owner.keep_s,
        )
        self.store = store
        self.folders = folders
        self.names = names

    def source(self, layout: Layout, project: Path, usage: Usage, *, durable: bool) -> FolderSource:
        return FolderSource(self, layout, project, usage, durable)


def _never() -> None:
    raise SourceError("a store's source is its folder")


def _now(owner: Collector, at: int, store: Composable) -> Composable:
    """The store as its collector makes it now: with the credentials of now."""
    stores = list(owner.stores() or ())
    return stores[at] if at < len(stores) else store


class FolderSource:
    """The files of a folder as the items of a poll: a ``Source``."""

    def __init__(self, of: StoreCollector, layout: Layout, project: Path, usage: Usage, durable: bool) -> None:
        assert of.store.fmt is not None
        self._name = of.name
        self._store = of.store
        self._folders = of.folders
        self._names = of.names
        self._layout = layout
        self._usage = usage
        self._durable = durable
        self._format = FORMATS[of.store.fmt]
        self._dtypes_path = project / "CACHE" / f"{of.store.name}_dtypes.json"
        self._begun: Callable[[], None] = lambda: None
        self._accepted: tuple[Manifest, Position] | None = None  # all of a manifest, by the poll under way
        self._trouble: list[str] = []

    def limit_s(self, timeout_s: float) -> float:
        return timeout_s

    def kill(self, cause: str) -> bool:
        return False

    def poll(self, since: object, begun: Callable[[], None]) -> object:
        """Pages of what the folder holds. Raises StoreError, StoreFullError, SourceError."""
        begun()
        self._begun = begun
        self._accepted = None
        self._trouble = []
        return self._pages(since)

    def ended(self) -> None:
        """All pages are accepted: the files go. Raises SourceError if there were some that can't be read."""
        if self._accepted is not None:
            manifest, at = self._accepted
            with _disk_errors(self._name), locked(self._folders.source):
                finish(self._folders.source)
                self._settle(manifest.shards(without=at.left))
                self._manifest_path.unlink(missing_ok=True)
        if self._trouble:
            more = len(self._trouble) - _NAMED
            told = "; ".join(self._trouble[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
            raise SourceError(f"store {self._name}: the other files are loaded, but: {told}")

    def _pages(self, since: object) -> Iterator[Page]:
        with _disk_errors(self._name):
            folder = self._folders.source
            make_dir(folder)
            with locked(folder):
                finish(folder)
                manifest = self._manifest()
                if manifest is None:
                    return
                # What replaces does so whole: what an earlier, unfinished run accepted of it is superseded.
                at = Position() if self._store.replaces else Position.of(since, manifest.id)
                seen = Seen(self._manifest_path.parent, self._store.drop_duplicate_exclude or ())
                try:
                    composer = Composer(
                        folder, manifest, self._format, self._dtypes(), seen, self._set_aside, self._left, self._begun
                    )
                    for composed in composer.batches(at):
                        at = composed.position
                        yield Page(composed.shaped, at.cursor(manifest.id))
                finally:
                    seen.close()
                self._accepted = manifest, at

    def _manifest(self) -> Manifest | None:
        """The one an earlier run didn't finish, or a new one of what is there now."""
        found = Manifest.read(self._manifest_path)
        if found is not None:
            if found.fmt != self._format.name:
                raise StoreError(
                    f"{self._manifest_path} is about {found.fmt} files, which were being loaded: have the store compose"
                    " those once more, or remove it once you know which of them are in"
                )
            return found
        fresh = Manifest.freeze(self._folders.source, self._format.name)
        if fresh is not None:
            self._names.remember()
            fresh.write(self._manifest_path, flush=self._durable)
            reach("composing.frozen")
        return fresh

    def _settle(self, shards: Iterable[Shard]) -> None:
        source = self._folders.source
        if not self._store.replaces and self._folders.shards_to is None and self._folders.composed_to is None:
            # The cursor says that all are accepted: killed amidst it, the next run removes the others.
            remove(source, shards)
            return
        there = [shard for shard in shards if shard.is_at(source / shard.name)]
        if not there:
            return
        for folder in (self._folders.shards_to, self._folders.composed_to):
            if folder is not None:
                make_dir(folder)
        settle(
            source,
            there,
            self._folders.shards_to,
            self._folders.composed_to,
            name=name_of(there, self._format.suffix),
            write=lambda path: write_composed(path, source, there, self._format, self._dtypes(), self._begun),
        )

    def _set_aside(self, path: Path, reason: str) -> bool:
        """Move a file that can't be read away from the others, the reason beside it."""
        folder = self._layout.quarantine(self._name, FILES)
        try:
            make_dir(folder, flush=self._durable)
            size = path.stat().st_size
            told = json.dumps({"file": os.fspath(path), "reason": reason}).encode() + b"\n"
            write_atomic(folder / f"{path.name}.reason", told, flush=self._durable)
            move(path, folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._trouble.append(f"{path.name} can't be read, nor moved to {folder} ({error.strerror}): {reason}")
            return False
        self._usage.add(self._name, size + len(told))
        self._trouble.append(f"{path.name} can't be read, it is in {folder} now: {reason}")
        log.error("file not loaded store=%s file=%s cause=%s; kept in %s", self._name, path, reason, folder)
        return True

    def _left(self, path: Path, error: OSError) -> bool:
        self._trouble.append(f"{path.name} can't be read now ({error.strerror}): it stays, and is tried next time")
        return True

    def _dtypes(self) -> Dtypes | None:
        if self._format.says_dtypes:
            return None
        try:
            return load_dtypes(self._dtypes_path)
        except FileNotFoundError:
            return None

    @property
    def _manifest_path(self) -> Path:
        return manifest_path(self._layout, self._name)


def collectors_of(
    stores: Sequence[Composable], owner: Collector, layout: Layout, project: Path
) -> list[StoreCollector]:
    """A collector's stores as the collectors that they are. Raises ConfigError, StoreError."""
    names = Names(layout, owner.name)
    folders = [Folders.of(store, layout, project) for store in stores]
    identities = []
    for store, where in zip(stores, folders, strict=True):
        target = store.target()
        identities.append((target.stream_type, identity(where.source, target, layout, project)))
    given = names.give(identities)
    return [
        StoreCollector(owner, at, store, name, where, names)
        for at, (store, name, where) in enumerate(zip(stores, given, folders, strict=True))
    ]


class _disk_errors:
    """What the disk says while a store is at work, as errors of ours."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFullError(f"store {self._name}: no space left on the disk; its files stay") from error
            raise StoreError(f"store {self._name}: {error.strerror} ({error.filename}); its files stay") from error

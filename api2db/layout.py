"""Where things are in STORE, and which names may be used there."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from api2db.errors import ConfigError, StoreError, StoreLockedError
from api2db.files import make_dir, write_atomic

FORMAT = 2  # this layout's version, kept in STORE/format
ACCEPTED = "accepted"  # the directory in which a shard's first name is its acceptance
HELD = "held"  # in quarantine: the directory of rows with a value that can't be of its column's type
FILES = "files"  # in quarantine: the directory of files that a store can't read
RESERVED = frozenset(
    {"queue", "upload_failed", "quarantine", "log", "requests", "state", "format", "notify", "database", "api2db"}
    | {"tape"}
    | {"journal.sqlite", "database.sqlite", "demo.jsonl"}
)
LOCK_WAIT_S = 1.0
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")


def check_name(name: object) -> str:
    """A collector's name, which also names folders, files and a table. Raises ConfigError with a suggestion."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"a collector needs a name: text, not {name!r}")
    if name.lower() in RESERVED:
        raise ConfigError(f'collector name "{name}" is reserved in STORE; try "{name}_data"')
    if not _SAFE.fullmatch(name) or name.endswith("."):
        better = re.sub(r"[^A-Za-z0-9_\-]+", "_", name).strip("_-")[:100] or "collector"
        raise ConfigError(f'collector name {name!r} can\'t name a folder and a table; try "{better}"')
    return name


@dataclass(frozen=True)
class Layout:
    """The paths in one STORE."""

    root: Path

    @property
    def queues(self) -> Path:
        return self.root / "queue"

    @property
    def journal(self) -> Path:
        return self.root / "journal.sqlite"

    @property
    def states(self) -> Path:
        return self.root / "state"

    @property
    def id(self) -> str:
        """STORE's own random name, which stays with it wherever it is copied; "" before it has one."""
        return next(filter(None, map(_text_of, self._ids)), "")

    def make_id(self) -> None:
        """Give STORE its name, where it has none. Whoever calls it holds the lock.

        Raises StoreError where it had one that was lost: a ledger would know this STORE's batches no longer.
        """
        own = self.id
        if not own and self.format() == FORMAT and self._was_used():
            raise StoreError(
                f"{self.root} was copied without its name: copy .id, or state/store.id, from where it was. If that"
                " is gone: in its databases SELECT batch_id FROM _api2db_ledger WHERE batch_id LIKE 'horizon %'; write"
                f" what follows the word horizon into {self.root / '.id'}, or any word if there is none"
            )
        own = own or secrets.token_hex(16)
        try:
            for path in self._ids:
                if not _text_of(path):
                    write_atomic(path, f"{own}\n".encode())
        except OSError as error:
            raise StoreError(f"can't write to {self.root}: {error.strerror}") from error

    @property
    def _ids(self) -> tuple[Path, Path]:
        """Twice: who copies by ``*`` leaves hidden files behind."""
        return self.root / ".id", self.states / "store.id"

    def _was_used(self) -> bool:
        return self.journal.exists() or any(self.states.glob("*.json"))

    def accepted(self, collector: str) -> Path:
        return self.queues / collector / ACCEPTED

    def queue(self, collector: str, stream: str) -> Path:
        return self.queues / collector / stream

    def failed(self, collector: str, stream: str) -> Path:
        return self.root / "upload_failed" / collector / stream

    def quarantine(self, collector: str, stream: str) -> Path:
        return self.root / "quarantine" / collector / stream

    @property
    def logs(self) -> Path:
        return self.root / "log"

    def log(self, collector: str) -> Path:
        """Where a collector's delivered shards are kept for a time."""
        return self.logs / collector

    @property
    def tapes(self) -> Path:
        """What sources answered, by collector and poll."""
        return self.root / "tape"

    @property
    def requests(self) -> Path:
        """Where commands ask a running daemon for something."""
        return self.root / "requests"

    def state(self, collector: str) -> Path:
        return self.states / f"{collector}.json"

    def poll_state(self, collector: str) -> Path:
        """What the sources of a collector's last poll that ended well want to know at the next."""
        return self.states / "polls" / f"{collector}.json"

    @property
    def hosts(self) -> Path:
        """How often each host was asked of late, where it has a budget."""
        return self.states / "hosts"

    @property
    def seen(self) -> Path:
        """Where incremental sources remember what may come again."""
        return self.states / "seen"

    @property
    def tokens(self) -> Path:
        """Tokens that servers gave out to us."""
        return self.states / "tokens"

    @property
    def key(self) -> Path:
        """A random key, by which what is kept tells credentials apart and nobody finds them out."""
        return self.states / "tape.key"

    def due(self, collector: str) -> Path:
        """What is known of a collector's schedule: which due times are done with, or the period that was learned."""
        return self.states / "due" / f"{collector}.json"

    def shards(self, collector: str, fmt: str) -> Path:
        """Where ``Stream2Local`` puts its files unless told otherwise."""
        return self.root / collector / fmt

    def told(self, channel: str) -> Path:
        """What a receiver of messages was told."""
        return self.root / "notify" / f"{channel}.json"

    def prepare(self) -> None:
        """Make STORE ready: its folders and its format. Raises StoreError if a newer version wrote it."""
        for path in (self.root, self.queues, self.states):
            try:
                make_dir(path)
            except OSError as error:
                raise StoreError(f"can't create {path}: {error.strerror}") from error
        if self.format() is None:
            self.mark_format()
        self.check_format()

    def check_format(self) -> None:
        """Raise StoreError if a newer version wrote this STORE. Reads only."""
        found = self.format()
        if found is not None and found > FORMAT:
            raise StoreError(f"{self.root} was written by a newer api2db (layout {found}, this one knows {FORMAT})")

    def format(self) -> int | None:
        """The layout's version as it is marked; None in a new STORE. Raises StoreError."""
        try:
            return int(self._marker.read_text())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"can't read {self._marker}: {error.strerror}; run as its owner") from error
        except ValueError as error:
            raise StoreError(f"{self._marker} isn't ours: it should hold a number") from error

    def mark_format(self) -> None:
        try:
            write_atomic(self._marker, f"{FORMAT}\n".encode())
        except OSError as error:
            raise StoreError(f"can't write to {self.root}: {error.strerror}; run as its owner") from error

    @property
    def _marker(self) -> Path:
        return self.root / "format"


def _text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(f"can't read {path}: {error.strerror}; run as its owner") from error


class StoreLock:
    """Holds STORE/.lock: one process per STORE. The kernel frees it when that one dies, however it dies."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.root / ".lock"
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"can't open {self._path}: {error.strerror}; run as the owner of {layout.root}") from error
        deadline = time.monotonic() + LOCK_WAIT_S
        while not self._locked():
            # Someone who asks for the status holds the lock for a moment.
            if time.monotonic() > deadline:
                owner = self._path.read_text().strip()
                os.close(self._fd)
                raise StoreLockedError(
                    f"{layout.root} is in use by process {owner or '?'}: one daemon, or script, per STORE; "
                    "stop that one, or give this one a STORE of its own"
                )
            threading.Event().wait(0.02)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def lock_owner(layout: Layout) -> int | None:
    """The process id of the daemon that holds this STORE now, or None. Takes nothing, changes nothing."""
    try:
        fd = os.open(layout.root / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(fd, 20, 0).strip()
        return int(owner) if owner.isdigit() else 0
    else:
        return None
    finally:
        os.close(fd)

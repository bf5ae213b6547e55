"""Tokens that were given out to us, kept so that neither a kill nor another process loses one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from api2db.errors import SourceError
from api2db.files import make_dir, write_atomic
from api2db.sources.context import PollContext
from api2db.sources.net.auth.named import unsendable

# So long before its end a token isn't used any more, and at most so much of its life.
_EARLY_S: Final = 60.0
_EARLY_PART: Final = 0.2
_LOOK_S: Final = 0.05


@dataclass(frozen=True)
class Token:
    """An access token, and the refresh token that gives the next; times in nanoseconds since 1970 UTC, 0: unknown."""

    access: str = field(repr=False)
    given_ns: int
    expires_ns: int
    refresh: str = field(default="", repr=False)

    def good(self, stale: str) -> bool:
        """Whether it may be used now, and isn't the one that was refused."""
        if self.access == stale or not self.access or unsendable(self.access):
            return False
        early_ns = min(_EARLY_S * 1e9, (self.expires_ns - self.given_ns) * _EARLY_PART)
        return not self.expires_ns or self.given_ns <= time.time_ns() < self.expires_ns - early_ns


class TokenFile:
    """``<folder>/<name>.json``, read and written by one process and thread at a time, and by its owner alone."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}.json"
        self._lock = folder / f"{name}.lock"

    @contextmanager
    def locked(self, context: PollContext) -> Iterator[None]:
        """Nobody else renews this token in the block. Raises SourceError, Stopping."""
        try:
            make_dir(self._folder)
            os.chmod(self._folder, 0o700)
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._error(error) from error
        try:
            while not _taken(fd):
                context.wait(_LOOK_S)
            yield
        finally:
            os.close(fd)

    def read(self, of: str) -> Token | None:
        """The one that is kept, if it came of the same credentials."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        except OSError as error:
            raise self._error(error) from error
        return kept.token if kept.of == of else None

    def write(self, of: str, token: Token) -> None:
        """Keep it, on disk before this returns."""
        try:
            write_atomic(self._path, msgspec.json.encode(_Kept(of, token)), mode=0o600)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> SourceError:
        return SourceError(f"{self._path}: a token that was given out can't be kept: {error.strerror}")


class _Kept(msgspec.Struct, frozen=True):
    of: str
    token: Token


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

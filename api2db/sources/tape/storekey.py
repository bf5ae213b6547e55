"""A random key of each STORE, by which tapes and polls tell credentials apart without a word of what they are."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

from api2db.failpoint import change

_BYTES: Final = 32


def key_path(tape: Path) -> Path:
    """STORE/state/tape.key, for STORE/tape/<collector>/<ns>.tape."""
    return tape.parents[2] / "state" / "tape.key"


def made_key(path: Path) -> bytes:
    """The key in this file, made if there is none; its owner's alone. Any process. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        key = os.pread(fd, _BYTES, 0)
        if len(key) < _BYTES:
            change(path)
            key = secrets.token_bytes(_BYTES)
            os.pwrite(fd, key, 0)
        return key
    finally:
        os.close(fd)


def kept_key(tape: Path) -> bytes:
    """The key; b"" where it is gone: then no request is told by what it held back. Raises OSError."""
    try:
        return key_path(tape).read_bytes()
    except FileNotFoundError:
        return b""

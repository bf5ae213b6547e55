"""A tape: frames appended to a file, each compressed, with its length and a check sum. A torn last one is no frame."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from api2db.errors import StoreError
from api2db.failpoint import change

_MAGIC: Final = b"api2db tape 1\n"
_FRAME: Final = struct.Struct(">III")  # bytes before compression, after it, their CRC-32
PIECE_BYTES: Final = 2**20
"""Of a body in one frame: so much is in memory."""

Head = dict[str, Any]


def codec() -> Any:
    """Zstandard, by pyarrow: loaded with the first tape."""
    import pyarrow as pa

    return pa.Codec("zstd")


class Writer:
    """Appends frames; the file is there from the first one on. Used by one thread at a time.

    Its bytes are in the kernel's hands when ``write`` returns, so a kill loses none; they aren't flushed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._codec: Any = None
        self.size = 0

    def write(self, head: Head, body: bytes = b"") -> None:
        """Append one frame; ``head`` is JSON. Raises OSError, TypeError or ValueError for a head that is no JSON."""
        data = b""
        if self._fd < 0:
            self._codec = codec()
            change(self._path)
            # Answers are nobody else's business.
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            data = _MAGIC
        plain = json.dumps(head).encode() + b"\n" + body
        packed = self._codec.compress(plain, asbytes=True)
        rest = memoryview(data + _FRAME.pack(len(plain), len(packed), zlib.crc32(packed)) + packed)
        self.size += len(rest)
        while rest:
            change(self._path)
            rest = rest[os.write(self._fd, rest) :]

    def close(self) -> None:
        """The file stays; nothing can be written any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Close it, and have no file. Raises OSError."""
        self.close()
        self._path.unlink(missing_ok=True)


def frames(path: Path) -> Iterator[tuple[Head, int]]:
    """Each whole frame's head, and where ``body_at`` finds its body. Raises StoreError for what is no tape, OSError."""
    unpack = codec()
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise StoreError(f"{path} is no tape of ours")
        while True:
            at = file.tell()
            plain = _frame(file, unpack)
            if plain is None:
                return
            yield json.loads(plain[: plain.index(b"\n")]), at


def body_at(path: Path, at: int) -> bytes:
    """The body of the frame that ``frames`` gave ``at`` for. Raises StoreError if it isn't there any more, OSError."""
    with open(path, "rb") as file:
        file.seek(at)
        plain = _frame(file, codec())
    if plain is None:
        raise StoreError(f"{path} was changed")
    return plain[plain.index(b"\n") + 1 :]


def _frame(file: Any, unpack: Any) -> bytes | None:
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    plain_size, size, check = _FRAME.unpack(head)
    packed = file.read(size)
    if len(packed) < size or zlib.crc32(packed) != check:
        return None
    return bytes(unpack.decompress(packed, decompressed_size=plain_size, asbytes=True))

"""What formats make of a body: blocks of records, and how they become the chunks that a user asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from api2db.errors import ConfigError

# Of the body, in one chunk: its values take several times as much.
MOST_CHUNK_BYTES: Final = 4 * 2**20


@dataclass(frozen=True)
class Block:
    """Records in their order; ``size`` is the bytes of the body that they took, about.

    names  as a row of the body has them, for all of its blocks
    """

    records: list[Any]
    size: int
    names: tuple[str, ...] = ()


def chunked(blocks: Iterable[Block], size: int) -> Iterator[list[Any]]:
    """Chunks of ``size`` records, of fewer where they are large; none is empty. Raises ConfigError."""
    if size < 1:
        raise ConfigError(f"size={size}: a chunk has at least one record")
    return _chunked(blocks, size)


def _chunked(blocks: Iterable[Block], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    held = 0
    for block in blocks:
        chunk += block.records
        held += block.size
        while len(chunk) > size:
            yield chunk[:size]
            del chunk[:size]
            held = 0
        if chunk and (len(chunk) == size or held >= MOST_CHUNK_BYTES):
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk

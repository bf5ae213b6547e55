"""NDJSON, which is JSON lines: one JSON value a line; and JSON text sequences (RFC 7464), a mark before each value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

import msgspec

from api2db.sources.decode import NotJson, decode
from api2db.sources.decoding.chunked import Block
from api2db.sources.decoding.unpacking import peeked
from api2db.sources.decoding.unreadable import MOST_RECORD_BYTES, Unreadable, too_large

SEQUENCE_MARK: Final = b"\x1e"
_AS_LINES: Final = bytes.maketrans(b"\n" + SEQUENCE_MARK, b" \n")
"""A line for each value of a sequence: neither byte is in a JSON text but as white space, and between them."""

_decoder = msgspec.json.Decoder()


def blocks(chunks: Iterable[bytes]) -> Iterator[Block]:
    """``chunks`` in UTF-8. Blank lines are none. Raises Unreadable, which names the line; of a sequence the value."""
    start, chunks = peeked(chunks, 1)
    if start.startswith(SEQUENCE_MARK):
        # The first one ends no line.
        chunks = (chunk.translate(_AS_LINES) for chunk in chain((start[1:],), islice(chunks, 1, None)))
    done = held = 0
    parts: list[bytes] = []
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if not end:
            parts.append(chunk)
            held += len(chunk)
            if held > MOST_RECORD_BYTES:
                raise too_large(f"line {done + 1:,}")
            continue
        lines = b"".join((*parts, chunk[:end]))
        yield Block(_values(lines, done), len(lines))
        done += lines.count(b"\n")
        parts, held = [chunk[end:]], len(chunk) - end
    rest = b"".join(parts)
    if rest.strip():
        yield Block(_values(rest, done), len(rest))


def _values(lines: bytes, done: int) -> list[Any]:
    values = _decoded(lines, done)
    if list in map(type, values):
        for number, value in enumerate(values, done + 1):
            if isinstance(value, list) and all(isinstance(each, dict) for each in value):
                raise Unreadable(
                    f"record {number:,} is a list of records, where each line should be one: say format='json' if the"
                    " answer is one JSON list"
                )
    return values


def _decoded(lines: bytes, done: int) -> list[Any]:
    try:
        # Not decode_lines, which takes a value over several lines, too: cut elsewhere it would be another.
        return list(map(_decoder.decode, lines.removesuffix(b"\n").split(b"\n")))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # by line: what is read all the same, and which line isn't
    values = []
    for number, line in enumerate(lines.split(b"\n"), done + 1):
        if line.strip():
            try:
                values.append(decode(line))
            except NotJson as error:
                raise Unreadable(f"line {number:,}: {error.reason}") from None
    return values

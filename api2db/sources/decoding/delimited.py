"""CSV and TSV: a row of names, then a row a record. Every value stays the text it is; an empty one is "".

A row with more or fewer values than names is an error: a delimiter that isn't quoted has shifted them, and nobody can
tell where.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from api2db.errors import ConfigError
from api2db.sources.decoding.chunked import Block
from api2db.sources.decoding.unreadable import MOST_RECORD_BYTES, Unreadable, too_large

_DELIMITERS: Final = (",", ";", "\t", "|")
_BLOCK: Final = 2**18
_SNIFFED_LINES: Final = 20
_SAID: Final = re.compile(r'(?i)"?sep=([^"\r\n])"?(?=[\r\n])')  # the first line, as Excel writes and reads it
# An error, say. Names may be in brackets: [id],[name].
_JSON: Final = re.compile(r"""\s*(\{\s*(["}]|$)|\[\s*(["{\[\]\d-]|$))""")


def check_delimiter(delimiter: str | None) -> None:
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ConfigError(f"delimiter={delimiter!r}: must be one character, and no quote or end of line")


def blocks(chunks: Iterable[bytes], delimiter: str | None, columns: Sequence[str] | None) -> Iterator[Block]:
    """``chunks`` in UTF-8. ``columns``: the names, where the first row is a record already. Raises Unreadable."""
    if csv.field_size_limit() < MOST_RECORD_BYTES:
        csv.field_size_limit(MOST_RECORD_BYTES)  # of the process; 128 KiB by default, which some texts are
    lines = _Lines(chunks)
    start = lines.peek()
    if start.lstrip().startswith("<"):
        raise Unreadable("the answer is HTML or XML, not CSV")
    if _JSON.match(start):
        raise Unreadable("the answer is JSON, not CSV")
    said = _SAID.match(start)
    reader = csv.reader(iter(lines), delimiter=delimiter or (said[1] if said else _delimiter_of(start)), strict=True)
    try:
        if said:
            next(reader)
        names = list(columns) if columns is not None else _names(next(filter(None, reader), []))
        told = () if columns is not None else tuple(names)
        width = len(names)
        records: list[dict[str, str]] = []
        # With columns= the first page may have a row of names where the others have none.
        for row in reader if columns is None else _without_names(reader, names):
            lines.open = 0
            if len(row) != width:
                if not row:
                    continue  # a blank line is none
                raise Unreadable(
                    f"the row that ends in line {reader.line_num:,} has {len(row)} values, where {width} columns are;"
                    " a value with the delimiter in it must be quoted, or another delimiter= said"
                )
            records.append(dict(zip(names, row, strict=True)))
            if lines.since >= _BLOCK:
                size, lines.since = lines.since, 0
                yield Block(records, size, told)
                records = []
    except csv.Error as error:
        raise Unreadable(f"line {reader.line_num:,}: {error}") from None
    except _TooLong:
        raise too_large(f"the row that ends in line {reader.line_num:,}, or later,") from None
    yield Block(records, lines.since, told)


def _without_names(rows: Iterator[list[str]], names: list[str]) -> Iterator[list[str]]:
    first = next(filter(None, rows), names)
    if [name.strip() for name in first] != names:
        yield first
    yield from rows


def _names(header: list[str]) -> list[str]:
    """An unnamed column is named by its place. Raises Unreadable for two of one name."""
    names = [name.strip() or f"column_{at}" for at, name in enumerate(header, 1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Unreadable(f"its columns {', '.join(map(repr, twice[:5]))} are there more than once; say columns=")
    return names


def _delimiter_of(start: str) -> str:
    """The one that the first row has; of several the one by which the next rows are as long as the first."""
    in_header = [each for each in _DELIMITERS if len(_parsed(start, each, 1)[0]) > 1]
    if len(in_header) < 2:
        return in_header[0] if in_header else ","
    even = [each for each in in_header if len({len(row) for row in _parsed(start, each, _SNIFFED_LINES)}) == 1]
    if len(even) == 1:
        return even[0]
    raise Unreadable(f"its delimiter may be {' or '.join(map(repr, even or in_header))}: say delimiter=")


def _parsed(start: str, delimiter: str, rows: int) -> list[list[str]]:
    found: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(start, newline=""), delimiter=delimiter):
            found += [row] if row else []
            if len(found) == rows:
                break
    except csv.Error:
        return [[], [""]]
    return found or [[]]


class _TooLong(Exception):
    """A row doesn't end."""


class _Lines:
    """Lines with their ends, as csv.reader wants them; a row may be several.

    open   letters read since somebody set it to 0, after a row; without those of the text in which that row ended
    since  letters read since somebody set it to 0
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._texts = _texts(chunks)
        self._first = ""
        self.open = 0
        self.since = 0

    def peek(self) -> str:
        """The first text there is. Called first."""
        self._first = next(self._texts, "")
        return self._first

    def __iter__(self) -> Iterator[str]:
        yield from io.StringIO(self._first, newline="")
        self.since += len(self._first)
        for text in self._texts:
            if self.open > MOST_RECORD_BYTES:
                raise _TooLong
            self.open += len(text)
            self.since += len(text)
            yield from io.StringIO(text, newline="")


def _texts(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines, many at once. Raises Unreadable."""
    parts: list[bytes] = []
    held = 0
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if not end and b"\r" in chunk[:-1]:
            end = chunk.rfind(b"\r", 0, -1) + 1  # \r alone ends a line, too; the last may be half of \r\n
        if not end:
            parts.append(chunk)
            held += len(chunk)
            if held > MOST_RECORD_BYTES:
                raise too_large("a line")
            continue
        yield b"".join((*parts, chunk[:end])).decode("utf-8", "surrogatepass")
        parts, held = [chunk[end:]], len(chunk) - end
    rest = b"".join(parts)
    if rest:
        yield rest.decode("utf-8", "surrogatepass")

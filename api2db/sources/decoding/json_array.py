"""The records of one JSON document, a list in it for example, without ever holding the document.

The list is cut where one of its elements ends, and what is between two cuts is decoded at once by the decoder of whole
answers. What is beside the list is held, and decoded at the end with a mark in the list's place: so a document that is
cut short, or isn't JSON somewhere, is an error here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from api2db.errors import ConfigError
from api2db.form.path import Path, parse_path
from api2db.sources.decode import NotJson, decode
from api2db.sources.decoding.chunked import Block
from api2db.sources.decoding.json_cut import Guess, cut
from api2db.sources.decoding.unreadable import MOST_RECORD_BYTES, Unreadable, too_large

_READ: Final = 2**19
_TOKEN: Final = re.compile(rb'[ \t\r\n]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:]|[^ \t\r\n"\[\]{},:]++', re.DOTALL)
_MARK: Final = b'["api2db: the records were here"]'
_MISSING: Final = object()
_DEEP: Final = 900  # a little less than the decoder reads
_START: Final = 4096


def path_of(text: str) -> Path:
    """Where the records are; "" is the document itself. Raises ConfigError."""
    return parse_path(text, ())[0] if text else Path(())


def listed(document: object, path: Path, text: str) -> list[Any]:
    """The records at ``path``: a list's elements, an object as the one record, none for null. Raises Unreadable."""
    found = path.read(document, _MISSING)
    if isinstance(found, list):
        return found
    if isinstance(found, dict):
        return [found]
    if found is None:
        return []
    if found is _MISSING:
        there = ", ".join(map(repr, list(document)[:10])) if isinstance(document, dict) else "no keys: it is a list"
        raise Unreadable(f"nothing is at {text!r}; the answer has {there}")
    where = f"at {text!r}" if text else "it"
    raise Unreadable(f"{where} is a {type(found).__name__}, where records should be")


def blocks(chunks: Iterable[bytes], text: str, read_bytes: int = _READ) -> Iterator[Block]:
    """The records at the path ``text``, as ``listed`` gives them. ``chunks`` in UTF-8.

    read_bytes  at least so much is cut at once

    Raises Unreadable, ConfigError.
    """
    path = path_of(text)
    source = _Source(chunks, read_bytes)
    outside = bytearray()
    if _to_the_list(source, _Where(path), outside):
        yield from _elements(source)
        outside += _MARK
        while source.data or source.more():
            outside += source.data
            source.data = b""
            if len(outside) > MOST_RECORD_BYTES:
                raise too_large("what is beside the records")
        if path.read(decode(bytes(outside)), None) != decode(_MARK):
            raise Unreadable(f"{text!r} is there twice")
        return
    yield Block(listed(decode(bytes(outside)), path, text), len(outside))


class _Source:
    """``data`` is what was read and not used yet."""

    def __init__(self, chunks: Iterable[bytes], read_bytes: int) -> None:
        self._chunks = iter(chunks)
        self._read_bytes = read_bytes
        self.data = b""

    def more(self) -> bool:
        """Read as much again as there is, so that looking again from its start costs no more. False: nothing came."""
        parts, held = [self.data], 0
        wanted = max(self._read_bytes, len(self.data))
        for chunk in self._chunks:
            parts.append(chunk)
            held += len(chunk)
            if held >= wanted:
                break
        self.data = b"".join(parts)
        return held > 0


class _Where:
    """Where in the document the next token is. Only brackets, keys and colons count."""

    def __init__(self, path: Path) -> None:
        self._wanted = [[part.key for part in path.parts]]
        if path.literal is not None:
            self._wanted.append([path.literal])
        self._keys: list[str | None] = []  # of each container around it: the key in it, None in a list
        self._named = False  # a colon was the last that counted
        self._indexed = any(part.index is not None for part in path.parts)

    def takes(self, token: bytes) -> bool:
        """Go past ``token``; or not, where it begins the list that is looked for."""
        mark = token[:1]
        if mark in b"[{":
            if mark == b"[" and self._keys in self._wanted:
                return False
            if mark == b"[" and self._indexed and self._is_on_the_way():
                raise ConfigError("a path through a list can't be streamed: take answer.records(), or a path of keys")
            if len(self._keys) >= _DEEP:
                raise Unreadable("the answer is nested too deep to read")
            self._keys.append("" if mark == b"{" else None)
        elif mark in b"]}":
            if self._keys:
                self._keys.pop()
        elif mark == b'"' and not self._named and self._keys and self._keys[-1] is not None:
            self._keys[-1] = str(decode(token))
        if mark in b',:"[{]}' or token.strip():
            self._named = mark == b":"
        return True

    def _is_on_the_way(self) -> bool:
        return any(wanted[: len(self._keys)] == self._keys for wanted in self._wanted)

    def closers(self) -> bytes:
        return b"".join(b"]" if key is None else b"}" for key in reversed(self._keys))


def _to_the_list(source: _Source, where: _Where, outside: bytearray) -> bool:
    """Go behind the bracket of the list; False: there is none, and all of the document is in ``outside``."""
    ended = not source.more()
    while not ended and not source.data.strip():
        ended = not source.more()
    if source.data.lstrip()[:1] not in (b"{", b"["):
        while not ended and len(source.data) < _START:
            ended = not source.more()
        if source.data.strip() == b"null":
            outside += source.data
            return False
        decode(source.data[:_START])
        raise Unreadable("it is a single value, where records should be")
    while True:
        at = 0
        for token in _TOKEN.finditer(source.data):
            may_go_on = token.end() == len(source.data) and not ended and token[0][:1] not in b"[]{},:"
            if may_go_on or token.start() != at:  # or a text before it isn't whole yet
                break
            if not where.takes(token[0]):
                outside += source.data[:at]
                source.data = source.data[token.end() :]
                decode(bytes(outside) + b"[]" + where.closers())
                return True
            at = token.end()
        outside += source.data[:at]
        source.data = source.data[at:]
        if len(outside) + len(source.data) > MOST_RECORD_BYTES:
            raise too_large("what is before the records")
        if ended:
            outside += source.data
            return False
        ended = not source.more()


def _elements(source: _Source) -> Iterator[Block]:
    """Those of the list whose bracket was passed, to behind its end."""
    guess = Guess()
    done, ended, begun = 0, False, False
    while True:
        guessed = guess.cut(source.data)
        if guessed is not None:
            where, records = guessed
            source.data = source.data[where + 1 :]
            done += len(records)
            yield Block(records, where)
            begun, ended = True, not source.more()
            continue
        where, closes = cut(source.data)
        if where < 0:
            if ended:
                _decoded(source.data, done)
                raise Unreadable(f"it ends within its list of records, after {done:,} of them")
            if len(source.data) > MOST_RECORD_BYTES:
                raise too_large(f"the record after the first {done:,}")
            ended = not source.more()
            continue
        if not closes:
            guess.learn(source.data, where)
        elif source.data[where : where + 1] != b"]":
            raise Unreadable(f"the answer isn't JSON: its list of records ends with a brace, after {done:,} of them")
        elements, source.data = source.data[:where], source.data[where + 1 :]
        if begun or not closes or elements.strip():
            if not elements.strip():
                raise Unreadable(f"the answer isn't JSON: there is a comma too many after {done:,} records")
            records = _decoded(elements, done)
            done += len(records)
            yield Block(records, where)
        if closes:
            return
        begun, ended = True, not source.more()


def _decoded(elements: bytes, done: int) -> list[Any]:
    try:
        values = decode(b"[" + elements + b"]")
    except NotJson as error:
        after = f"after {done:,} records: " if done else ""
        raise Unreadable(after + error.reason) from None
    assert isinstance(values, list)
    return values

r"""Paths: where in a record a value is, as one string, and reading it from a whole page at once.

``properties.mag`` goes from key to key; a part that is a whole number (``geometry.coordinates.0``, ``-1`` for the
last) is an index where it meets a list and a key where it meets an object. A record that has the whole path as
one key is read by that key. ``\.``, ``\:`` and ``\\`` are the characters themselves, inside a key. After the last
colon comes the kind of the column: ``properties.time:ms``. ``.`` is the record itself. ``#text`` of a text is that
text: an XML element is an object only where it has attributes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from api2db.errors import ConfigError
from api2db.form.element import TEXT_KEY

_TOKEN: Final = re.compile(r"\\([.:\\])|([.:])|([^\\.:]+)")
_INDEX: Final = re.compile(r"-?[0-9]{1,9}")
_WHOLE: Final = "."


@dataclass(frozen=True)
class Part:
    """One step of a path: a key, which is an index too where it's a whole number."""

    key: str
    index: int | None = None


@dataclass(frozen=True)
class Path:
    """A parsed path. ``literal`` is the whole path as one key, where that differs from its only part."""

    parts: tuple[Part, ...]
    literal: str | None = None

    def read(self, record: object, missing: object = None) -> object:
        """The value in one record, or ``missing`` where the path leads nowhere."""
        if self.literal is not None and isinstance(record, dict) and self.literal in record:
            return record[self.literal]
        for part in self.parts:
            record = _step(record, part, missing)
            if record is missing:
                return missing
        return record


def parse_path(text: str, kinds: Collection[str]) -> tuple[Path, str | None]:
    """The path and the kind after its colon, if it has one. Raises ConfigError, naming the choices."""
    keys, kind = _split(text)
    if kind is not None and kind not in kinds:
        raise ConfigError(
            f"path {text!r}: {kind!r} is no kind of column; one of {', '.join(kinds) or 'none here'} "
            f"(a colon inside a key is written \\:)"
        )
    where = text if kind is None else text[: -len(kind) - 1]
    if where == _WHOLE:
        return Path(()), kind
    if "" in keys:
        raise ConfigError(f"path {text!r} has an empty part; a dot inside a key is written \\.")
    parts = tuple(Part(key, int(key) if _INDEX.fullmatch(key) else None) for key in keys)
    plain = len(parts) > 1 and "\\" not in where
    return Path(parts, where if plain else None), kind


def _split(text: str) -> tuple[list[str], str | None]:
    """The keys of a path, unescaped, and what follows its colon."""
    keys = [""]
    position = 0
    for token in _TOKEN.finditer(text):
        escaped, mark, letters = token.groups()
        if token.start() != position:
            break
        position = token.end()
        if mark == ":":
            return keys, text[position:]
        if mark == ".":
            keys.append("")
        else:
            keys[-1] += escaped or letters
    if position != len(text):
        raise ConfigError(f"path {text!r}: after a backslash comes a dot, a colon or a backslash")
    return keys, None


class Records:
    """The records of one page, read column by column; what several paths pass through is read once.

    ``paths`` are all that will be read.
    """

    def __init__(self, rows: Sequence[object], paths: Iterable[Path]) -> None:
        self._rows = rows
        self._parents: dict[tuple[Part, ...], Sequence[object]] = {(): rows}
        self._all_lists: dict[tuple[Part, ...], bool] = {}
        self._has_literals = _any_key(rows, frozenset(path.literal for path in paths if path.literal is not None))

    def values(self, path: Path, missing: object = None) -> Sequence[object]:
        """One value a record, ``missing`` where the path leads nowhere."""
        if not path.parts:
            return self._rows
        found = self._step(path.parts, missing)
        if not self._has_literals or path.literal is None:
            return found
        key = path.literal
        return [
            row[key] if isinstance(row, dict) and key in row else value
            for row, value in zip(self._rows, found, strict=True)
        ]

    def _at(self, parts: tuple[Part, ...]) -> Sequence[object]:
        if parts not in self._parents:
            self._parents[parts] = self._step(parts, None)
        return self._parents[parts]

    def _step(self, parts: tuple[Part, ...], missing: object) -> Sequence[object]:
        """The last step of a path in every record: in C where all of them allow it, tolerantly otherwise."""
        parents, part = self._at(parts[:-1]), parts[-1]
        if part.index is None or self._are_lists(parts[:-1]):
            try:
                return list(map(itemgetter(part.key if part.index is None else part.index), parents))  # type: ignore[arg-type]
            except (KeyError, TypeError, IndexError):
                pass
        return [_step(parent, part, missing) for parent in parents]

    def _are_lists(self, parts: tuple[Part, ...]) -> bool:
        """Is every value there a list? A text would give its letters to an index."""
        if parts not in self._all_lists:
            self._all_lists[parts] = set(map(type, self._at(parts))) <= {list}
        return self._all_lists[parts]


def _any_key(rows: Iterable[Any], keys: frozenset[str]) -> bool:
    if not keys:
        return False
    try:
        return not keys.isdisjoint(chain.from_iterable(rows))
    except TypeError:
        # Records that aren't objects: each is looked at when it's read.
        return True


def _step(parent: object, part: Part, missing: object) -> object:
    if isinstance(parent, Mapping):
        if part.key in parent:
            return parent[part.key]
        return parent.get(part.index, missing) if part.index is not None else missing
    if part.index is not None and isinstance(parent, (list, tuple)):
        return parent[part.index] if -len(parent) <= part.index < len(parent) else missing
    return parent if part.key == TEXT_KEY and isinstance(parent, str) else missing

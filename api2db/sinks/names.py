"""Which column of a table a field goes into: the same names meet the same table always the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType


def digest(text: str) -> str:
    """Four hexadecimal digits that tell apart names which would otherwise meet."""
    return hashlib.sha1(text.encode(errors="surrogatepass")).hexdigest()[:4]


def cut(name: str, max_bytes: int) -> str:
    """The longest start of ``name`` within ``max_bytes`` of UTF-8, never through a character."""
    return name.encode()[:max_bytes].decode(errors="ignore")


@dataclass(frozen=True)
class NameRules:
    """What a dialect takes as an identifier.

    max_bytes     of UTF-8; longer ones are cut and get a digest
    reserved      names the database keeps for itself
    ignores_case  whether two names that differ in the case of ASCII letters are one column
    """

    max_bytes: int = 1_000
    reserved: frozenset[str] = frozenset()
    ignores_case: bool = False

    def fold(self, name: str) -> str:
        """What makes two names one. Only ASCII letters: that is what the databases fold."""
        return name.encode().lower().decode() if self.ignores_case else name

    def hashed(self, name: str) -> str:
        """The name with a digest of itself, within the limit."""
        return f"{cut(name.replace(chr(0), ''), self.max_bytes - 5)}_{digest(name)}"

    def legal(self, name: str) -> str:
        """The name as it is where the database takes it, else the hashed one."""
        fits = name and "\0" not in name and len(name.encode()) <= self.max_bytes
        return name if fits and self.fold(name) not in self.reserved else self.hashed(name)


def place(names: Sequence[str], existing: Iterable[str], rules: NameRules) -> Mapping[str, str]:
    """The column of each field of one batch: existing ones where they fit, else the name of one to create.

    In this order: the same name; the hashed name; where the database ignores case, a name that differs only
    in case; a new column, hashed where its plain name is taken by another field or column.
    """
    return _place(tuple(names), tuple(existing), rules)


# Every load of a stream asks the same.
@lru_cache(maxsize=512)
def _place(names: tuple[str, ...], columns: tuple[str, ...], rules: NameRules) -> Mapping[str, str]:
    known = set(columns)
    placed: dict[str, str] = {}
    taken: set[str] = set()

    def take(name: str, column: str) -> None:
        placed[name] = column
        taken.add(rules.fold(column))

    for name in names:
        legal = rules.legal(name)
        if legal in known and rules.fold(legal) not in taken:
            take(name, legal)
    folded = {rules.fold(column): column for column in columns}
    for name in names:
        if name in placed:
            continue
        hashed, legal = rules.hashed(name), rules.legal(name)
        same = folded.get(rules.fold(legal))
        if hashed in known:
            take(name, hashed)
        elif same is not None and rules.fold(same) not in taken:
            take(name, same)
        elif same is not None or rules.fold(legal) in taken:
            take(name, hashed)
        else:
            take(name, legal)
    return MappingProxyType(placed)

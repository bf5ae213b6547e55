"""Records that were on the page before: what moves from page to page while it is read comes once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from api2db.form.path import Path, Records, parse_path

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _none() -> Sequence[Any]:
    return ()


class Repeats:
    """Of one poll. A record is known again by its key, and left out if its content is the same: a change is news.

    key  paths in a record; without any nothing is left out

    Of the page before only the keys are kept, and how its records are had again: they are needed hardly ever.
    """

    def __init__(self, key: Sequence[str] = ()) -> None:
        self._paths: list[Path] = [parse_path(path, ())[0] for path in key]
        self._before: set[tuple[object, ...]] = set()
        self._again: Callable[[], Sequence[Any]] = _none
        self._now: set[tuple[object, ...]] = set()
        self._told_apart = False  # do the keys tell this page's records apart?
        self._digest_before = self._digest = ""

    def again(self, digest: str) -> bool:
        """Are the records of this page those of the page before, by their keys or by their digest?"""
        self._digest = digest
        same_keys = self._told_apart and bool(self._now) and self._now == self._before
        return same_keys or digest == self._digest_before

    def new(self, records: Sequence[Any]) -> Sequence[Any]:
        """Those records that the page before didn't have."""
        if not self._paths or not records:
            return records
        keys = self._keys(records)
        self._now = set(keys)
        self._told_apart = len(self._now) == len(keys)
        if self._before.isdisjoint(self._now):
            return records
        earlier = self._again()
        same = dict(zip(self._keys(earlier), earlier, strict=True))
        return [record for key, record in zip(keys, records, strict=True) if key not in same or same[key] != record]

    def turn(self, again: Callable[[], Sequence[Any]]) -> None:
        """The next page comes; ``again`` gives all records of the one that was."""
        self._before, self._again, self._now = self._now, again if self._paths else _none, set()
        self._digest_before, self._digest, self._told_apart = self._digest, "", False

    def _keys(self, records: Sequence[Any]) -> list[tuple[object, ...]]:
        read = Records(records, self._paths)
        return list(zip(*(map(_hashable, read.values(path)) for path in self._paths), strict=True))


def _hashable(value: object) -> object:
    return _encode(value) if isinstance(value, (dict, list)) else value

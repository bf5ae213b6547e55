"""Records that were on the page before: what moves from page to page while it is read comes once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from api2db.form.path import Path, Records, parse_path

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Repeats:
    """Of one poll. A record is known again by its key and its content: a changed one is news.

    key  paths in a record; without any nothing is left out
    """

    def __init__(self, key: Sequence[str] = ()) -> None:
        self._paths: list[Path] = [parse_path(path, ())[0] for path in key]
        self._before: set[tuple[object, int]] = set()
        self._now: set[tuple[object, int]] = set()

    def new(self, records: Sequence[Any]) -> Sequence[Any]:
        """Those records that the page before didn't have."""
        if not self._paths or not records:
            return records
        read = Records(records, self._paths)
        keys = zip(*(map(_hashable, read.values(path)) for path in self._paths), strict=True)
        marks = [(key, hash(_encode(record))) for key, record in zip(keys, records, strict=True)]
        self._now = set(marks)
        if self._before.isdisjoint(self._now):
            return records
        return [record for mark, record in zip(marks, records, strict=True) if mark not in self._before]

    def turn(self) -> None:
        """The next page comes."""
        self._before, self._now = self._now, set()


def _hashable(value: object) -> object:
    return _encode(value) if isinstance(value, (dict, list)) else value

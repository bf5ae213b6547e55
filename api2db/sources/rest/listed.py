"""Parents that are known: requests for each record of a list, without asking for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api2db.errors import ConfigError

_ADVICE: Final = "a parent is another RestSource, or a list of records: [{'repo': 'a'}, {'repo': 'b'}]"


@dataclass(frozen=True)
class Listed:
    """One page of records, always the same ones. As a parent: ``per_parent.Parent``."""

    records: tuple[Mapping[str, object], ...]

    def batches(self, cursor: Any) -> Iterator[tuple[Any, Sequence[Any], Any]]:
        yield {}, self.records, {}

    def fields(self) -> dict[str, str]:
        """Each field of the records: all of them may be filled in."""
        return {name: name.replace("\\", "\\\\").replace(".", "\\.").replace(":", "\\:") for name in self.records[0]}


def listed(given: object) -> Listed:
    """A ``parent=`` that is a list. Raises ConfigError where it isn't one of records, each with the same fields."""
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, Mapping) and one for one in given):
        found = f"a list with {given!r}" if isinstance(given, (list, tuple)) else type(given).__name__
        raise ConfigError(f"parent= can't be {found[:200]}: {_ADVICE}")
    if not given:
        raise ConfigError(f"parent=[] names none; {_ADVICE}")
    records = tuple(map(dict, given))
    known: set[str] = set()
    for number, record in enumerate(records):
        if not all(isinstance(name, str) for name in record) or record.keys() != records[0].keys():
            raise ConfigError(f"record {number} of parent= has other fields than the first: {list(record)}")
        told = json.dumps(record, sort_keys=True, default=repr)
        if told in known:
            raise ConfigError(f"parent= has {record} twice")
        known.add(told)
    return Listed(records)

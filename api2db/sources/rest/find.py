"""Finding the records where nobody said where they are: the one list of objects of an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from api2db.errors import SourceError
from api2db.sources.rest.complaint import is_complaint, is_listed_complaint

_DEPTH: Final = 4
_SHOWN_KEYS: Final = 8
# Lists beside the records of many APIs, mostly empty, and never the records.
_COMPANIONS: Final = frozenset(("errors", "warnings", "messages"))
_MARKS: Final = re.compile(r"[\\.:]")


def find_records(body: object) -> str:
    """The path of the only list that may be the records, not looking into lists. Where all are empty, the first.

    Raises SourceError where there are several, naming them, or none: an error message must not become a row.
    """
    if isinstance(body, list):
        if is_listed_complaint(body):
            raise SourceError("the answer seems to be an error of the API's; if it is a record, say records=''")
        return _beside_a_head(body)
    if not isinstance(body, dict):
        raise SourceError(f"the answer is {kind_of(body)}, no records")
    lists = list(_lists(body, "", _DEPTH))
    filled = [path for path, items in lists if items]
    if len(lists) == 1 or (lists and not filled):
        return lists[0][0]
    if not lists:
        what = "it seems to be an error of the API's" if is_complaint(body) else "one record? Say records=''"
        raise SourceError(f"the answer is {kind_of(body)}, without a list of objects; {what}")
    names = ", ".join(repr(path) for path, _ in lists)
    raise SourceError(f"several lists of the answer may be the records: {names}; say which: records={filled[0]!r}")


def _beside_a_head(body: list[object]) -> str:
    """``[{"page": 1, "pages": 5}, [{…}, {…}]]``: the records are a list in the list."""
    lists = [number for number, item in enumerate(body) if not isinstance(item, dict)]
    if len(lists) != 1 or len(body) == 1:
        return ""
    items = body[lists[0]]
    return str(lists[0]) if isinstance(items, list) and all(isinstance(item, dict) for item in items) else ""


def escaped(key: str) -> str:
    """A key as a path has it."""
    return _MARKS.sub(r"\\\g<0>", key)


def kind_of(value: object) -> str:
    """A value as an error names it: never what is in it, but which fields it has."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        keys = [repr(str(key)[:40]) for key in list(value)[:_SHOWN_KEYS]]
        more = ", …" if len(value) > _SHOWN_KEYS else ""
        return f"an object with {', '.join(keys)}{more}" if keys else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), type(value).__name__)


def _lists(body: dict[str, object], prefix: str, depth: int) -> Iterator[tuple[str, list[object]]]:
    for key, value in body.items():
        path = prefix + escaped(key)
        if isinstance(value, list):
            if key not in _COMPANIONS and all(isinstance(item, dict) for item in value):
                yield path, value
        elif isinstance(value, dict) and depth > 1:
            yield from _lists(value, path + ".", depth - 1)

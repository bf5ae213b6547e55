"""Where in an answer the records are, and how that is written in a collector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api2db.errors import SourceError
from api2db.form.path import parse_path
from api2db.probing.fields import Sureness, escaped
from api2db.secret import redact
from api2db.sources.decoding.elements import Elements
from api2db.sources.rest.complaint import is_complaint
from api2db.sources.rest.find import find_records, kind_of
from api2db.sources.rest.records import At, HeaderRow, Keyed, Parallel, Select

_FEW = 3
"""So many lists of one length, or objects of like fields, are no coincidence."""
_SHOWN = 100
"""Characters of an answer that is no record."""
_FEEDS = ("rss.channel.item", "feed.entry")
"""Where RSS and Atom have their records, of which XML with a single one makes no list."""


@dataclass(frozen=True)
class Selection:
    """How the records of an answer are chosen.

    written   as ``records=`` takes it, as Python
    candidates  other lists that may be the records
    """

    select: Select
    written: str
    sureness: Sureness
    why: str
    candidates: tuple[str, ...] = ()

    def records(self, body: object) -> Sequence[Any]:
        """Raises SourceError."""
        return self.select(body)


def selection_of(body: object) -> Selection:
    """The selection that suits an answer best. Raises SourceError where nothing in it looks like records."""
    table = _header_table(body)
    if table is not None:
        return table
    if isinstance(body, Mapping):
        for found in (_parallel(body), _keyed(body)):
            if found is not None:
                return found
    nameless = _nameless_table(body)
    if nameless is not None:
        return nameless
    try:
        path = find_records(body)
    except SourceError as error:
        return _without_one_list(body, error)
    why = "the answer is a list" if not path else "the only list of objects in the answer"
    return Selection(At(path), _quoted(path), Sureness.SURE, why)


def _without_one_list(body: object, error: SourceError) -> Selection:
    lists = list(_object_lists(body, ""))
    if lists:
        longest = max(lists, key=lambda found: len(found[1]))[0]
        others = tuple(path for path, _ in lists if path != longest)
        return Selection(At(longest), _quoted(longest), Sureness.GUESS, "the longest of several lists", others)
    for path in _FEEDS if isinstance(body, Elements) else ():
        if isinstance(parse_path(path, ())[0].read(body, None), Mapping):
            return Selection(At(path), _quoted(path), Sureness.LIKELY, "the one entry of a feed")
    is_error = is_complaint(body) or (isinstance(body, Mapping) and "error" in {str(key).lower() for key in body})
    if isinstance(body, Mapping) and body and not is_error:
        return Selection(At(""), '""', Sureness.LIKELY, "the answer is one object: a record")
    if isinstance(body, Mapping) and body:
        shown = redact(json.dumps(body, ensure_ascii=False, default=str))
        raise SourceError(
            f"the answer is {kind_of(body)}, without a list of objects, and seems to be an error:"
            f" {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}"
        ) from None
    if body == {}:
        raise SourceError("the answer is an empty object: give an address that brings records") from None
    raise error


def _object_lists(value: object, path: str, depth: int = 4) -> list[tuple[str, list[Any]]]:
    if not isinstance(value, Mapping) or not depth:
        return []
    found: list[tuple[str, list[Any]]] = []
    for key, inner in value.items():
        here = f"{path}.{escaped(str(key))}" if path else escaped(str(key))
        if isinstance(inner, list) and inner and all(isinstance(item, Mapping) for item in inner):
            found.append((here, inner))
        else:
            found += _object_lists(inner, here, depth - 1)
    return found


def _header_table(body: object) -> Selection | None:
    """``[["time", "mag"], ["…", 1]]``, at the top or one step below."""
    for path, rows in _tables(body):
        names = rows[0]
        texts = all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)
        alike = all(len(row) == len(names) for row in rows)
        differs = any(not isinstance(value, str) for row in rows[1:] for value in row) or len(names) >= _FEW
        if names and texts and alike and differs:
            written = f"HeaderRow({_quoted(path)})" if path else "HeaderRow()"
            return Selection(HeaderRow(path), written, Sureness.LIKELY, "lists, the first of them names")
    return None


def _nameless_table(body: object) -> Selection | None:
    """``[[1700000000000, 1.5], [1700000060000, 1.6]]``, likewise, where there are no objects beside."""
    if _object_lists(body, ""):
        return None
    for path, rows in _tables(body):
        width = len(rows[0])
        plain = all(len(row) == width and not any(isinstance(value, (Mapping, list)) for value in row) for row in rows)
        if plain and width > 1 and any(isinstance(value, (int, float)) for value in rows[0]):
            names = tuple(f"column_{at}" for at in range(1, width + 1))
            said = f"columns=[{', '.join(map(_quoted, names))}]"
            written = f"HeaderRow({_quoted(path)}, {said})" if path else f"HeaderRow({said})"
            why = "lists without names: give the columns theirs, here and below"
            return Selection(HeaderRow(path, columns=names), written, Sureness.GUESS, why)
    return None


def _tables(body: object) -> list[tuple[str, list[list[Any]]]]:
    """Lists of lists, at the top or one step below."""
    inner = [(escaped(str(key)), value) for key, value in body.items()] if isinstance(body, Mapping) else []
    places = [("", body), *inner]
    return [
        (path, rows)
        for path, rows in places
        if isinstance(rows, list) and len(rows) >= 2 and all(isinstance(row, list) for row in rows)
    ]


def _parallel(body: Mapping[str, Any]) -> Selection | None:
    """``{"hourly": {"time": [1, 2], "temp": [20, 21]}}``, at the top or one step below."""
    places: list[tuple[str, Mapping[str, Any]]] = [("", body)]
    places += [(str(key), value) for key, value in body.items() if isinstance(value, Mapping)]
    for path, value in places:
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        lengths = {len(inner) for inner in lists}
        plain = not any(isinstance(item, (Mapping, list)) for inner in lists for item in inner)
        side_by_side = len(lists) >= 2 and len(lengths) == 1 and lengths != {0}
        if side_by_side and plain and (len(lists) >= _FEW or lengths != {1}):
            written = f"Parallel({_quoted(path)})" if path else "Parallel()"
            return Selection(Parallel(path), written, Sureness.LIKELY, f"{len(lists)} lists of one length")
    return None


def _keyed(body: Mapping[str, Any]) -> Selection | None:
    """``{"items": {"a": {...}, "b": {...}}}``: objects of like fields, at the top or one step below."""
    places: list[tuple[str, Mapping[str, Any]]] = [("", body)]
    places += [(str(key), value) for key, value in body.items() if isinstance(value, Mapping)]
    for path, value in places:
        inner = list(value.values())
        if len(inner) < _FEW or not all(isinstance(one, Mapping) and one for one in inner):
            continue
        common = set.intersection(*(set(one) for one in inner))
        every = set.union(*(set(one) for one in inner))
        if 2 * len(common) >= len(every):
            written = f"{path}.*" if path else "*"
            return Selection(Keyed(path), _quoted(written), Sureness.LIKELY, f"{len(inner)} objects of the same fields")
    return None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())

"""What stands around the records of an answer: where it says how much there is, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from api2db.errors import SourceError
from api2db.sources.rest.find import escaped
from api2db.sources.rest.paging.convention import Answered, value_at

ENVELOPES: Final = (
    *("", "meta.", "pagination.", "paging.", "page_info.", "pageInfo.", "info.", "metadata.", "page."),
    *("meta.page.", "meta.pagination.", "meta.results."),
)
"""Objects beside the records that tell of them."""
_DEPTH: Final = 5
# Of a list that has the records as one of its items, as the World Bank's.
_FIRST_ITEMS: Final = 4

Place = tuple[str, Mapping[str, Any]]
"""The path of an object, with a dot behind it, and the object."""


def places(answered: Answered) -> list[Place]:
    """The objects on the way to the records and their envelopes, the whole answer first; never a record.

    Of records that a function made of others, and where none came, the way isn't known: it is the answer's root.
    """
    record = _first_record(answered)
    return [
        (prefix + envelope, inner)
        for prefix, value in _way(answered.body, record)
        for envelope in ENVELOPES
        if isinstance(inner := value_at(value, envelope[:-1]) if envelope else value, dict) and inner is not record
    ]


def _way(body: object, record: object) -> list[Place]:
    if isinstance(body, dict):
        found = None if record is None else _way_in(body, "", record, _DEPTH)
        return list(_alone(body)) if found is None else found
    if not isinstance(body, list) or record is None:
        return []
    items = list(enumerate(body[:_FIRST_ITEMS]))
    if not any(isinstance(item, list) and item and item[0] is record for _, item in items):
        return []
    return [(f"{at}.", item) for at, item in items if isinstance(item, dict)]


def _way_in(value: object, prefix: str, record: object, depth: int) -> list[Place] | None:
    """None where the record isn't there."""
    if value is record or (isinstance(value, list) and value and value[0] is record):
        return []
    if not isinstance(value, dict) or not depth:
        return None
    for key, inner in value.items():
        found = _way_in(inner, f"{prefix}{escaped(str(key))}.", record, depth - 1)
        if found is not None:
            return [(prefix, value), *found]
    return None


def _alone(body: dict[str, Any]) -> Iterator[Place]:
    """The root, and below it what is alone, as an XML document's root element is."""
    prefix = ""
    for _ in range(_DEPTH):
        yield prefix, body
        if len(body) != 1:
            return
        [(key, inner)] = body.items()
        if not isinstance(inner, dict):
            return
        prefix, body = f"{prefix}{escaped(str(key))}.", inner


def _first_record(answered: Answered) -> object:
    try:
        return answered.records[0] if answered.count else None
    except SourceError:
        return None  # it isn't said which they are

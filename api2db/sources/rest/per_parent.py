"""Requests made from the records of another source: the orders of each account."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from api2db.errors import SourceError
from api2db.sources.context import PutOff
from api2db.sources.page import Page
from api2db.sources.rest.paging.convention import path_of
from api2db.sources.rest.quiet import Quiet
from api2db.sources.rest.walk import Plan, Walk

if TYPE_CHECKING:
    from api2db.sources.net.fetcher import Fetcher

log = logging.getLogger(__name__)

_PARENT: Final = "parent"  # the cursor of the parent's page that is worked on
_OF: Final = "of"  # whose children's page is next
_DONE: Final = "done"  # whose children are all there
_NEXT: Final = "next"


class Parent(Protocol):
    """Where parents' records come from."""

    def batches(self, cursor: Any) -> Iterator[tuple[Any, Sequence[Any], Any]]:
        """Page by page: the cursor before it, its records, the cursor after it."""


@dataclass
class _Place:
    """Where the next poll goes on, as cursors: as it was told last, and as far as all is asked for now."""

    told: Any
    reached: Any = None

    def __post_init__(self) -> None:
        self.reached = self.told

    @property
    def is_beyond(self) -> bool:
        return bool(self.reached != self.told)

    def tell(self, cursor: Any) -> None:
        self.told = self.reached = cursor


@dataclass(frozen=True)
class PerParent:
    """One poll of a request that is made for each record of a parent.

    fields   name -> path in the parent's record; each is a column of the child's rows too
    needed   those whose values are in the request
    plan     of the request that a parent's values make

    The cursor is how far the parent is read, and its record that is worked on: ``{"parent": …, "of": …, "next": …}``.
    A record that isn't found there again, since the parent has changed, has its page begun anew: nothing is left out.
    """

    parent: Parent
    fields: Mapping[str, str]
    needed: frozenset[str]
    plan: Callable[[Mapping[str, object]], Plan]
    fetcher: Callable[[], Fetcher]
    max_pages: int | None = None
    deadline_s: float | None = None

    def pages(self, cursor: Any) -> Iterator[Page]:
        """Raises SourceError, HttpError.

        However it ends early, the next poll goes on behind all that was asked for, whether it brought anything or not.
        """
        place = _Place(cursor or {})
        try:
            yield from self._pages(place)
        except PutOff:
            if place.is_beyond:
                yield Page(None, place.reached)
            raise
        if place.is_beyond:
            yield Page(None, place.reached)

    def _pages(self, place: _Place) -> Iterator[Page]:
        left = self.max_pages
        ends_s = None if self.deadline_s is None else time.monotonic() + self.deadline_s
        reached, is_first = dict(place.told), True
        after, quiet = reached.get(_PARENT), Quiet()
        for before, records, after in self.parent.batches(reached.get(_PARENT)):
            # Those that are alike in what is taken of them are one: their children are the same.
            parents = list({_identity(values): values for values in map(self._values, records)}.items())
            first = _first([name for name, _ in parents], reached)
            for number in range(first, len(parents)):
                name, values = parents[number]
                # Reading the parents may have taken all the time: one is asked about at each poll.
                if left == 0 or (ends_s is not None and not is_first and time.monotonic() >= ends_s):
                    return
                step = reached.get(_NEXT) if number == first and reached.get(_OF) == name else None
                plan = replace(
                    self.plan(values),
                    max_pages=left,
                    deadline_s=None if ends_s is None else max(ends_s - time.monotonic(), 0.0),
                )
                done = {_PARENT: before, _DONE: name} if number + 1 < len(parents) else _beyond(after)
                child: Any = {}
                for page in Walk(plan, self.fetcher(), {_NEXT: step} if step else {}).pages():
                    child = page.cursor
                    place.tell(done if not child else {_PARENT: before, _OF: name, _NEXT: child[_NEXT]})
                    yield Page(self.copied(values, page.records()), place.told)
                    quiet.broken()
                    left = left if left is None else left - 1
                if child:
                    return  # cut short by max_pages or deadline: the next poll goes on there
                place.reached, is_first = done, False
                if quiet.is_long and place.is_beyond:
                    place.tell(done)
                    yield Page(None, done)
                    quiet.broken()
            reached = {}
            place.reached = _beyond(after)
        # Where the parent was only cut short, or asks for what is new alone, the next poll goes on after it.
        place.reached = _beyond(after)

    def parents(self) -> dict[str, dict[str, object]]:
        """All of the parent's records, as they are filled in, by what tells them apart."""
        found = [self._values(record) for _, records, _ in self.parent.batches(None) for record in records]
        return {_told(values, self.needed): values for values in found}

    def _values(self, record: object) -> dict[str, object]:
        values = {name: path_of(path).read(record) for name, path in self.fields.items()}
        lacking = [name for name in self.needed if values[name] is None]
        if lacking:
            name = lacking[0]
            raise SourceError(
                f"a record of the parent has no {self.fields[name]!r}, which the request names {{{name}}}"
            )
        return values

    def copied(self, values: Mapping[str, object], records: Sequence[Any]) -> list[Any]:
        own = next((name for record in records for name in values if name in record), None)
        if own is not None:
            raise SourceError(
                f"the records have a field {own!r} of their own: take the parent's under another name,"
                f" parent_fields={{'parent_{own}': {self.fields[own]!r}}}"
            )
        return [{**values, **record} for record in records]


def _first(names: Sequence[str], reached: Mapping[str, Any]) -> int:
    """Where in a page of parents to go on."""
    for key, further in ((_OF, 0), (_DONE, 1)):
        name = reached.get(key)
        if name in names:
            return names.index(name) + further
        if name is not None:
            log.info("the parent's records have changed: the page that was worked on is begun anew")
    return 0


def _beyond(after: Any) -> Any:
    return {_PARENT: after} if after else {}


def _told(values: Mapping[str, object], needed: frozenset[str]) -> str:
    """What the request names of a parent's record, legibly."""
    told = [str(values[name]) for name in sorted(needed)]
    return told[0] if len(told) == 1 else json.dumps(told)


def _identity(values: Mapping[str, object]) -> str:
    return hashlib.blake2b(msgspec.json.encode(values, enc_hook=str), digest_size=8).hexdigest()

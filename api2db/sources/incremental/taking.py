"""One page of a stretch: which of its records are new, and how far they reach. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Final

from api2db.errors import SourceError
from api2db.sources.incremental.incremental import ASCENDING, NEWEST_FIRST, Incremental
from api2db.sources.incremental.known import Known
from api2db.sources.incremental.mark import Mark, UnderWay
from api2db.sources.incremental.values import Rank, Texts

CLOSED: Final = object()
"""A page to which no records are added."""


@dataclass(frozen=True)
class Taken:
    """What became of a page.

    records  the new ones, in the page's order
    mark     how far it is once they are accepted
    fresh    digest -> rank of those that may be seen again
    enough   the pages behind this one hold nothing new
    first    the page's first value, None without any
    is_old   it was asked for what is newer, and the API gave nothing but older records
    """

    records: Sequence[Any]
    mark: Mark
    fresh: Mapping[bytes, Rank]
    enough: bool
    first: Rank | None = None
    is_old: bool = False


def take(
    how: Incremental,
    mark: Mark,
    records: Sequence[Any],
    step: object,
    known: Known,
    ahead: Rank | None = None,
    open_at: object = CLOSED,
) -> Taken:
    """The next page of the stretch that is under way.

    step   where its pages go on, None after the last one
    ahead  the first value of the page before, of this poll
    open_at  the step of this page, if records may still be added to it: a later poll goes on there

    A record that holds nothing at the field is new each time. Raises SourceError where none holds anything, and where
    they aren't in the order that was said.
    """
    ranks = how.ranks(records)
    present = [rank for rank in ranks if rank is not None]
    if records and not present:
        raise SourceError(
            f"the incremental field {how.field!r} is in none of the {len(records):,} records of a page; give its path"
        )
    if isinstance(how.kind, Texts) and how.kind.opaque:
        return _opaque(how, mark, records, ranks, step, known, open_at)
    assert mark.under_way is not None
    _check_order(how, mark.under_way, present, ahead)
    reached = _reach(how, mark, present)
    stretch = replace(mark.under_way, top=_top(how, mark, present), reached=reached)
    stretch = _going_on(stretch, present, step, open_at)
    after = replace(mark, under_way=stretch)
    may_come_again = needed(how, after)
    rest = _Remainder(how, mark, known, may_come_again)
    new: Sequence[Any]
    if len(present) == len(records) and rest.has_only_new(present):
        new = records
        again = compress(zip(records, present, strict=True), map(may_come_again, present))
        rest.fresh = {how.digest(record, rank): rank for record, rank in again}
    else:
        new = [record for record, rank in zip(records, ranks, strict=True) if rank is None or rest.is_new(record, rank)]
    low = stretch.low
    enough = step is None or (how.order == NEWEST_FIRST and low is not None and bool(present) and present[-1] < low)
    # After the first poll pages that are sorted that way may end in what is known.
    is_asked = how.param is not None and low is not None and (mark.high is None or how.order != NEWEST_FIRST)
    is_old = is_asked and how.inclusive and bool(present) and max(present) < low
    first = present[0] if present else None
    return Taken(new, after.ended(how) if enough else after, rest.fresh, enough, first, is_old)


def needed(how: Incremental, mark: Mark) -> Callable[[Rank], bool]:
    """Whether a record of that rank may come again, so that it has to be known."""
    stretch = mark.under_way
    if stretch is None:
        bound = mark.oldest(how)
        return lambda rank: bound is None or rank >= bound
    again = stretch.again
    if again is not None and isinstance(how.kind, Texts) and how.kind.opaque:
        return lambda rank: True
    zone = mark.ended(how).oldest(how)
    reached, old = stretch.reached, stretch.old
    if zone is None:
        return lambda rank: True
    if how.order is not None:
        if reached is None:
            return lambda rank: True
        first, last = how.kind.alike(reached)
        if how.order == ASCENDING:
            return lambda rank: rank >= zone or rank >= first
        return lambda rank: rank >= zone or rank <= last
    if again is not None:
        zone = min(zone, again)
    return lambda rank: rank >= zone or (old is not None and rank <= old)


class _Remainder:
    """Of one page: what is left of it once what is known, or not asked for, is gone."""

    def __init__(self, how: Incremental, mark: Mark, known: Known, may_come_again: Callable[[Rank], bool]) -> None:
        stretch = mark.under_way
        assert stretch is not None
        self.fresh: dict[bytes, Rank] = {}
        self._how = how
        self._known = known
        self._low, self._to = stretch.low, stretch.to
        # What sorted pages had before this one: what moved while they were read comes with the next poll.
        self._after: Rank | None = None
        self._before: Rank | None = None
        if stretch.reached is not None and how.order == ASCENDING:
            self._after = how.kind.alike(stretch.reached)[0]
        elif stretch.reached is not None and how.order == NEWEST_FIRST:
            self._before = how.kind.alike(stretch.reached)[1]
        self._may_come_again = may_come_again

    def has_only_new(self, ranks: Sequence[Rank]) -> bool:
        """Most pages of a backfill: known without a look at each record."""
        first, last = min(ranks, default=None), max(ranks, default=None)
        if first is None:
            return True
        lows = (self._low, self._after)
        return (
            all(low is None or first >= low for low in lows)
            and (self._to is None or last < self._to)
            and (self._before is None or last <= self._before)
            and (self._known.largest is None or first > self._known.largest)
        )

    def is_new(self, record: Any, rank: Rank) -> bool:
        if (self._low is not None and rank < self._low) or (self._to is not None and rank >= self._to):
            return False
        if (self._after is not None and rank < self._after) or (self._before is not None and rank > self._before):
            return False
        again = self._may_come_again(rank)
        if not again and (self._known.largest is None or rank > self._known.largest):
            return True
        digest = self._how.digest(record, rank)
        if digest in self._known:
            return False
        if again:
            self.fresh[digest] = rank
        return True


def _check_order(how: Incremental, stretch: UnderWay, present: Sequence[Rank], ahead: Rank | None) -> None:
    if how.order is None:
        return
    where = None
    if not _is_sorted(how, present) and not _is_sorted(how, [how.kind.alike(rank)[0] for rank in present]):
        where = "the records of a page aren't"
    elif present and ahead is not None and _is_out_of_turn(how, stretch, present[0], ahead):
        where = "a page begins before the one that came before it: pages aren't"
    if where is not None:
        raise SourceError(
            f"{where} {how.order!r} by {how.field!r}, as Incremental says; ask the API to sort them, or leave order="
            " out"
        )


def _is_sorted(how: Incremental, ranks: Sequence[Rank]) -> bool:
    return ranks == sorted(ranks, reverse=how.order == NEWEST_FIRST)


def _is_out_of_turn(how: Incremental, stretch: UnderWay, first: Rank, ahead: Rank) -> bool:
    """Records that appeared meanwhile move those of the page before to this one: it begins no earlier."""
    begin, end = how.kind.alike(ahead)
    if how.order == ASCENDING:
        return bool(first < begin)
    # More than a page may have appeared on top since.
    newest = max((rank for rank in (stretch.top, stretch.at) if rank is not None), default=None)
    return bool(first > end) and newest is not None and bool(first <= newest)


def _top(how: Incremental, mark: Mark, present: Sequence[Rank]) -> Rank | None:
    """The largest value that isn't ahead of the clock.

    Of newest-first pages it stays that of the first: what is newer comes with the next poll.
    """
    assert mark.under_way is not None
    top, to, at = mark.under_way.top, mark.under_way.to, mark.under_way.at
    if how.order == NEWEST_FIRST and top is not None:
        return top
    inside = [rank for rank in present if (to is None or rank < to) and (at is None or rank <= at)]
    return max(inside if top is None else [*inside, top], default=None)


def _reach(how: Incremental, mark: Mark, present: Sequence[Rank]) -> Rank | None:
    assert mark.under_way is not None
    reached = mark.under_way.reached
    if how.order is None or not present:
        return reached
    last = present[-1]
    if reached is None:
        return last
    return max(reached, last) if how.order == ASCENDING else min(reached, last)


def _going_on(stretch: UnderWay, present: Sequence[Rank], step: object, open_at: object) -> UnderWay:
    if open_at is CLOSED:
        return replace(stretch, step=step, again=None)
    # Of a page that is as it was nobody looks at the records: none is before what was asked for.
    return replace(stretch, step=open_at, again=min(present, default=stretch.low))


def _opaque(
    how: Incremental,
    mark: Mark,
    records: Sequence[Any],
    ranks: Sequence[Rank | None],
    step: object,
    known: Known,
    open_at: object,
) -> Taken:
    """Nothing is compared: the last record's value is where to go on, and those with that value may come again."""
    assert mark.under_way is not None
    last = next((rank for rank in reversed(ranks) if rank is not None), mark.under_way.top)
    stretch = replace(mark.under_way, top=last, reached=last)
    stretch = _going_on(stretch, [rank for rank in ranks if rank is not None], step, open_at)
    after = replace(mark, under_way=stretch)
    new, fresh = [], {}
    for record, rank in zip(records, ranks, strict=True):
        digest = how.digest(record, rank)
        if digest in known:
            continue
        new.append(record)
        if rank is not None and (rank == last or open_at is not CLOSED):
            fresh[digest] = rank
    return Taken(new, after.ended(how) if step is None else after, fresh, step is None)

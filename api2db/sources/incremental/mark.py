"""How far one partition has been read: what a cursor holds of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from api2db.errors import SourceError
from api2db.sources.incremental.incremental import ASCENDING, Incremental
from api2db.sources.incremental.times import SECOND_US
from api2db.sources.incremental.values import Rank

# A window is closed for good only once it is that old: the API's clock isn't ours.
_SKEW_US = 600 * SECOND_US
_RANKS = ("low", "to", "at", "top", "reached", "old", "again")
_MARKS = ("floor", "high", "begin")
_UNDER_WAY = "walk"  # as cursors are kept that have it


@dataclass(frozen=True)
class UnderWay:
    """One stretch whose pages are under way.

    low, to  what was asked for: from ``low`` on, before ``to``; None: no bound
    at       when it was begun: no row's value counts as reached beyond that; None without a clock
    top      the largest value among its rows so far that isn't beyond ``at``
    reached  in ordered ones: the value of the last row so far
    old      the largest value of a row that was known when it began
    step     where its pages go on; None: at the first
    again    the page there was accepted, and is asked for again, since records may be added to it: the smallest value
             that it had; None: it wasn't
    """

    low: Rank | None = None
    to: Rank | None = None
    at: Rank | None = None
    top: Rank | None = None
    reached: Rank | None = None
    old: Rank | None = None
    again: Rank | None = None
    step: object = None


@dataclass(frozen=True)
class Mark:
    """What is final, what is read, and what is being read.

    floor      all before it is accepted for good, whatever comes late
    begin      where a person had it begin, other than at ``start``
    high       the largest value among rows of stretches read to their end
    under_way  the stretch under way, if there is one
    """

    floor: Rank | None = None
    high: Rank | None = None
    under_way: UnderWay | None = None
    begin: Rank | None = None

    def bound(self, how: Incremental) -> Rank | None:
        """Where the next stretch begins: rows before it are final. As the API can be told it."""
        if self.high is None:
            return self.floor
        if _opaque(how):
            return self.high
        behind = self.high if how.lag_width is None else how.kind.back(self.high, how.lag_width)
        bound = how.kind.told(behind)
        return bound if self.floor is None else max(self.floor, bound)

    def ended(self, how: Incremental) -> Mark:
        """The mark once its stretch is over."""
        stretch = self.under_way
        assert stretch is not None
        if stretch.top is None:
            high = self.high
        else:
            high = stretch.top if self.high is None or _opaque(how) else max(stretch.top, self.high)
        return Mark(self.floor if stretch.to is None else stretch.to, high, begin=self.begin)

    def oldest(self, how: Incremental) -> Rank | None:
        """Nothing before it is ever asked for again, also where the clock turns out to have been ahead."""
        return self._past(how, None).bound(how)

    def _past(self, how: Incremental, now_us: int | None) -> Mark:
        """Without the windows that were closed ahead of ``now_us``, of all where that is None: the clock was wrong."""
        if how.window_width is None or self.floor is None or (now_us is not None and self.floor <= now_us):
            return self
        return replace(self, floor=how.start_rank if self.begin is None else self.begin)

    def begun(self, how: Incremental, now_us: int, old: Rank | None) -> Mark:
        """The mark with its next stretch begun at ``now_us``. Nothing more is there to ask once that is open ended."""
        at = now_us if how.kind.clocked else None
        mark = self._past(how, now_us)
        low, to = mark.bound(how), None
        if how.window_width is not None and low is not None:
            end = how.kind.told(low + how.window_width)
            if end <= low:
                # A window ends in no hour that comes twice, and on no day that is longer than itself.
                end = how.kind.onward(low + how.window_width)
            if end <= now_us - max(how.lag_width or 0, _SKEW_US):
                to = end
        return replace(mark, under_way=UnderWay(low, to, at, old=old))

    def without_step(self, how: Incremental) -> Mark:
        """The mark with its stretch from the first page on, for an API that doesn't know the step any more.

        Of ordered pages what is accepted isn't delivered again; of others it is.
        """
        assert self.under_way is not None
        stretch = replace(self.under_way, step=None)
        if how.order == ASCENDING and stretch.reached is not None:
            reached = how.kind.told(stretch.reached)
            # What an API gives that isn't asked for may lie far before what was asked for.
            is_further = stretch.low is None or _opaque(how) or reached > stretch.low
            stretch = replace(stretch, low=reached if is_further else stretch.low)
        return replace(self, under_way=stretch)

    def kept(self, how: Incremental) -> dict[str, Any]:
        """As JSON holds it."""
        put = how.kind.kept
        made: dict[str, Any] = {}
        for name in _MARKS:
            value = getattr(self, name)
            if value is not None:
                made[name] = put(value)
        if self.under_way is not None:
            stretch = {name: put(value) for name in _RANKS if (value := getattr(self.under_way, name)) is not None}
            if self.under_way.step is not None:
                stretch["step"] = self.under_way.step
            made[_UNDER_WAY] = stretch
        return made

    @classmethod
    def taken(cls, how: Incremental, kept: object) -> Mark:
        """``kept``, back; a value alone is where somebody has the source begin. Raises SourceError, ConfigError."""
        if kept is None:
            return cls(floor=how.start_rank)
        if not isinstance(kept, dict):
            return cls(floor=how.at(kept), begin=None if how.window_width is None else how.at(kept))
        if "parts" in kept:
            raise SourceError("the cursor is one of partitions: begin again with api2db reset")
        try:
            stretch = kept.get(_UNDER_WAY)
            ranks = (
                {} if stretch is None else {name: how.kind.taken(stretch[name]) for name in _RANKS if name in stretch}
            )
            marks = {name: how.kind.taken(kept[name]) for name in _MARKS if name in kept}
            return cls(**marks, under_way=None if stretch is None else UnderWay(**ranks, step=stretch.get("step")))
        except (ValueError, TypeError, AttributeError) as error:
            raise SourceError(
                f"the cursor isn't one of {how.field!r} ({error}): the field, or its kind, was changed;"
                " begin again with api2db reset, or go on from a value with api2db reset --to VALUE"
            ) from error


def _opaque(how: Incremental) -> bool:
    return bool(getattr(how.kind, "opaque", False))

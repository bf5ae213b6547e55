"""One poll: its stretches, partition by partition, and the cursor after each page. Knows no HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api2db.errors import SourceError
from api2db.sources.incremental.incremental import Incremental
from api2db.sources.incremental.mark import Mark
from api2db.sources.incremental.seen import Seen
from api2db.sources.incremental.taking import CLOSED, needed, take
from api2db.sources.incremental.values import Rank

_SINGLE = ""
_NAMED = 5


@dataclass(frozen=True)
class Stretch:
    """What to ask for.

    params     as text, beside the request's own
    step       where its pages go on, as the page before said; None: at the first
    partition  the value it is of; "" without partitions
    is_once    it is the first, or all past: nothing of it was asked for before
    is_again   the page at ``step`` was accepted: what was added to it since is new
    """

    params: dict[str, str]
    step: Any
    partition: str
    is_once: bool = False
    is_again: bool = False


@dataclass(frozen=True)
class Fresh:
    """A page's new records, and the cursor to accept with them.

    moved   False: there is nothing to accept, neither a record nor a cursor
    enough  the stretch ends here
    is_old  all of the page is older than what was asked for
    """

    records: Sequence[Any]
    cursor: dict[str, Any]
    moved: bool
    enough: bool
    is_old: bool = False


class Progress:
    """Where a source goes on from ``cursor``. One thread.

    ::

        for stretch in progress.stretches():
            for records, step in pages(stretch.params, stretch.step):    # step: of the page behind; None: the last one
                fresh = progress.take(records, step)
                if fresh.moved:
                    yield Page(fresh.records, fresh.cursor)
                    progress.accepted()
                if fresh.enough:
                    break

    cursor   JSON: what the page accepted last carried; None at first; a single value: begin there
    folder   where records that may come again are kept, ``name``'s; None: in the cursor
    parted   partitions are given to ``stretches``
    key      paths that tell one record from another
    now_us   the clock: microseconds since 1970

    A killed poll's stretch goes on at its step; once it is over the next one is begun, as if nothing had happened.
    Raises SourceError, ConfigError.
    """

    def __init__(
        self,
        how: Incremental,
        cursor: object,
        *,
        folder: Path | None = None,
        name: str = "",
        parted: bool = False,
        key: Sequence[str] = (),
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._how = how.keyed(key) if key else how
        self._now_us = now_us
        held: dict[str, Any] = cursor if isinstance(cursor, dict) else {}
        self._seen = Seen(folder, name, held.get("seen"))
        self._parted = parted or how.partitions is not None
        self._everywhere = None if isinstance(cursor, dict) else cursor
        self._marks = _marks(how, cursor, parted=self._parted)
        self._part = str(held.get("part", _SINGLE))
        self._accepted = self._cursor()
        self._given = self._accepted
        self._parts: list[str] = []
        self._before: Mark | None = None  # of the partition under way, without its stretch
        self._is_taken = self._is_over = self._begins_again = self._is_ended = False
        self._failure: SourceError | None = None
        self._first: Rank | None = None  # value of the page before

    def stretches(self, partitions: Sequence[str] | None = None) -> Iterator[Stretch]:
        """What to ask for, one after the other. The pages of each are to be taken before the next is asked for.

        partitions   those there are now; by default those declared

        A partition of which ``failed`` was told is left where it is, and the others go on; its cause is raised then.
        """
        failures: dict[str, SourceError] = {}
        self._parts = self._in_turn(self._how.partitions if partitions is None else partitions)
        if self._parted and self._everywhere is not None:
            self._marks |= {part: Mark.taken(self._how, self._everywhere) for part in self._parts}
        for part in self._parts:
            self._part = part
            for stretch in self._of_part(part):
                yield stretch
                self._put_back()
                if self._failure is not None:
                    failures[part], self._failure = self._failure, None
                    break
                if self._is_ended:
                    break
            if self._is_ended:
                break
        if failures:
            part, error = next(iter(failures.items()))
            if part == _SINGLE:
                raise error
            raise SourceError(
                f"{len(failures)} of {len(self._parts)} partitions failed ({_listed(failures)}), the others went on;"
                f" {part}: {error}"
            ) from error

    def take(self, records: Sequence[Any], step: object, *, open_at: object = CLOSED) -> Fresh:
        """The next page of the stretch; ``step``: JSON, where the page behind it is, None if it is the last one.

        open_at   the step of this page, if records may still be added to it: whoever is killed goes on there

        What may come again is on disk when this returns. Raises SourceError; after UnwrittenError nothing more is to be
        taken, of other partitions neither.
        """
        part = self._part
        known = self._seen.known(part)
        taken = take(self._how, self._marks[part], records, step, known, self._first, open_at)
        self._first = taken.first if taken.first is not None else self._first
        self._marks[part], self._is_taken = taken.mark, True
        self._is_over = taken.enough
        self._seen.keep(part, taken.fresh, needed(self._how, taken.mark))
        cursor = self._cursor()
        moved = bool(taken.records) or _without_part(cursor) != _without_part(self._accepted)
        self._given = cursor if moved else self._given
        return Fresh(taken.records, cursor, moved, taken.enough, taken.is_old)

    def accepted(self) -> None:
        """What ``take`` gave last is accepted."""
        self._accepted = self._cursor()
        self._seen.accepted()

    def failed(self, error: SourceError) -> None:
        """The stretch under way can't go on; what was accepted of it stays."""
        self._failure = error

    def lost_step(self) -> None:
        """The API doesn't know the step of the stretch under way any more: it comes again, from its first page."""
        self._marks[self._part] = self._marks[self._part].without_step(self._how)
        self._is_taken = self._begins_again = True

    @property
    def is_midway(self) -> bool:
        """Is some of the stretch under way taken, and more of it to be asked for?"""
        return self._is_taken and not self._is_over and self._failure is None

    @property
    def is_first(self) -> bool:
        """Is the partition under way the one that the poll began with?"""
        return self._part == self._parts[0]

    def turn(self, *, moves_on: bool) -> dict[str, Any] | None:
        """The cursor by which a poll that ends early has the next one begin with whose turn it is then.

        moves_on  that is the partition behind the one under way, and not this

        None where the cursor that ``take`` gave last says it already.
        """
        self._put_back()
        if not self._parted:
            return None
        at = self._parts.index(self._part) + moves_on
        cursor = {**self._cursor(), "part": self._parts[at % len(self._parts)]}
        if cursor == self._given:
            return None
        self._given = cursor
        return cursor

    def end(self) -> None:
        """No more is asked for by this poll: ``stretches`` comes to its end."""
        self._is_ended = True

    def _put_back(self) -> None:
        """A stretch of which nothing was taken wasn't begun: the next poll begins it, at its own time."""
        if self._is_taken:
            return
        if self._before is None:
            self._marks.pop(self._part, None)
        else:
            self._marks[self._part] = self._before

    def _in_turn(self, partitions: Sequence[object] | None) -> list[str]:
        """From that on whose turn it is."""
        if partitions is None:
            return [_SINGLE]
        parts = [str(part) for part in partitions]
        at = parts.index(self._part) if self._part in parts else 0
        return parts[at:] + parts[:at]

    def _of_part(self, part: str) -> Iterator[Stretch]:
        while True:
            self._before, self._is_taken = self._marks.get(part), False
            mark = self._before or Mark.taken(self._how, None)
            goes_on = mark.under_way is not None
            if not goes_on:
                mark = mark.begun(self._how, self._now_us(), self._seen.known(part).largest)
            self._marks[part] = mark
            under_way = mark.under_way
            assert under_way is not None
            self._is_over, self._first = False, None
            until = under_way.to if under_way.to is not None else under_way.at
            yield Stretch(
                self._how.params(under_way.low, until, part),
                under_way.step,
                part,
                under_way.to is not None or mark.high is None,
                goes_on and under_way.again is not None,
            )
            if self._begins_again:
                self._begins_again = False
                continue
            if not self._is_over or not (goes_on or under_way.to is not None):
                return

    def _cursor(self) -> dict[str, Any]:
        marks = {part: mark.kept(self._how) for part, mark in self._marks.items()}
        cursor: dict[str, Any] = {"parts": marks, "part": self._part} if self._parted else marks.get(_SINGLE, {})
        if self._seen.in_cursor is not None:
            cursor["seen"] = self._seen.in_cursor
        return cursor


def _marks(how: Incremental, cursor: object, *, parted: bool) -> dict[str, Mark]:
    if not parted:
        return {_SINGLE: Mark.taken(how, cursor or None)}
    if not cursor or not isinstance(cursor, dict):
        return {}
    parts = cursor.get("parts")
    if not isinstance(parts, dict):
        raise SourceError("the cursor knows of no partitions: begin again with api2db reset")
    return {str(part): Mark.taken(how, kept) for part, kept in parts.items()}


def _without_part(cursor: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cursor.items() if name != "part"}


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:_NAMED]) + (", …" if len(found) > _NAMED else "")

"""Pages of what is new: an ``Incremental``'s stretches, each a paged request of its own."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import ConfigError, SourceError
from api2db.sources.context import POLL, PollContext, PutOff, Stopping
from api2db.sources.incremental.incremental import NEWEST_FIRST, Incremental
from api2db.sources.incremental.progress import Fresh, Progress, Stretch
from api2db.sources.incremental.seen import UnwrittenError
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.page import NO_CURSOR, Forms, RestPage
from api2db.sources.rest.paging.convention import OPEN, keeps
from api2db.sources.rest.quiet import Quiet
from api2db.sources.rest.refused import StepRefused
from api2db.sources.rest.walk import Plan, Walk
from api2db.sources.tape.recorder import is_played

if TYPE_CHECKING:
    from api2db.sources.net.fetcher import Fetcher

log = logging.getLogger(__name__)

_SINCE: Final = "since"
_KEPT: Final = "incremental"
_SEEN: Final = "seen"
_SHOWN_WHERE: Final = 200  # characters, in the status
# Collector and request about which it was said once that the API gives older records than it is asked for.
_told_old: set[tuple[str, str]] = set()


@dataclass
class SinceWalk:
    """One poll of a plan that asks for what is new, in one thread.

    plan     its limits are those of the poll
    of       partition -> its request; ``plan`` for all by default
    cursor   where to go on: ``{"since": …}``, or a single value to begin at
    certain  each page is accepted before the next is asked for, so that a page without news may be left out
    parted   ``pages`` is given the partitions
    """

    how: Incremental
    plan: Plan
    fetcher: Fetcher
    cursor: Any
    of: Callable[[str], Plan] | None = None
    certain: bool = False
    parted: bool = False
    _forms: Forms = field(default_factory=dict)
    _left: int | None = None
    _ends_s: float | None = None
    _has_moved: bool = False
    _is_cursor_taken: bool = False

    def pages(self, partitions: Sequence[str] | None = None) -> Iterator[tuple[str, RestPage]]:
        """Partition and page; what isn't new is left out of each.

        Raises SourceError, HttpError; those of one partition once the others are through.
        """
        context = POLL.get() or PollContext()
        if context.kept.setdefault(_KEPT, self) is not self:
            raise ConfigError("two Incremental in one poll: make a collector for each")
        if not self.certain:
            context.ends.append(self._check_cursor)
        if keeps(self.plan.paging):
            raise ConfigError("keep= and an Incremental both say where the next poll begins: leave one of them out")
        if context.whole:
            raise ConfigError("each poll replaces the table, and an Incremental brings what is new alone: give key=")
        progress = Progress(
            self.how,
            self._held(context),
            folder=None if is_played() else context.seen,
            name=context.collector,
            parted=self.parted,
            key=self.plan.key or (context.key if all(map(str.isidentifier, context.key)) else ()),
            # Of one poll one time: played back, it asks what it asked.
            now_us=lambda: context.started_ns // 1000,
        )
        self._left = self.plan.max_pages
        self._ends_s = None if self.plan.deadline_s is None else time.monotonic() + self.plan.deadline_s
        quiet = Quiet()
        for stretch in progress.stretches(partitions):
            context.reached(_where(stretch))
            try:
                for page in self._stretch(stretch, progress, context):
                    yield stretch.partition, page
                    quiet.broken()
            except Stopping:
                raise
            except PutOff as error:
                # One that is refused at each poll, by itself, isn't what all others wait for.
                moves_on = error.is_answer and progress.is_first and not progress.is_midway
                yield from self._turned(stretch, progress, moves_on=moves_on)
                raise
            except SourceError as error:
                if not stretch.partition or _concerns_all(error):
                    raise
                progress.failed(error)
            if self._is_spent() or quiet.is_long:
                yield from self._turned(stretch, progress, moves_on=not progress.is_midway)
                quiet.broken()
            if self._is_spent():
                progress.end()

    def _turned(self, stretch: Stretch, progress: Progress, *, moves_on: bool) -> Iterator[tuple[str, RestPage]]:
        """A page without rows, where it takes one to say whose turn it is next."""
        cursor = progress.turn(moves_on=moves_on)
        if cursor is not None:
            page = Walk(self.plan, self.fetcher, _forms=self._forms).standing_for({_SINCE: cursor})
            page.on_cursor = self._cursor_taken
            yield stretch.partition, page

    def _held(self, context: PollContext) -> Any:
        """What the cursor holds; played back, with the records that polls of before brought this time."""
        held = held_in(self.cursor)
        if not is_played() or not isinstance(held, dict):
            return held
        rest = {name: value for name, value in held.items() if name != _SEEN}
        return {**rest, _SEEN: context.state[_SEEN]} if _SEEN in context.state else rest

    def _stretch(self, stretch: Stretch, progress: Progress, context: PollContext) -> Iterator[RestPage]:
        plan = self.plan if self.of is None else self.of(stretch.partition)
        plan = replace(
            plan,
            first=asked(plan.first, self.how, stretch.params),
            max_pages=self._left,
            deadline_s=None if self._ends_s is None else max(self._ends_s - time.monotonic(), 0.0),
            # Of pages that are gone on with the first ones are missing.
            conditional=plan.conditional and stretch.step is None and not stretch.is_once,
        )
        cursor = {} if stretch.step is None else {"next": stretch.step}
        walk = Walk(plan, self.fetcher, cursor, tells_nothing=True, is_again=stretch.is_again, _forms=self._forms)
        taken: list[Fresh] = []
        pages = walk.onward()
        while (page := self._next(pages, progress)) is not None:
            page.sift(self._sifter(progress, taken, context, page.step))
            page.on_cursor = self._cursor_taken
            was_accepted = stretch.is_again and page.step == (stretch.step or {})
            if self._left is not None and page.answer is not None and not was_accepted:
                self._left -= 1
            before = len(taken)
            looked_at = self.certain or page.answer is None
            if looked_at:
                page.records()
            if not looked_at or taken[-1].moved:
                yield page
            if len(taken) == before:
                page.records()  # nobody looked at it
            elif self.certain and taken[-1].moved:
                progress.accepted()
            if taken[-1].enough:
                page.ends = True
                next(pages, None)  # that there is nothing behind it is remembered with the answer
                return

    def _next(self, pages: Iterator[RestPage], progress: Progress) -> RestPage | None:
        try:
            return next(pages, None)
        except StepRefused as error:
            log.warning("%s was refused where it was (%s): its stretch is begun anew", self.plan.first, error)
            progress.lost_step()
            return None

    def _sifter(
        self, progress: Progress, taken: list[Fresh], context: PollContext, own: Any
    ) -> Callable[[Sequence[Any], Any], tuple[Sequence[Any], Any]]:
        def sift(records: Sequence[Any], cursor: Any) -> tuple[Sequence[Any], Any]:
            onward = cursor.get("next") if cursor else None
            # Of newest-first pages the last one is filled by those before it, and these are read.
            is_open = onward and onward.get(OPEN) and self.how.order != NEWEST_FIRST
            fresh = progress.take(records, onward, open_at=own or None) if is_open else progress.take(records, onward)
            taken.append(fresh)
            self._has_moved = self._has_moved or fresh.moved
            if fresh.is_old:
                self._tell_old(context.collector)
            if is_played():
                context.state[_SEEN] = fresh.cursor.get(_SEEN)
            return fresh.records, {_SINCE: fresh.cursor}

        return sift

    def _tell_old(self, collector: str) -> None:
        about = (collector, str(self.plan.first))
        if about not in _told_old:
            _told_old.add(about)
            log.warning(
                "%s: all records of a page are older than what was asked for, and are left out; check the unit of"
                " Incremental(%r), and whether %r asks for what is newer: if the API can't be asked, give param=None",
                self.plan.first, self.how.field, self.how.param,
            )  # fmt: skip

    def _cursor_taken(self) -> None:
        self._is_cursor_taken = True

    def _check_cursor(self) -> None:
        """Raises SourceError where nobody keeps how far things are: each poll would bring the same."""
        if self._has_moved and not self._is_cursor_taken:
            raise SourceError(
                f"{self.plan.first}: there are new records, and the cursor after them wasn't yielded, so that the next"
                " poll would bring them again: yield page.rows(...), or Page(rows, page.cursor)"
            )

    def _is_spent(self) -> bool:
        return self._left == 0 or (self._ends_s is not None and time.monotonic() >= self._ends_s)


def held_in(cursor: Any) -> Any:
    """What the cursor of a source holds for its Incremental. Raises ConfigError where there is none."""
    if cursor is NO_CURSOR:
        raise ConfigError("an Incremental goes on from a cursor: give cursor=, what the collector's function is handed")
    if not isinstance(cursor, dict):
        return cursor
    if cursor and _SINCE not in cursor:
        raise SourceError("the cursor isn't one of an Incremental: begin again with api2db reset")
    return cursor.get(_SINCE)


def taken_out(
    params: Mapping[str, object], incremental: Incremental | None
) -> tuple[dict[str, object], Incremental | None]:
    """The parameters without the one that an Incremental stands for, and that, knowing its name. Raises ConfigError."""
    found = {name: value for name, value in params.items() if isinstance(value, Incremental)}
    if len(found) + (incremental is not None) > 1:
        raise ConfigError("two Incremental in one request: one says what is new")
    for name, how in found.items():
        if how.param is not None:
            raise ConfigError(
                f"Incremental({how.field!r}) is the value of {name!r} and has a param= too: leave that out"
            )
        incremental = replace(how, param=name)
    return {name: value for name, value in params.items() if name not in found}, incremental


def asked(first: Ask, how: Incremental, params: Mapping[str, str]) -> Ask:
    """The request of a stretch."""
    if how.sent_in == "params":
        return replace(first.with_params(**params), bounds=frozenset(params))
    fields: dict[str, Any] = dict(params)
    for name in params:
        if name == how.partition_param:
            fields[name] = how.partition(params[name])
        elif how.sends_numbers:
            fields[name] = json.loads(params[name])
    return first.with_fields(**fields)


def _where(stretch: Stretch) -> str:
    asked = " ".join(f"{name}={value}" for name, value in stretch.params.items())
    own = "" if stretch.partition in stretch.params.values() else stretch.partition
    return f"{own} {asked}".strip()[:_SHOWN_WHERE]


def _concerns_all(error: SourceError) -> bool:
    """Is it the API that can't be reached, or STORE that can't be written to, and not what was answered?"""
    from api2db.sources.http import HttpError

    return isinstance(error, UnwrittenError) or (isinstance(error, HttpError) and error.response is None)

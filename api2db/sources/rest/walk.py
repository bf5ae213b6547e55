"""From page to page: one request after the other, each asked for when the one before was taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import ConfigError, SourceError
from api2db.sources.context import POLL, PutOff
from api2db.sources.rest import heeded
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.headers import Headers, without_names
from api2db.sources.rest.page import NO_CURSOR, Forms, RestPage
from api2db.sources.rest.paging import Answered, Paging, Step
from api2db.sources.rest.paging.convention import keeps
from api2db.sources.rest.quiet import Quiet
from api2db.sources.rest.records import Found, Select
from api2db.sources.rest.refused import (
    UNKNOWN_STEP,
    StepRefused,
    begun_anew,
    check_error,
    check_unfound,
    note_unfound,
    status_of,
    unless_refused,
)
from api2db.sources.rest.repeats import Repeats
from api2db.sources.rest.turn import Turn
from api2db.sources.tape.recorder import is_played

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.net.fetcher import Fetched, Fetcher

log = logging.getLogger(__name__)

_NEXT: Final = "next"  # of a cursor
# Requests known by their identity, so that a loop is seen; a longer loop is seen a round later.
_MOST_ASKED: Final = 100_000
_LOST: Final = object()
_told: set[str] = set()  # collectors of which it was said that they don't read pages to their end


@dataclass(frozen=True)
class Plan:
    """A paged request as declared.

    key          the fields of a record that identify it: what the page before had isn't delivered again
    max_pages    of one poll
    deadline_s   of one poll, beyond which no further page is asked for
    ignore       statuses that mean that there is nothing; 204 always does
    """

    first: Ask
    paging: Paging
    select: Select
    decode: Callable[[Answer], object]
    key: tuple[str, ...] = ()
    max_pages: int | None = None
    deadline_s: float | None = None
    conditional: bool = True
    ignore: tuple[int, ...] = ()


@dataclass
class Walk:
    """One poll of a plan, in one thread.

    cursor  where to go on, ``{"next": step}``; with nothing in it: at the start. NO_CURSOR: none is kept
    tells_nothing  a status that means that there is nothing is a page without records, too
    is_again  the first page was accepted before: it counts for no limit, or none would get beyond it
    """

    plan: Plan
    fetcher: Fetcher
    cursor: Any = NO_CURSOR
    tells_nothing: bool = False
    is_again: bool = False
    _asked: set[str] = field(default_factory=set)
    _forms: Forms = field(default_factory=dict)
    _headers: Headers = field(default_factory=Headers)
    _recalled: set[str] = field(default_factory=set)  # requests whose answers were unchanged, and told what comes next
    _most: int = 0  # records that a page had
    _is_anew: bool = False  # what they told wasn't known any more

    def __post_init__(self) -> None:
        self._told = self.cursor  # what was kept, also where it is begun anew

    def pages(self) -> Iterator[RestPage]:
        """Each answer that brought something new, and at the end one without rows if only the cursor has moved.

        Also where the end is that the poll is put off, and where much is unchanged: the next one goes on behind that.
        A cursor that the API doesn't take any more begins anew, once. Raises SourceError, HttpError.
        """
        self._check_kept()
        try:
            yield from self.onward()
            return
        except StepRefused as error:
            log.warning("%s", begun_anew(self.plan.first, error))
        self.cursor, self._headers = {}, Headers()
        self._asked.clear()
        yield from self.onward()

    def onward(self) -> Iterator[RestPage]:
        """The same. Raises StepRefused, too, where the API doesn't take the cursor."""
        plan, told = self.plan, self._told
        kept: Step | None = None
        step: Step | None = step_of(self.cursor)
        ends_s = None if plan.deadline_s is None else time.monotonic() + plan.deadline_s
        repeats = Repeats(plan.key)
        number, recalled, is_nothing = -1 if self.is_again else 0, False, False
        is_resumed = bool(step)
        last: Step | None = None  # which page it was that says what is next
        quiet, is_ahead = Quiet(), False  # ahead of the cursor that was told last: there are unchanged pages between
        while step is not None and number != plan.max_pages:
            if ends_s is not None and number > 0 and time.monotonic() >= ends_s:
                self._cut_short(number)
                break
            self._headers.go_on(step)
            ask = plan.paging.ask(plan.first, without_names(step))
            if is_resumed:
                check_unfound(ask)
            self._remember(ask)
            try:
                last, fetched = step, self._fetch(ask, step, recalled=recalled, is_resumed=is_resumed)
            except PutOff:
                if is_ahead and self._is_beyond(told, step):
                    yield self._empty(step, last)
                raise
            number += 1
            recalled = False
            if fetched is _LOST:
                step, repeats = step_of(self.cursor), Repeats(plan.key)
                is_resumed, is_ahead = bool(step), False
                continue
            elif fetched is None:
                kept = step if keeps(plan.paging) else None
                step, is_nothing = None, self.tells_nothing
            elif fetched.answer is None:
                self._recalled.add(ask.identity())
                remembered = fetched.memo[heeded.NEXT]
                step = self._step_now(ask, step, fetched, repeats)
                recalled = step == remembered
                is_ahead = True
            elif fetched.answer.status_code == HTTPStatus.NO_CONTENT:
                kept = step if keeps(plan.paging) else None
                step, is_nothing = None, self.tells_nothing
                fetched.remember({heeded.NEXT: step})
            else:
                turn = self._turn(ask, step, fetched.answer, repeats, is_resumed=is_resumed)
                if not turn.is_repeated:
                    yield turn.page
                    quiet.broken()
                number -= turn.is_repeated
                told, is_ahead = turn.cursor(), False
                step = None if turn.page.ends else turn.next
                kept = None if step is not None else turn.kept
                fetched.remember(self._memo(turn, step, is_sure=turn.page.ends))
                repeats.turn(turn.page.again())
                del turn
            is_resumed = False
            del fetched  # no page is held while the next one is fetched
            if is_ahead and quiet.is_long and step is not None and self._is_beyond(told, step):
                told, is_ahead = self.cursor_after(step), False
                yield self._empty(step, last)
                quiet.broken()
        after = kept if step is None else step
        if is_nothing or self._is_beyond(told, after):
            yield self._empty(after, last)

    def asked_before(self, ask: Ask) -> bool:
        return ask.identity() in self._asked

    def with_names(self, step: Step | None) -> Step | None:
        return self._headers.onto(step)

    def cursor_after(self, step: Step | None) -> Any:
        if self.cursor is NO_CURSOR:
            return NO_CURSOR
        return {} if step is None else {_NEXT: step}

    def _is_beyond(self, told: Any, step: Step | None) -> bool:
        """Is that another place to go on than the cursor that was handed out last says?"""
        return told is not NO_CURSOR and (told or {}) != self.cursor_after(step or None)

    def _fetch(self, ask: Ask, step: Step, *, recalled: bool, is_resumed: bool) -> Any:
        """The answer; None: there is nothing; _LOST: it is to be begun anew, and pages that were unchanged are read.

        recalled  a page that is unchanged told, when it was read, that this one comes next
        """
        from api2db.sources.http import HttpError

        conditional = (
            self.plan.conditional
            and not keeps(self.plan.paging)
            and not (self._is_anew and ask.identity() in self._recalled)
        )
        try:
            # What is asked page by page is read, whatever the method: a query is posted as well.
            fetched = self.fetcher.fetch(ask, conditional=conditional, repeatable=True, whole=heeded.wants_whole)
            if fetched.answer is None and self._is_anew:
                self._recalled.add(ask.identity())  # what it told may not be known any more either
                fetched = self.fetcher.fetch(ask, conditional=False, repeatable=True)
            elif fetched.answer is None and not (isinstance(fetched.memo, dict) and heeded.NEXT in fetched.memo):
                # Whoever read it last stopped there: what comes next isn't known.
                _tell_of_leaving(ask)
                fetched = self.fetcher.fetch(ask, conditional=False, repeatable=True)
            elif fetched.answer is None and self._is_to_be_read(step, fetched):
                fetched = self.fetcher.fetch(ask, repeatable=True, whole=lambda memo: True)
            return fetched
        except HttpError as error:
            status = status_of(error)
            if status in self.plan.ignore:
                return None
            if is_resumed and status in UNKNOWN_STEP:
                raise StepRefused(f"it answered {status}") from None
            if not recalled or self._is_anew or status not in UNKNOWN_STEP:
                raise
            log.warning("%s answered %s to where it went on before: its pages are read anew", ask, status)
            self._is_anew = True
            self._asked.clear()
            self._headers = Headers()
            return _LOST

    def _check_kept(self) -> None:
        """Raises ConfigError where the next poll couldn't go on, or would replace everything by what is new."""
        poll = POLL.get()
        if not keeps(self.plan.paging):
            return
        if self.cursor is NO_CURSOR:
            raise ConfigError(
                "keep= needs a cursor to keep it in: give cursor=, what the collector's function is handed"
            )
        if poll is not None and poll.whole:
            raise ConfigError("each poll replaces the table, and keep= brings what is new alone: give key=")

    def _is_to_be_read(self, step: Step, fetched: Fetched) -> bool:
        """Says 304 something new of what comes next, and not enough?"""
        paging, told, memo = self.plan.paging, fetched.told, fetched.memo
        if told is None or told.status_code != HTTPStatus.NOT_MODIFIED or not isinstance(memo, dict):
            return False
        return heeded.tells_anew(paging, step, told, memo) and heeded.needs_body(paging, step, memo)

    def _step_now(self, ask: Ask, step: Step, fetched: Fetched, repeats: Repeats) -> Step | None:
        """What comes after an answer that is unchanged: as it was remembered, or as its headers say now."""
        memo, told, plan = fetched.memo, fetched.told, self.plan
        assert isinstance(memo, dict)
        self._headers.go_on(memo)
        self._most = max(self._most, heeded.records_of(memo))
        is_whole = told is not None and told.status_code != HTTPStatus.NOT_MODIFIED
        if told is None or not heeded.tells_anew(plan.paging, step, told, memo):
            if is_whole:
                fetched.remember(heeded.came_whole(memo))
            return memo[heeded.NEXT]
        turn = self._made(ask, step, told, repeats) if is_whole else self._unread(step, told, repeats)
        try:
            onward = self._headers.onto(turn.onward)
        except SourceError:
            if not is_whole or turn.records() is not None:
                raise
            return memo[heeded.NEXT]  # whoever reads the page says where they are, and nobody reads this one
        fetched.remember(self._memo(turn, onward, is_sure=False, before=memo))
        return onward

    def _unread(self, step: Step, told: Answer, repeats: Repeats) -> Turn:
        answered = Answered(self.plan.first, without_names(step), told, None, _unseen)
        return Turn(self, self._empty(None), answered, repeats)

    def _made(self, ask: Ask, step: Step, answer: Answer, repeats: Repeats) -> Turn:
        page = self._page(ask, answer, repeats.new)
        answered = Answered(self.plan.first, without_names(step), answer, page.body, page.counted)
        return Turn(self, page, answered, repeats)

    def _turn(self, ask: Ask, step: Step, answer: Answer, repeats: Repeats, *, is_resumed: bool) -> Turn:
        plan = self.plan
        turn = (self._gone_on if is_resumed else self._made)(ask, step, answer, repeats)
        turn.is_resumed = is_resumed
        page = turn.page
        page.reach, page.step = turn.cursor, step
        # A mistake is told before the page is handed out.
        if not isinstance(plan.select, Found):
            turn.cursor()
        elif not plan.paging.counts:
            turn.look_onward()
        return turn

    def _gone_on(self, ask: Ask, step: Step, answer: Answer, repeats: Repeats) -> Turn:
        """Where the poll went on. Raises StepRefused for an error with status 200."""
        from api2db.sources.http import HttpError

        turn = unless_refused(lambda: self._made(ask, step, answer, repeats), HttpError)
        turn.page.on_unfound = partial(note_unfound, ask)
        if isinstance(self.plan.select, Found):
            check_error(turn.page.body)
        else:
            unless_refused(turn.page.counted, SourceError)
        return turn

    def _memo(
        self, turn: Turn, step: Step | None, *, is_sure: bool, before: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """What is remembered with an answer; its names too, where no step has them."""
        memo = heeded.memo(self.plan.paging, turn.answered, step, is_sure=is_sure, most=self._most, before=before)
        self._most = max(self._most, heeded.records_of(memo))
        return memo if step is not None else {**memo, **self._headers.said()}

    def standing_for(self, cursor: Any) -> RestPage:
        """A page without an answer, which says how far things are."""
        page = self._empty(None)
        page.reach = lambda: cursor
        return page

    def _empty(self, step: Step | None, last: Step | None = None) -> RestPage:
        page = self._page(self.plan.first, None, lambda records: records)
        page.reach, page.step = partial(self.cursor_after, step or None), last
        return page

    def _page(self, ask: Ask, answer: Answer | None, new: Callable[[Sequence[Any]], Sequence[Any]]) -> RestPage:
        plan = self.plan
        return RestPage(
            ask, answer, decode=plan.decode, select=plan.select, new=new, forms=self._forms, headers=self._headers
        )

    def _remember(self, ask: Ask) -> None:
        if len(self._asked) >= _MOST_ASKED:
            self._asked.clear()
        self._asked.add(ask.identity())

    def _cut_short(self, number: int) -> None:
        said = f"{self.plan.first}: its deadline of {self.plan.deadline_s:g} s is over after {number} pages"
        if self.cursor is NO_CURSOR:
            raise SourceError(f"{said}, and there are more; with a cursor the next poll would go on there")
        log.info("%s; the next poll goes on there", said)


def _unseen() -> Sequence[object]:
    raise SourceError("the answer came without its body")


def _tell_of_leaving(ask: Ask) -> None:
    poll = POLL.get()
    who = poll.collector if poll else ""
    if is_played() or who in _told:
        return
    _told.add(who)
    log.warning(
        "%s: the loop over its pages was left at this one by the poll before, so that it is asked for twice and handed"
        " out again at each poll, changed or not: read the pages to their end, or say how many with max_pages=",
        ask,
    )


def begun_at(cursor: Any) -> Any:
    """Where a poll begins that was handed ``cursor``: at the start where its rows replace all of the one before."""
    poll = POLL.get()
    return {} if poll is not None and poll.whole and cursor is not NO_CURSOR else cursor


def step_of(cursor: Any) -> Step:
    """The step that a cursor says to go on with. Raises SourceError for what isn't a cursor of pages."""
    if cursor is NO_CURSOR or not cursor:
        return {}
    found = cursor.get(_NEXT) if isinstance(cursor, dict) else cursor
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SourceError(
            "the cursor isn't one that a page had: begin again with api2db reset; or, if cursor= is meant as a"
            " parameter of the API's, give it as params={'cursor': ...}"
        )
    return found

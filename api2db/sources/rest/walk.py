"""From page to page: one request after the other, each asked for when the one before was taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import SourceError
from api2db.sources.context import POLL, PutOff
from api2db.sources.rest import heeded
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.headers import Headers
from api2db.sources.rest.page import NO_CURSOR, Forms, RestPage
from api2db.sources.rest.paging import Answered, Paging, Step
from api2db.sources.rest.quiet import Quiet
from api2db.sources.rest.records import Found, Select
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
UNKNOWN_STEP: Final = (400, 404, 410, 416, 422)
"""What an API answers to a step it doesn't know, or doesn't know any more."""
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
    _recalled: dict[str, Fetched] = field(default_factory=dict)  # unchanged, by request: they told what comes next
    _is_anew: bool = False  # what they told wasn't known any more

    def pages(self) -> Iterator[RestPage]:
        """Each answer that brought something new, and at the end one without rows if only the cursor has moved.

        Also where the end is that the poll is put off, and where much is unchanged: the next one goes on behind that.
        Raises SourceError, HttpError.
        """
        plan, told = self.plan, self.cursor
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
            ask = plan.paging.ask(plan.first, step)
            self._remember(ask)
            try:
                last, fetched = step, self._fetch(ask, step, recalled=recalled)
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
                step, is_nothing = None, self.tells_nothing
            elif fetched.answer is None:
                self._recalled[ask.identity()] = fetched
                remembered = fetched.memo[heeded.NEXT]
                step = self._step_now(ask, step, fetched, repeats)
                recalled = step == remembered
                is_ahead = True
                fetched.told = None  # what is recalled is kept, and no bodies with it
            elif fetched.answer.status_code == HTTPStatus.NO_CONTENT:
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
                memo = heeded.memo(plan.paging, turn.answered, step, is_sure=turn.page.ends)
                for each in (fetched, self._recalled.get(ask.identity())):
                    if each is not None:
                        each.remember(memo)
                repeats.turn(turn.page.again())
                del turn
            is_resumed = False
            del fetched  # no page is held while the next one is fetched
            if is_ahead and quiet.is_long and step is not None and self._is_beyond(told, step):
                told, is_ahead = self.cursor_after(step), False
                yield self._empty(step, last)
                quiet.broken()
        if is_nothing or self._is_beyond(told, step):
            yield self._empty(step, last)

    def asked_before(self, ask: Ask) -> bool:
        return ask.identity() in self._asked

    def cursor_after(self, step: Step | None) -> Any:
        if self.cursor is NO_CURSOR:
            return NO_CURSOR
        return {} if step is None else {_NEXT: step}

    def _is_beyond(self, told: Any, step: Step | None) -> bool:
        """Is that another place to go on than the cursor that was handed out last says?"""
        return told is not NO_CURSOR and (told or {}) != self.cursor_after(step or None)

    def _fetch(self, ask: Ask, step: Step, *, recalled: bool) -> Any:
        """The answer; None: there is nothing; _LOST: it is to be begun anew, and pages that were unchanged are read.

        recalled  a page that is unchanged told, when it was read, that this one comes next
        """
        from api2db.sources.http import HttpError

        conditional = self.plan.conditional and not (self._is_anew and ask.identity() in self._recalled)
        try:
            # What is asked page by page is read, whatever the method: a query is posted as well.
            fetched = self.fetcher.fetch(ask, conditional=conditional, repeatable=True, whole=heeded.wants_whole)
            if fetched.answer is None and self._is_anew:
                self._recalled[ask.identity()] = fetched  # what it told may not be known any more either
                fetched = self.fetcher.fetch(ask, conditional=False, repeatable=True)
            elif fetched.answer is None and not (isinstance(fetched.memo, dict) and heeded.NEXT in fetched.memo):
                # Whoever read it last stopped there: what comes next isn't known.
                _tell_of_leaving(ask)
                fetched = self.fetcher.fetch(ask, conditional=False, repeatable=True)
            elif fetched.answer is None and self._is_to_be_read(step, fetched):
                fetched = self.fetcher.fetch(ask, repeatable=True, whole=lambda memo: True)
            return fetched
        except HttpError as error:
            status = None if error.response is None else error.response.status_code
            if status in self.plan.ignore:
                return None
            if not recalled or self._is_anew or status not in UNKNOWN_STEP:
                raise
            log.warning("%s answered %s to where it went on before: its pages are read anew", ask, status)
            self._is_anew = True
            self._asked.clear()
            return _LOST

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
        if told is None or not heeded.tells_anew(plan.paging, step, told, memo):
            return memo[heeded.NEXT]
        is_whole = told.status_code != HTTPStatus.NOT_MODIFIED
        turn = self._made(ask, step, told, repeats) if is_whole else self._unread(step, told, repeats)
        try:
            onward = turn.onward
        except SourceError:
            if not is_whole or turn.records() is not None:
                raise
            return memo[heeded.NEXT]  # whoever reads the page says where they are, and nobody reads this one
        fetched.remember(heeded.memo(plan.paging, turn.answered, onward, is_sure=False))
        return onward

    def _unread(self, step: Step, told: Answer, repeats: Repeats) -> Turn:
        return Turn(self, self._empty(None), Answered(self.plan.first, step, told, None, _unseen), repeats)

    def _made(self, ask: Ask, step: Step, answer: Answer, repeats: Repeats) -> Turn:
        page = self._page(ask, answer, repeats.new)
        return Turn(self, page, Answered(self.plan.first, step, answer, page.body, page.counted), repeats)

    def _turn(self, ask: Ask, step: Step, answer: Answer, repeats: Repeats, *, is_resumed: bool) -> Turn:
        plan = self.plan
        turn = self._made(ask, step, answer, repeats)
        turn.is_resumed = is_resumed
        page = turn.page
        page.reach, page.step = turn.cursor, step
        # A mistake is told before the page is handed out.
        if not isinstance(plan.select, Found):
            turn.cursor()
        elif not plan.paging.counts:
            turn.look_onward()
        return turn

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

"""Asking an endpoint a few questions, to find out what a collector for it needs to know."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from api2db.errors import SourceError
from api2db.probing.again import came_again
from api2db.probing.bodies import Body, body_of
from api2db.probing.fields import (
    Choice,
    Column,
    Sureness,
    born_of,
    columns_of,
    items_of,
    key_of,
    lists_of,
    version_of,
)
from api2db.probing.selection import Selection, selection_of
from api2db.probing.since import Since, since_of
from api2db.secret import shown_url
from api2db.sources.answer import HttpError
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.find import kind_of
from api2db.sources.rest.paging import Answered, NextCursor, OffsetLimit, PageNumber, Paging, Single
from api2db.sources.rest.paging.convention import value_at
from api2db.sources.rest.paging.detect import detected
from api2db.sources.rest.paging.more import MORE

if TYPE_CHECKING:
    from api2db.sources.answer import Answer

MOST_REQUESTS: Final = 16
_ROUND: Final = frozenset((10, 15, 20, 24, 25, 30, 50, 60, 100, 200, 250, 500, 1000, 2000, 5000, 10_000))
"""A page of just so many records is probably full: there are more."""

_LIMITS: Final = ("RateLimit-Limit", "X-RateLimit-Limit", "X-Rate-Limit-Limit", "X-RateLimit-Limit-Minute")
_WINDOWS: Final = {"second": "s", "minute": "min", "hour": "h", "day": "day"}
_DEFAULT_EVERY: Final = "5m"


@dataclass(frozen=True)
class Found:
    """One thing that was found out: the value, as a collector says it, how sure it is, and why."""

    value: Any
    sureness: Sureness
    why: str


@dataclass
class Asked:
    """One request of the probe: what was asked, and what came."""

    request: str
    status: str
    bytes: int
    purpose: str


@dataclass
class Findings:
    """What is known of an endpoint.

    url, params   the address without its query, and that
    body          how its answers are read
    records       the records of the first page; ``selection`` says where they are
    columns       what they have in common
    children      the columns of the items of those that are lists of objects, by their names
    paging        a ``Paging``, None where there may be more and nothing tells how; ``more`` are the records of its
                  second page
    since         the parameter that asks for what is new, and how
    validator     the header that makes an unchanged answer cost nothing
    rate, every   as a collector takes them
    """

    url: str
    params: dict[str, str]
    answer: Answer
    body: Body
    selection: Selection
    records: Sequence[Mapping[str, Any]]
    columns: list[Column]
    paging: Found
    more: Sequence[Mapping[str, Any]] = ()
    children: Mapping[str, Sequence[Column]] = field(default_factory=dict)
    key: Choice | None = None
    version: Choice | None = None
    born: Choice | None = None
    since: Since | None = None
    validator: Found | None = None
    rate: Found | None = None
    every: Found = field(default_factory=lambda: Found(_DEFAULT_EVERY, Sureness.GUESS, "nothing says how often"))
    asked: list[Asked] = field(default_factory=list)


class Probe:
    """Asks, politely: one request after the other, at most ``MOST_REQUESTS``.

    fetch   gives the answer to a request, or raises HttpError
    """

    def __init__(self, fetch: Callable[[Ask], Answer]) -> None:
        self._fetch = fetch
        self.asked: list[Asked] = []
        self._body = Body("json")

    def findings(self, url: str) -> Findings:
        """Raises HttpError if the first request fails, SourceError if its answer holds no records."""
        parts = urlsplit(url)
        base = parts._replace(query="", fragment="").geturl()
        first = Ask("GET", base, tuple(parse_qsl(parts.query, keep_blank_values=True)))
        answer = self._ask(first, "what it answers")
        self._body = body_of(answer)
        body = self._body.of(answer)
        selection = selection_of(body)
        records = _objects(selection.records(body), selection)
        if not records:
            raise SourceError(
                f"{_shown(first)}: there are no records in the answer, so nothing tells their columns: give an address"
                " that brings some, with other parameters or at another time"
            )
        self._body = self._body.doubted(records)
        paging, more = self._paging(first, answer, body, selection, records)
        both = [*records, *more]
        columns = columns_of(both, text=self._body.is_text)
        count = len(both)
        found = Findings(base, dict(first.params), answer, self._body, selection, records, columns, paging, more)
        found.children = {
            column.name: columns_of(items_of(column, both), text=self._body.is_text) for column in lists_of(columns)
        }
        found.key = _key(columns, records, more)
        found.version = version_of(columns, count)
        found.born = born_of(columns, count)
        found.since = self._since(first, found)
        found.validator = self._validator(first, answer)
        found.rate = _rate(answer)
        found.every = _every(answer)
        found.asked = self.asked
        return found

    def _ask(self, ask: Ask, purpose: str, headers: Mapping[str, str] | None = None) -> Answer:
        if len(self.asked) >= MOST_REQUESTS:
            raise SourceError(f"{MOST_REQUESTS} requests were asked; more would be impolite")
        asked = Asked(_shown(ask), "no answer", 0, purpose)
        self.asked.append(asked)
        try:
            answer = self._fetch(replace(ask, headers=(*ask.headers, *(headers or {}).items())))
        except HttpError as error:
            if error.response is not None:
                asked.status = str(error.response.status_code)
            raise
        asked.status, asked.bytes = str(answer.status_code), len(answer.content)
        return answer

    # Paging

    def _paging(
        self, first: Ask, answer: Answer, body: object, selection: Selection, records: Sequence[Any]
    ) -> tuple[Found, Sequence[Mapping[str, Any]]]:
        answered = Answered(first, {}, answer, body, lambda: records)
        try:
            paging = detected(answered)
        except SourceError as error:
            return self._tried(answered, selection, str(error))
        if not isinstance(paging, Single):
            return self._followed(answered, paging, selection)
        if len(records) in _ROUND:
            why = f"{len(records):,} records, as a full page would have; how to ask for the next one wasn't found"
            return self._tried(answered, selection, why)
        return Found(paging, Sureness.LIKELY, "nothing in the answer speaks of another page"), ()

    def _followed(
        self, answered: Answered, paging: Paging, selection: Selection
    ) -> tuple[Found, Sequence[Mapping[str, Any]]]:
        """Ask for the second page."""
        try:
            step = paging.after(answered)
            if step is None:
                return Found(paging, Sureness.LIKELY, "the answer has it; this was the only page"), ()
            answer = self._ask(paging.ask(answered.first, step), "its second page")
            more = _objects(selection.records(self._body.of(answer)), selection)
        except SourceError as error:
            return Found(paging, Sureness.GUESS, f"the second page couldn't be had: {error}"), ()
        if not more:
            return Found(paging, Sureness.LIKELY, "the second page is empty"), ()
        if all(came_again(answered.records, more)):
            name = type(paging).__name__
            return self._tried(answered, selection, f"it looks like {name}, but that brings the first page again")
        return Found(paging, Sureness.SURE, f"the second page has {len(more):,} other records"), more

    def _tried(self, answered: Answered, selection: Selection, why: str) -> tuple[Found, Sequence[Mapping[str, Any]]]:
        """There seems to be more: the usual parameters tell, if other records come. ``why``: what is said if not."""
        for paging, asks in _usual(answered):
            try:
                answer = self._ask(answered.first.with_params(**asks), f"whether {next(iter(asks))} brings more")
                more = _objects(selection.records(self._body.of(answer)), selection)
            except SourceError:
                continue  # the API says no: it isn't paged that way
            again = came_again(answered.records, more)
            only_first = again[:1] == [True] and sum(again) == 1
            if only_first and isinstance(paging, OffsetLimit) and all(came_again(answered.records[-1:], more[:1])):
                # Its offsets count from 1: the last record came once more as the first.
                paging, more, again = OffsetLimit(limit=_limit_of(answered.first), start=1), more[1:], again[1:]
            if more and not any(again):
                told = ", ".join(f"{name}={value}" for name, value in asks.items())
                return Found(paging, Sureness.LIKELY, f"nothing says it, but {told} brings {len(more):,} others"), more
        return Found(None, Sureness.GUESS, why), ()

    # What is new

    def _since(self, first: Ask, found: Findings) -> Since | None:
        choices = [choice for choice in (found.version, found.born) if choice is not None]
        if not found.records or not choices or choices[0].sureness is Sureness.GUESS:
            return None  # a page whose records have no such time would fail its poll
        version, born = (
            None if choice is None or choice.sureness is Sureness.GUESS else choice.column
            for choice in (found.version, found.born)
        )

        def ask(name: str, text: str, purpose: str) -> Sequence[Any]:
            return found.selection.records(self._body.of(self._ask(first.with_params(**{name: text}), purpose)))

        # Two are left for what it brings, and for the validator.
        tries = MOST_REQUESTS - len(self.asked) - 2
        return since_of(ask, found.params, version, born, [*found.records, *found.more], max(tries, 0))

    def _validator(self, first: Ask, answer: Answer) -> Found | None:
        for header, asks in (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")):
            value = answer.headers.get(header)
            if value is None:
                continue
            try:
                again = self._ask(first, f"whether it knows {asks}", {asks: value})
            except SourceError as error:
                return Found(header, Sureness.GUESS, str(error))
            if again.status_code == 304:
                return Found(header, Sureness.SURE, "an unchanged answer was 304, without a body")
            return Found(None, Sureness.LIKELY, f"it has {header}, but answers whole all the same")
        return None


def _usual(answered: Answered) -> list[tuple[Paging, dict[str, object]]]:
    """Ways of paging that are usual where the answer doesn't say one, and what asks for the second page."""
    count = len(answered.records)
    ways: list[tuple[Paging, dict[str, object]]] = [
        (PageNumber(), {"page": 2}),
        (OffsetLimit(limit=_limit_of(answered.first)), {"offset": count}),
    ]
    more = next((path for path in MORE if value_at(answered.body, path) is True), None)
    last = value_at(answered.records[-1], "id") if count else None
    if more is not None and isinstance(last, (str, int)):
        ways.insert(0, (NextCursor(last="id", param="starting_after", has_more=more), {"starting_after": last}))
    return ways


def _objects(records: Sequence[Any], selection: Selection) -> Sequence[Mapping[str, Any]]:
    stray = next((record for record in records if not isinstance(record, Mapping)), None)
    if stray is not None:
        raise SourceError(
            f"the records at {selection.written} aren't objects: one is {kind_of(stray)}. A collector written by hand"
            ' can make objects of them: page.rows(lambda body: [{"value": one} for one in body], value="value")'
        )
    return records


def _limit_of(ask: Ask) -> int | None:
    said = ask.param("limit") or ""
    return int(said) if said.isdigit() and int(said) else None


def _key(columns: list[Column], records: Sequence[Any], more: Sequence[Any]) -> Choice | None:
    """Over both pages; where one repeats records of the other (it moved meanwhile), of the first one."""
    return key_of(columns, len(records) + len(more)) or key_of(columns_of(records), len(records))


def _rate(answer: Answer) -> Found | None:
    policy = answer.headers.get("RateLimit-Policy", "")
    said = re.search(r"(?:q=)?(\d+)\s*;\s*w=(\d+)", policy)
    if said is not None:
        count, window = int(said[1]), int(said[2])
        unit = {1: "s", 60: "min", 3600: "h", 86_400: "day"}.get(window)
        rate = f"{count}/{unit}" if unit else f"{max(1, count * 60 // window)}/min"
        return Found(rate, Sureness.SURE, f"RateLimit-Policy: {policy[:60]}")
    header = next((name for name in _LIMITS if answer.headers.get(name, "").split(",")[0].strip().isdigit()), None)
    if header is None:
        return None
    count = int(answer.headers[header].split(",")[0])
    if header.endswith("Minute"):
        return Found(f"{count}/min", Sureness.SURE, f"{header}: {count}")
    reset = answer.headers.get(header.replace("Limit-Limit", "Limit-Reset").replace("-Limit-Limit", "-Limit-Reset"), "")
    lasts_s = _window(reset, answer)
    unit = min(_WINDOWS, key=lambda name: abs({"second": 1, "minute": 60, "hour": 3600, "day": 86_400}[name] - lasts_s))
    return Found(f"{count}/{_WINDOWS[unit]}", Sureness.GUESS, f"{header}: {count}; per {unit} is a guess")


def _window(reset: str, answer: Answer) -> float:
    """How long a limit lasts, as far as its reset tells: at least until then."""
    if not reset.strip().isdigit():
        return 3600.0
    value = float(reset)
    left = value - dt.datetime.now(dt.UTC).timestamp() if value > 10**9 else value
    return next((window for window in (60.0, 3600.0, 86_400.0) if left <= window), 86_400.0)


def _every(answer: Answer) -> Found:
    age = re.search(r"max-age=(\d+)", answer.headers.get("Cache-Control", ""))
    if age is None or not int(age[1]):
        return Found(_DEFAULT_EVERY, Sureness.GUESS, "nothing in the answer says how often it changes")
    seconds = max(10, int(age[1]))
    written = (
        f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
    )
    return Found(written, Sureness.LIKELY, f"it may be kept for {age[1]} s (Cache-Control)")


def _shown(ask: Ask) -> str:
    return f"{ask.method} {shown_url(f'{ask.url}?{urlencode(ask.params)}' if ask.params else ask.url)}"

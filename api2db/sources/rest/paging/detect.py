"""Finding out from the first answer how an API pages, where nobody said it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

from api2db.errors import SourceError
from api2db.nearest import nearest
from api2db.sources.rest.ask import Ask, is_address
from api2db.sources.rest.paging.around import ENVELOPES, places
from api2db.sources.rest.paging.convention import Answered, Paging, Step, path_of, value_at
from api2db.sources.rest.paging.link import LinkHeader, relations
from api2db.sources.rest.paging.more import (
    HEADERS,
    MORE,
    PAGES,
    TOTALS,
    check_all,
    first_number,
    number_of,
    says_more,
)
from api2db.sources.rest.paging.next_cursor import NextCursor
from api2db.sources.rest.paging.next_url import NextUrl, address_in, are_links
from api2db.sources.rest.paging.number import PageNumber
from api2db.sources.rest.paging.offset import OffsetLimit
from api2db.sources.rest.paging.single import Single
from api2db.sources.tape.recorder import is_one_answer

log = logging.getLogger(__name__)

_BY: Final = "by"
_CONVENTIONS: Final[Mapping[str, Callable[..., Paging]]] = {
    made.__name__: made for made in (LinkHeader, NextUrl, NextCursor, OffsetLimit, PageNumber, Single)
}
_URL: Final = (
    *("next", "next_url", "nextUrl", "nextURL", "next_page_url", "nextPageUrl", "nextPageURL", "next_uri", "nextUri"),
    *("next_href", "nextHref", "next_page_uri", "nextPageUri"),
)
_URLS: Final = (
    *(prefix + name for prefix in ENVELOPES for name in _URL),
    *("links.next", "links.next.href", "_links.next", "_links.next.href", "meta.pagination.links.next", "next.href"),
    *("nextLink", r"@odata\.nextLink", r"odata\.nextLink", "next_link", "next_page", "next_page.uri"),
    *("nextRecordsUrl", "nextPageLink", "next_page_link", "nextPage"),
)
# How an API's cursor is called in answers, and how in requests.
_CURSORS: Final = {
    "nextPageToken": "pageToken",
    "next_page_token": "page_token",
    "next_cursor": "cursor",
    "nextCursor": "cursor",
    "next_token": "next_token",
    "nextToken": "nextToken",
    "NextToken": "NextToken",
    "continuation_token": "continuation_token",
    "continuationToken": "continuationToken",
}
_CURSOR_PATHS: Final = {
    **{prefix + name: param for prefix in (*ENVELOPES, "response_metadata.") for name, param in _CURSORS.items()},
    "metadata.continue": "continue",
    "paging.next.after": "after",
    "pages.next.starting_after": "starting_after",
}
_SURE_URLS: Final = frozenset(path for path in _URLS if "rl" in path.split(".")[-1].lower() or "ink" in path)
_ZENDESK_ENDS: Final = "!end_of_stream"
"""Beside it the address of the next page is always there."""
_LINKS: Final = ("link", "links", "_links", r"atom\:link")
"""Where lists of links are, each with its relation."""
# "orders?page=2"
_RELATIVE: Final = re.compile(r"[\w./%~-]+\?[^?=\s]+=")
_NEXT_HEADER: Final = "X-Next-Page"
# In seconds since 1970, of the year 2001; no list is read from so far on.
_EARLIEST_TIME: Final = 10**9
_NEXTS: Final = tuple(prefix + "next" for prefix in ENVELOPES)
_NEXT_NUMBERS: Final = tuple(prefix + name for prefix in ENVELOPES for name in ("next_page", "nextPage"))
_RELATIONS: Final = frozenset(("next", "prev", "previous", "first", "last"))
_PAGE: Final = ("page", "page_number", "pageNumber", "number", "current_page", "currentPage", "current-page")
# Those in brackets are JSON:API's.
_PAGE_PARAMS: Final = ("page", "page_number", "pageNumber", "p", "page[number]")
_SIZE_PARAMS: Final = ("per_page", "page_size", "pageSize", "perPage", "limit", "size", "page[size]")
_OFFSET_PARAMS: Final = ("offset", "skip", "start", "page[offset]", "$offset", "$skip", "startAt", "startIndex")
_LIMIT_PARAMS: Final = ("limit", "count", "per_page", "page_size", "top", "rows", "page[limit]", "$limit", "$top",
                        "maxResults")  # fmt: skip
# How the offset is called beside a limit of that name.
_OFFSET_BESIDE: Final = {"page[limit]": "page[offset]", "$limit": "$offset", "$top": "$skip", "maxResults": "startAt"}
# An answer that says its offset so is asked for the next page by these parameters: of Jira and of SCIM.
_OFFSETS: Final = {
    "offset": ("offset", "limit"),
    "startAt": ("startAt", "maxResults"),
    "startIndex": ("startIndex", "count"),
}


@dataclass(frozen=True)
class Detect:
    """The convention that the first answer shows; each step says which it was, so that a collector's cursor does.

    told   what was logged already: that is said once, not at each poll
    """

    told: set[str] = field(default_factory=set, compare=False, repr=False)

    counts: ClassVar[bool] = True
    heeds: ClassVar[tuple[str, ...]] = ("Link", _NEXT_HEADER, *HEADERS)

    def ask(self, first: Ask, step: Step) -> Ask:
        found, inner = _taken_apart(step)
        return first if found is None else found.ask(first, inner)

    def after(self, answered: Answered) -> Step | None:
        found, inner = _taken_apart(answered.step)
        if found is None:
            try:
                found, inner = detected(answered), {}
            except SourceError:
                if not is_one_answer():
                    raise
                return None
            said = f"request={answered.first} by={found}"
            if said not in self.told:
                self.told.add(said)
                log.info("paging found %s", said)
        onward = found.after(Answered(answered.first, inner, answered.answer, answered.body, lambda: answered.records))
        return None if onward is None else {**onward, "paging": as_json(found)}


def detected(answered: Answered) -> Paging:
    """The convention of an answer to a first request. Raises SourceError if there is more, but not how."""
    if not _RELATIONS.isdisjoint(relations(answered.answer.headers.get("Link", ""), answered.answer.url)):
        return LinkHeader()
    if number_of(answered.answer.headers.get(_NEXT_HEADER)):
        return NextCursor(header=_NEXT_HEADER, param=_page_param(answered.first))
    body = answered.body
    if isinstance(body, dict):
        found = next_in(answered)
        if found is not None:
            return found
        ends = any(path_of(path).read(body, "") in (None, False) for path in (*_URLS, *_CURSOR_PATHS, *_NEXT_NUMBERS))
        if ends and says_more(answered) is None:
            return Single()  # what would say the next page says that there is none
    counting = _by_params(answered, body) or (_by_body(answered.first, body) if isinstance(body, dict) else None)
    if counting is not None:
        return counting
    check_all(answered)
    return Single()


def next_in(answered: Answered) -> Paging | None:
    """The answer says what asks for the next page: its address, the API's cursor or its number."""
    body = answered.body
    is_zendesk = isinstance(value_at(body, _ZENDESK_ENDS[1:]), bool)
    for path in (*_URLS, *(("after_url",) if is_zendesk else ())):
        if _is_url(value_at(body, path), certain=path in _SURE_URLS):
            return NextUrl(path, has_more=_ZENDESK_ENDS if is_zendesk else None)
    for path, param in _CURSOR_PATHS.items():
        if value_at(body, path):
            return NextCursor(path, param)
    around = places(answered)
    for prefix, value in around:
        for name in _LINKS:
            links = value_at(value, name)
            if are_links(links) and _is_url(address_in(links, "next"), certain=True):
                return NextUrl(prefix + name)
    for prefix, value in around:
        for name in _URL:
            if _is_url(value_at(value, name), certain=name in _SURE_URLS):
                return NextUrl(prefix + name)
        for name, param in _CURSORS.items():
            if value_at(value, name):
                return NextCursor(prefix + name, param)
        offset = value.get("offset")  # Airtable's
        if (
            isinstance(offset, str)
            and offset
            and number_of(offset) is None
            and offset != answered.first.param("offset")
        ):
            return NextCursor(f"{prefix}offset", "offset")
    for path in _NEXT_NUMBERS:
        if number_of(value_at(body, path)):
            return NextCursor(path, _page_param(answered.first), empty_ends=True)
    for path in _NEXTS:
        value, param = value_at(body, path), _page_param(answered.first)
        this = number_of(answered.first.param(param))
        if isinstance(value, int) and not isinstance(value, bool) and value == (1 if this is None else this) + 1:
            return NextCursor(path, param)
    return None


def as_json(paging: Paging) -> dict[str, Any]:
    """A convention as a collector's cursor holds it."""
    options = [(one.name, one.default) for one in fields(paging) if one.init]  # type: ignore[arg-type]
    given = {name: getattr(paging, name) for name, default in options if getattr(paging, name) != default}
    return {_BY: type(paging).__name__, **given}


def of_json(value: Mapping[str, Any]) -> Paging:
    """The convention a collector's cursor holds. Raises SourceError for what isn't one."""
    options = {name: option for name, option in value.items() if name != _BY}
    make = _CONVENTIONS.get(value.get(_BY, ""))
    if make is None:
        said = value.get(_BY)
        raise SourceError(f"the collector's cursor says paging by {said!r}{nearest(str(said), _CONVENTIONS)}")
    try:
        return make(**options)
    except TypeError as error:
        raise SourceError(f"the paging in the collector's cursor can't be read: {error}") from None


def found_in(step: Step) -> Paging | None:
    """The convention that a step says was found. Raises SourceError."""
    return _taken_apart(step)[0]


def _taken_apart(step: Step) -> tuple[Paging | None, Step]:
    if "paging" not in step:
        return None, step
    return of_json(step["paging"]), {name: value for name, value in step.items() if name != "paging"}


def _by_params(answered: Answered, body: object) -> Paging | None:
    """The request itself says a page or an offset."""
    first = answered.first
    has_more = next((path for path in MORE if isinstance(value_at(body, path), bool)), None)
    page = next((name for name in _PAGE_PARAMS if _place(first, name) is not None), None)
    if page is not None:
        usual = "page[size]" if page == "page[number]" else "per_page"
        size = next((name for name in _SIZE_PARAMS if number_of(first.param(name))), usual)
        return PageNumber(
            size=number_of(first.param(size)),
            param=page,
            size_param=size,
            start=number_of(first.param(page)) or 0,
            pages=first_number(body, PAGES),
            has_more=has_more,
        )
    limit = next((name for name in _LIMIT_PARAMS if number_of(first.param(name))), None)
    offset = next((name for name in _OFFSET_PARAMS if _place(first, name) is not None), None)
    total = first_number(body, TOTALS)
    if offset is None and (limit is None or (total is None and value_at(body, "offset") is None)):
        return None
    if offset is None and limit == "maxResults" and value_at(body, "startAt") is None:
        return None  # of Google, who has cursors
    if offset is None and isinstance(body, dict) and isinstance(_by_body(first, body), PageNumber):
        return None  # the answer says its number, so the parameter is the size of a page
    start = number_of(first.param(offset)) or 0 if offset else 0
    return OffsetLimit(
        limit=number_of(first.param(limit)) if limit else None,
        offset_param=offset or _OFFSET_BESIDE.get(limit or "", "offset"),
        limit_param=limit or "limit",
        start=start,
        total=total if start <= 1 else None,
        has_more=has_more,
    )


def _place(first: Ask, name: str) -> int | None:
    """Where a parameter says that pages begin; ``start=1795302420`` says a time."""
    number = None if name in first.bounds else number_of(first.param(name))
    return number if number is not None and number < _EARLIEST_TIME else None


def _page_param(first: Ask) -> str:
    """How the request calls the number of a page."""
    usual = "page" if first.param("page[size]") is None else "page[number]"
    return next((name for name in _PAGE_PARAMS if number_of(first.param(name)) is not None), usual)


def _by_body(first: Ask, body: dict[str, Any]) -> Paging | None:
    """The answer says which page or offset it is, and how much there is."""
    pages, total = first_number(body, PAGES), first_number(body, TOTALS)
    page = next(
        (
            prefix + name
            for prefix in ENVELOPES
            for name in _PAGE
            if number_of(value_at(body, prefix + name)) is not None
        ),
        None,
    )
    if page is not None and (pages or total):
        start = number_of(value_at(body, page)) or 0
        return PageNumber(
            pages=pages, total=None if pages or start > 1 else total, start=start, param=_page_param(first)
        )
    for name, (param, limit_param) in _OFFSETS.items():
        firsts = (0, 1) if name == "startIndex" else (0,)
        said = [number_of(value_at(body, prefix + name)) for prefix in ENVELOPES]
        begins = next((number for number in said if number in firsts), None)
        if total is not None and begins is not None:
            return OffsetLimit(offset_param=param, limit_param=limit_param, start=begins, total=total)
    return None


def _is_url(value: object, *, certain: bool) -> bool:
    """``certain``: an address it is, however short. Else it may be the API's cursor."""
    if not isinstance(value, str) or not value:
        return False
    return certain or is_address(value) or value.startswith(("/", "?")) or _RELATIVE.match(value) is not None

"""What an answer says of how much there is; that there is more, without a word of how it is asked for, is an error."""

from __future__ import annotations

import re
from typing import Final

from api2db.errors import SourceError
from api2db.sources.rest.paging.around import ENVELOPES, places
from api2db.sources.rest.paging.convention import Answered, is_true, value_at

_GO_ON: Final = (
    *("has_more", "hasMore", "more", "hasNextPage", "has_next_page", "has_next", "hasNext"),
    *("is_truncated", "isTruncated", "IsTruncated", "truncated"),
    *("has_more_items", "hasMoreItems", "more_results", "moreResults", "more_available", "moreAvailable"),
    *("hasMoreResults", "hasMoreRecords", "exceededTransferLimit", "more_results_available", "moreResultsAvailable"),
)
# What says the same the other way round.
_END: Final = (
    *("done", "isDone", "isLast", "is_last", "last", "isLastPage", "is_last_page", "lastPage", "last_page"),
    *("end_of_stream", "endOfStream", "complete", "is_complete", "isComplete", "finished"),
)
_OF_OBJECT: Final = "total.value"
_TOTAL: Final = (
    *("total", "total_count", "totalCount", "total-count", "total_results", "totalResults", "total_items"),
    *("totalItems", "totalSize", "total_size", "total_records", "totalRecords", "totalElements", "total_elements"),
    *("total_entries", "totalEntries", "total_rows", "numFound", "@odata.count", r"opensearch\:totalResults"),
    *("total-results", "total_hits", "totalHits", "hitCount", "nbHits", "recordsTotal", "numberMatched"),
    _OF_OBJECT,
)
MORE: Final = tuple(prefix + name for prefix in ENVELOPES for name in _GO_ON)
TOTALS: Final = tuple(prefix + name for prefix in ENVELOPES for name in _TOTAL)
_PAGES: Final = ("total_pages", "totalPages", "total-pages", "page_count", "last_page", "nbPages", "pages")
PAGES: Final = tuple(prefix + name for prefix in ENVELOPES for name in _PAGES)
# Of a total in a header. "Content-Range: items 0-9/100" says one, too.
_TOTAL_HEADERS: Final = ("X-Total-Count", "X-Total", "X-WP-Total", "Total-Count", "X-Pagination-Total-Count")
_PAGES_HEADERS: Final = ("X-Total-Pages", "X-WP-TotalPages", "X-Pagination-Page-Count")
HEADERS: Final = (*_TOTAL_HEADERS, *_PAGES_HEADERS, "Content-Range")
"""Which say how much there is."""
_RANGE: Final = re.compile(r"/(\d+)\s*$")
_COUNT: Final = "count"
"""A list may be counted so; elsewhere the same word is the number of records that came."""
_TOKEN: Final = (
    *("next", "cursor", "after", "nextPage", "next_page", "next_id", "nextId", "marker", "next_marker", "after_cursor"),
    *("nextMarker", "NextMarker", "bookmark", "scroll_id", "_scroll_id", "continue", "end_cursor", "endCursor"),
    *("afterCursor", "resumptionToken", "resumption_token", "nextToken", "next_token", "nextCursor", "next_cursor"),
    *("next-cursor", "nextCursorMark"),
)
# Of those that are objects: of DynamoDB and MediaWiki.
_TOKEN_OBJECT: Final = ("LastEvaluatedKey", "continue")
_SIZES: Final = (
    *("limit", "per_page", "page_size", "pageSize", "perPage", "size", "count", "top", "$top", "rows"),
    *("page[size]", "page[limit]", "max_results", "maxResults", "pageLimit", "$limit", "hitsPerPage", "per-page"),
    *("page-size", "pagesize", "PageSize", "Limit", "MaxResults", "resultRecordCount", "maxRecords", "rpp"),
)
_SAY: Final = "say paging=; where that is all, paging=Single()"


def says_more(answered: Answered) -> str | None:
    """The path of what says that there is more, and if it says so the other way round, what it says."""
    body = answered.body
    found = next((repr(path) for path in MORE if _is_said(value_at(body, path))), None)
    return found or next(
        (
            f"{prefix + name!r}{'' if is_more else ': false'}"
            for prefix, value in places(answered)
            for names, is_more in ((_GO_ON, True), (_END, False))
            for name in names
            if (_is_said if is_more else _is_denied)(value_at(value, name))
        ),
        None,
    )


def check_all(answered: Answered) -> None:
    """Raises SourceError where there is more than this answer, but nothing says how it is asked for."""
    more = says_more(answered)
    if more is not None:
        raise SourceError(f"{more} says that there is more, but nothing how to ask for it; {_SAY}")
    if _says_all(answered):
        return
    for prefix, value in places(answered):
        for name in (*_TOKEN, *_TOKEN_OBJECT):
            token = value_at(value, name)
            if _is_token(name, token) and not _echoed(answered, token):
                raise SourceError(
                    f"{prefix + name!r} seems to ask for the next page, but nothing says how it is sent back; say"
                    f" paging=NextCursor({prefix + name!r}, param=...); where that is all, paging=Single()"
                )
    count = _count(answered)
    if not count:
        return
    above = total_above(answered)
    if above is not None:
        raise SourceError(f"{above}, and nothing says how to ask for the others; {_SAY}")
    around = places(answered)
    numbers = [(repr(prefix + name), number_of(value_at(value, name))) for prefix, value in around for name in _PAGES]
    numbers += [(f"the header {name}", number_of(answered.answer.headers.get(name))) for name in _PAGES_HEADERS]
    for what, number in numbers:
        if number is not None and number > 1:
            raise SourceError(f"{what} says that there are {number:,} pages, but nothing how to ask for them; {_SAY}")
    _check_full(answered, count)


def total_above(answered: Answered) -> str | None:
    """What says that there are more than the records that came, as an error begins with it."""
    count = _count(answered)
    for what, total in _totals(answered) if count else ():
        if total > (count or 0):
            return f"{what} says that there are {total:,}, but these are {count:,}"
    return None


def _check_full(answered: Answered, count: int) -> None:
    """Raises SourceError where as many records came as were asked for: there may be more."""
    if any(total <= count for _, total in _totals(answered, _TOTAL)):
        return  # and they are all
    for name, size in _sizes(answered):
        if size == count:
            raise SourceError(
                f"{name}={count} were asked for and came, so there may be more, but nothing says how to ask for them;"
                f" {_SAY}"
            )


def _totals(answered: Answered, names: tuple[str, ...] = (*_TOTAL, _COUNT)) -> list[tuple[str, int]]:
    headers = answered.answer.headers
    found = [(f"the header {name}", number_of(headers.get(name))) for name in _TOTAL_HEADERS]
    ranged = _RANGE.search(headers.get("Content-Range", ""))
    found += [("the header Content-Range", int(ranged[1]) if ranged else None)]
    found += [(repr(prefix + name), _total_at(value, name)) for prefix, value in places(answered) for name in names]
    return [(what, total) for what, total in found if total is not None]


def _total_at(value: object, name: str) -> int | None:
    total = number_of(value_at(value, name))
    is_least = name == _OF_OBJECT and value_at(value, "total.relation") == "gte"  # counted so far, and no further
    return total + 1 if total is not None and is_least else total


def _says_all(answered: Answered) -> bool:
    """Does a flag say that this is the end?"""
    said = [value_at(answered.body, path) for path in MORE]
    said += [value_at(value, name) for _, value in places(answered) for name in _GO_ON]
    ends = [value_at(value, name) for _, value in places(answered) for name in _END]
    return any(one is not None and not is_true(one) for one in said) or any(map(_is_said, ends))


def _sizes(answered: Answered) -> list[tuple[str, int]]:
    """How many records were asked for, in the address or in a JSON body, by name."""
    first = answered.first
    fields = first.fields()
    found = [(name, number_of(first.param(name)) or number_of(fields.get(name))) for name in _SIZES]
    return [(name, size) for name, size in found if size]


def _count(answered: Answered) -> int | None:
    """None where it isn't said which records are meant."""
    try:
        return answered.count
    except SourceError:
        return None


def _is_token(name: str, value: object) -> bool:
    if isinstance(value, dict):
        return name in _TOKEN_OBJECT and bool(value)
    return isinstance(value, (str, int)) and bool(value) and not isinstance(value, bool)


def _echoed(answered: Answered, token: object) -> bool:
    """An answer that repeats what it was asked says nothing of the next one."""
    return any(value == str(token) for _, value in answered.first.params)


def _is_said(value: object) -> bool:
    return isinstance(value, (bool, str)) and is_true(value) and str(value).strip().lower() in ("true", "1", "yes")


def _is_denied(value: object) -> bool:
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def first_number(body: object, paths: tuple[str, ...]) -> str | None:
    """The first path that leads to a number."""
    return next((path for path in paths if number_of(value_at(body, path)) is not None), None)


def number_of(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None

"""What an answer says of how much there is; that there is more, without a word of how it is asked for, is an error."""

from __future__ import annotations

import re
from typing import Final

from api2db.errors import SourceError
from api2db.sources.rest.paging.convention import Answered, is_true, value_at

ENVELOPES: Final = (
    *("", "meta.", "pagination.", "paging.", "page_info.", "pageInfo.", "info.", "metadata.", "page."),
    *("meta.page.", "meta.pagination."),
)
MORE: Final = tuple(
    prefix + name
    for prefix in ENVELOPES
    for name in (
        *("has_more", "hasMore", "more", "hasNextPage", "has_next_page", "has_next", "hasNext"),
        *("is_truncated", "isTruncated", "IsTruncated", "truncated"),
    )
)
TOTALS: Final = tuple(
    prefix + name
    for prefix in ENVELOPES
    for name in (
        "total",
        "total_count",
        "totalCount",
        "total-count",
        "total_results",
        "totalResults",
        "total_items",
        "totalItems",
    )
)
PAGES: Final = tuple(
    prefix + name
    for prefix in ENVELOPES
    for name in ("total_pages", "totalPages", "total-pages", "pages", "page_count", "last_page")
)
# Of a total in a header. "Content-Range: items 0-9/100" says one, too.
_TOTAL_HEADERS: Final = ("X-Total-Count", "X-Total", "X-WP-Total", "Total-Count", "X-Pagination-Total-Count")
_PAGES_HEADERS: Final = ("X-Total-Pages", "X-WP-TotalPages", "X-Pagination-Page-Count")
HEADERS: Final = (*_TOTAL_HEADERS, *_PAGES_HEADERS, "Content-Range")
"""Which say how much there is."""
_RANGE: Final = re.compile(r"/(\d+)\s*$")
# A list may be counted as "count" where the same word elsewhere is the number of records that came.
_COUNTS: Final = (*TOTALS, *(prefix + "count" for prefix in ENVELOPES))
_TOKENS: Final = tuple(
    prefix + name
    for prefix in ENVELOPES
    for name in (
        *("next", "cursor", "after", "nextPage", "next_page", "next_id", "nextId", "marker", "next_marker"),
        *("nextMarker", "NextMarker", "bookmark", "scroll_id", "_scroll_id", "continue", "end_cursor", "endCursor"),
    )
)
_SIZES: Final = ("limit", "per_page", "page_size", "pageSize", "perPage", "size", "count", "top", "$top", "rows",
                 "page[size]", "page[limit]", "max_results", "maxResults", "pageLimit")  # fmt: skip
_SAY: Final = "say paging=; where that is all, paging=Single()"


def says_more(body: object) -> str | None:
    """The path of what says that there is more."""
    return next((path for path in MORE if _is_said(value_at(body, path))), None)


def check_all(answered: Answered) -> None:
    """Raises SourceError where there is more than this answer, but nothing says how it is asked for."""
    body = answered.body
    more = says_more(body)
    if more is not None:
        raise SourceError(f"{more!r} says that there is more, but nothing how to ask for it; {_SAY}")
    if any(said is not None and not is_true(said) for said in (value_at(body, path) for path in MORE)):
        return
    for path in _TOKENS:
        token = value_at(body, path)
        if isinstance(token, (str, int)) and token and not isinstance(token, bool) and not _echoed(answered, token):
            raise SourceError(
                f"{path!r} seems to ask for the next page, but nothing says how it is sent back; say"
                f" paging=NextCursor({path!r}, param=...); where that is all, paging=Single()"
            )
    count = _count(answered)
    if not count:
        return
    for what, total in _totals(answered):
        if total > count:
            raise SourceError(
                f"{what} says that there are {total:,}, but these are {count:,}, and nothing says how to ask for the"
                f" others; {_SAY}"
            )
    pages = first_number(body, tuple(path for path in PAGES if path != "pages"))
    numbers = [] if pages is None else [(repr(pages), number_of(value_at(body, pages)) or 0)]
    numbers += [(f"the header {name}", number_of(answered.answer.headers.get(name)) or 0) for name in _PAGES_HEADERS]
    for what, number in numbers:
        if number > 1:
            raise SourceError(f"{what} says that there are {number:,} pages, but nothing how to ask for them; {_SAY}")


def check_full(answered: Answered) -> None:
    """Raises SourceError where as many records came as were asked for: there may be more."""
    for name in _SIZES:
        size = number_of(answered.first.param(name))
        if size and size == _count(answered):
            raise SourceError(
                f"{name}={size} were asked for and came, so there may be more, but nothing says how to ask for them;"
                f" {_SAY}"
            )


def _totals(answered: Answered) -> list[tuple[str, int]]:
    headers = answered.answer.headers
    found = [(f"the header {name}", number_of(headers.get(name))) for name in _TOTAL_HEADERS]
    ranged = _RANGE.search(headers.get("Content-Range", ""))
    found += [("the header Content-Range", int(ranged[1]) if ranged else None)]
    found += [(repr(path), number_of(value_at(answered.body, path))) for path in _COUNTS]
    return [(what, total) for what, total in found if total is not None]


def _count(answered: Answered) -> int | None:
    """None where it isn't said which records are meant."""
    try:
        return answered.count
    except SourceError:
        return None


def _echoed(answered: Answered, token: object) -> bool:
    """An answer that repeats what it was asked says nothing of the next one."""
    return any(value == str(token) for _, value in answered.first.params)


def _is_said(value: object) -> bool:
    return isinstance(value, (bool, str)) and is_true(value) and str(value).strip().lower() in ("true", "1", "yes")


def first_number(body: object, paths: tuple[str, ...]) -> str | None:
    """The first path that leads to a number."""
    return next((path for path in paths if number_of(value_at(body, path)) is not None), None)


def number_of(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None

"""Headers that say what comes next: they may change while the body stays as it is, and with it its ETag.

What is remembered with an answer is the step after it, and digests of the headers it was taken from: where one of them
says something else now, the step is found anew. The body's rows aren't.

304 needn't carry them, and the body of a full page stays as it is when more comes behind it. So a last page is asked
for whole, unless it is plainly short; and since a server may give fewer than it was asked for, or vary, that one is too
from time to time.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import SourceError
from api2db.sources.context import POLL, PollContext
from api2db.sources.rest.paging import Detect, LinkHeader, NextCursor, Paging, Step
from api2db.sources.rest.paging.detect import found_in
from api2db.sources.rest.paging.more import number_of

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.rest.ask import Ask
    from api2db.sources.rest.paging import Answered

NEXT: Final = "next"
"""The step after it, in what is remembered."""
_HEARD: Final = "heard"
_WHOLE: Final = "whole"  # from when on, in s since 1970 UTC, the answer has to come whole
_RECORDS: Final = "records"  # how many it had
_WHOLE_EVERY_S: Final = 3600
# What servers give at most, whatever is asked for, is a round number, and not as small as that.
_LEAST_AT_MOST: Final = 10
# Of what may be another thing (count, size, top) nobody knows whether it is the size of a page.
_SIZES: Final = ("limit", "per_page", "page_size", "pageSize", "perPage", "page[size]", "page[limit]", "max_results",
                 "maxResults", "pageLimit")  # fmt: skip


def in_use(paging: Paging, *steps: Step | None) -> Paging:
    """The convention, or what it was found to be in one of the steps."""
    found = (found_in(step) for step in steps if step) if isinstance(paging, Detect) else ()
    return next((one for one in found if one is not None), paging)


def memo(
    paging: Paging,
    answered: Answered,
    step: Step | None,
    *,
    is_sure: bool,
    most: int = 0,
    before: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What is remembered with an answer.

    is_sure  however the API goes on, nobody wants what is behind it
    most     records that a page before it had
    before   what was remembered with it until now, where it came without its body
    """
    used = in_use(paging, answered.step, step)
    made: dict[str, Any] = {NEXT: step}
    if _heeds(used):
        made[_HEARD] = _heard(used, answered.answer)
        count = _count(answered, before)
        if count is not None:
            made[_RECORDS] = count
        if step is None and not is_sure and not isinstance(used, Detect):
            made[_WHOLE] = _next_look_s() if count is not None and _is_short(answered.first, count, most) else 0
    return made


def records_of(remembered: dict[str, Any]) -> int:
    """How many the page had; 0 where nobody knows."""
    return int(remembered.get(_RECORDS, 0))


def came_whole(remembered: dict[str, Any]) -> dict[str, Any]:
    """What is remembered once the answer came whole and is as it was."""
    return {**remembered, _WHOLE: _next_look_s()} if remembered.get(_WHOLE) else remembered


def wants_whole(remembered: object) -> bool:
    """Has the answer to come whole? 304 needn't carry the header that would say that there is a next page now."""
    from_s = remembered.get(_WHOLE) if isinstance(remembered, dict) else None
    return from_s is not None and from_s <= _now_s()


def tells_anew(paging: Paging, step: Step, told: Answer, remembered: dict[str, Any]) -> bool:
    """Does the answer that says that the body is unchanged say something new of what comes next?

    304 has its say by the headers that it carries: of the others it tells nothing.
    """
    used = in_use(paging, step, remembered[NEXT])
    is_bare = told.status_code == HTTPStatus.NOT_MODIFIED
    if told.status_code == HTTPStatus.NO_CONTENT:
        return False
    if not isinstance(getattr(used, "heeds", None), tuple):
        return not is_bare  # of somebody's own convention: it may read any header
    if not _heeds(used):
        return False
    if _HEARD not in remembered:
        return True  # by an older version
    before, now = remembered[_HEARD], _heard(used, told)
    return any(before.get(name) != digest for name, digest in now.items()) if is_bare else before != now


def needs_body(paging: Paging, step: Step, remembered: dict[str, Any]) -> bool:
    """Does it take more than headers to say what comes next?"""
    used = in_use(paging, step, remembered[NEXT])
    return not isinstance(used, (LinkHeader, NextCursor)) or used.counts or getattr(used, "has_more", None) is not None


def _heeds(paging: Paging) -> tuple[str, ...]:
    return getattr(paging, "heeds", ())


def _heard(paging: Paging, answer: Answer) -> dict[str, str]:
    """Digests: an API's address may hold a credential."""
    found = {name: answer.headers.get(name) for name in _heeds(paging)}
    return {name: hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for name, text in found.items() if text}


def _count(answered: Answered, before: dict[str, Any] | None) -> int | None:
    """None where nobody has said which the records are."""
    try:
        return answered.count
    except SourceError:
        return None if before is None else before.get(_RECORDS)


def _is_short(first: Ask, count: int, most: int) -> bool:
    """Had this page room for more? By a page before it, or by what was asked for, if that was given."""
    if count < most or not count:
        return True
    sizes = [size for name in _SIZES if (size := number_of(first.param(name)))]
    return bool(sizes) and count < min(sizes) and not _may_be_all_it_gives(count)


def _may_be_all_it_gives(count: int) -> bool:
    return count >= _LEAST_AT_MOST and (count % 5 == 0 or count & (count - 1) == 0)


def _now_s() -> int:
    return (POLL.get() or PollContext()).started_ns // 10**9


def _next_look_s() -> int:
    return _now_s() + _WHOLE_EVERY_S

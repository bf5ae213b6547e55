"""Headers that say what comes next: they may change while the body stays as it is, and with it its ETag.

What is remembered with an answer is the step after it, and digests of the headers it was taken from: where one of them
says something else now, the step is found anew. The body's rows aren't.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import SourceError
from api2db.sources.rest.paging import Detect, LinkHeader, NextCursor, Paging, Step
from api2db.sources.rest.paging.detect import found_in
from api2db.sources.rest.paging.more import is_short

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.rest.paging import Answered

NEXT: Final = "next"
"""The step after it, in what is remembered."""
_HEARD: Final = "heard"
_WHOLE: Final = "whole"


def in_use(paging: Paging, *steps: Step | None) -> Paging:
    """The convention, or what it was found to be in one of the steps."""
    found = (found_in(step) for step in steps if step) if isinstance(paging, Detect) else ()
    return next((one for one in found if one is not None), paging)


def memo(paging: Paging, answered: Answered, step: Step | None, *, is_sure: bool) -> dict[str, Any]:
    """What is remembered with an answer. ``is_sure``: however the API goes on, nobody wants what is behind it."""
    used = in_use(paging, answered.step, step)
    made: dict[str, Any] = {NEXT: step}
    if _heeds(used):
        made[_HEARD] = _heard(used, answered.answer)
        if step is None and not is_sure and not isinstance(used, Detect) and not _is_short(answered):
            made[_WHOLE] = True
    return made


def wants_whole(remembered: object) -> bool:
    """Has the answer to come whole? 304 needn't carry the header that would say that there is a next page now."""
    return isinstance(remembered, dict) and bool(remembered.get(_WHOLE))


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


def _is_short(answered: Answered) -> bool:
    try:
        return is_short(answered)
    except SourceError:
        return False

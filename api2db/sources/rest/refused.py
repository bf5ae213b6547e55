"""Where a poll went on and the API didn't know any more where that is: its cursor has expired meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from api2db.errors import SourceError
from api2db.sources.context import POLL
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.find import find_records

T = TypeVar("T")

UNKNOWN_STEP: Final = (400, 404, 410, 416, 422)
"""What an API answers to a step it doesn't know, or doesn't know any more."""
# Of an answer with status 200 that has no list of records.
_SUCCESS: Final = ("ok", "success")
_ERRORS: Final = ("error", "errors", "fault")
# Collector and request: a function found no records in its answer, where its poll went on from a kept cursor.
_unfound: set[tuple[str, str]] = set()


class StepRefused(SourceError):
    """The first request of a poll, which went on from a cursor that was kept, was answered by an error."""


def status_of(error: SourceError) -> int | None:
    """The status of the answer that an error is about."""
    response: Any = getattr(error, "response", None)
    return None if response is None else response.status_code


def unless_refused(made: Callable[[], T], *kinds: type[SourceError]) -> T:
    """What is made of the first answer. Raises StepRefused where that fails with exactly one of the ``kinds``."""
    try:
        return made()
    except kinds as error:
        if type(error) not in kinds:
            raise
        raise StepRefused(str(error)) from None


def check_error(body: object) -> None:
    """Raises StepRefused for a body that says that it is an error, and has no list of records."""
    if not isinstance(body, dict):
        return
    says = next((name for name in _SUCCESS if body.get(name) is False), None)
    says = says or next((name for name in _ERRORS if body.get(name)), None)
    if says is None:
        return
    try:
        find_records(body)
    except SourceError:
        raise StepRefused(f"{says!r} in its answer says that it is an error") from None


def note_unfound(ask: Ask) -> None:
    """Nobody finds records where a poll went on: the next one begins anew."""
    _unfound.add(_about(ask))


def check_unfound(ask: Ask) -> None:
    """Raises StepRefused, once, where ``note_unfound`` was told of the same request."""
    if _about(ask) in _unfound:
        _unfound.discard(_about(ask))
        raise StepRefused("the poll before found no records in its answer")


def _about(ask: Ask) -> tuple[str, str]:
    poll = POLL.get()
    return ("" if poll is None else poll.collector), ask.identity()


def begun_anew(ask: Ask, error: StepRefused) -> str:
    """What is said of a list of pages that is begun anew."""
    poll = POLL.get()
    again = "its key merges those" if poll is not None and poll.key else "without a key= they are stored twice"
    return (
        f"{ask}: the API doesn't take the cursor that was kept any more ({error}): its pages are read from the first"
        f" on, and the rows of those that were accepted come once more; {again}"
    )

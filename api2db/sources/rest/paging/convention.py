"""What every way of paging is: from one answer to the step that asks for the next, as a value of JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from api2db.errors import SourceError
from api2db.form.path import Path, parse_path
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.declared import checked

if TYPE_CHECKING:
    from api2db.sources.answer import Answer

Step = dict[str, Any]
"""Which page: JSON, ``{}`` the first. With the first request it makes the request of that page."""
WAS: Final = "was"
"""In a step: the digest of the records of the page before it."""
OPEN: Final = "open"
"""In a step: the page before may be filled up by records that are added, since it may have been the last one."""


_AT_ONCE: Final = 1000  # records: however large a page is, it isn't held a second time


@dataclass(frozen=True)
class Answered:
    """One answer as a convention looks at it.

    first    the request as it was declared, without what a convention adds
    step     which page this is the answer to
    body     decoded
    select   gives its records; may raise SourceError, so it is called only where they have to be counted
    """

    first: Ask
    step: Step
    answer: Answer
    body: object
    select: Callable[[], Sequence[object]]

    @cached_property
    def records(self) -> Sequence[object]:
        return self.select()

    @property
    def count(self) -> int:
        return len(self.records)

    @cached_property
    def digest(self) -> str:
        """Of all records, and of them alone: what surrounds them may hold the time of the answer."""
        digest = hashlib.sha256(b"%d" % self.count)
        for at in range(0, self.count, _AT_ONCE):
            digest.update(_encoded(self.records[at : at + _AT_ONCE]))
        return digest.hexdigest()[:16]


def _encoded(records: Sequence[object]) -> bytes:
    """As MessagePack, which takes half the time of JSON; also what neither can hold."""
    try:
        return msgspec.msgpack.encode(records, enc_hook=str)
    except (UnicodeError, TypeError, ValueError, OverflowError):
        return json.dumps(records, default=repr).encode()


class RepeatedPage(SourceError):
    """The records of this page are those of the page before."""


class Paging(Protocol):
    """A convention; immutable, used by any number of threads.

    counts   does ``after`` need the records, or the body and headers alone?

    One may have ``heeds`` too: the headers that ``after`` reads. Without it, it may be any. And ``in_vain``: of an
    answer that it ends at, what was looked for where nothing is; None where the answer says that it is the end. And
    ``kept``: of the answer it ends at, the step that the next poll begins with; None: at the first page.
    """

    @property
    def counts(self) -> bool: ...

    def ask(self, first: Ask, step: Step) -> Ask:
        """The request of a step."""

    def after(self, answered: Answered) -> Step | None:
        """The step after the one that was answered; None at the end. Raises SourceError."""


def keeps(paging: Paging) -> bool:
    """Does the next poll begin where the one before ended?"""
    return bool(getattr(paging, "keep", False))


def path_of(text: str) -> Path:
    """A path into an answer, ``"meta.next"``. Raises ConfigError."""
    return parse_path(text, ())[0]


def checked_path(text: str) -> Path:
    """The same of a path in a declaration, whose line the error names."""
    return checked(lambda: path_of(text))


def value_at(body: object, text: str) -> Any:
    """What is there; None where the path leads nowhere."""
    return path_of(text).read(body)


_MISSING: Final = object()


def is_there(body: object, text: str) -> bool:
    """Does the path lead to something, be it null?"""
    return path_of(text).read(body, _MISSING) is not _MISSING


_NOT: Final = "!"
"""Before the path of a flag: it says that this is the end."""


def checked_flag(text: str) -> None:
    """Raises ConfigError for what isn't the path of a flag, ``"has_more"`` or ``"!end_of_stream"``."""
    checked_path(text.removeprefix(_NOT))


def flag_at(body: object, text: str) -> bool | None:
    """Does the flag say that there is more? None where it is missing or null."""
    value = value_at(body, text.removeprefix(_NOT))
    return None if value is None else is_true(value) != text.startswith(_NOT)


def is_true(value: object) -> bool:
    """Does what says whether there is more say that there is? Also as text."""
    return value.strip().lower() not in ("", "false", "0", "no") if isinstance(value, str) else bool(value)

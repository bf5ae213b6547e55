"""A word in the answer that is sent back to get the next page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from api2db.errors import SourceError
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.declared import mistaken
from api2db.sources.rest.find import kind_of
from api2db.sources.rest.paging.convention import (
    OPEN,
    Answered,
    Step,
    checked_flag,
    checked_path,
    flag_at,
    is_there,
    value_at,
)


@dataclass(frozen=True)
class NextCursor:
    """A cursor of the API's, taken from one place and sent back in another.

    path      of the cursor in the body ("meta.next_cursor"); or
    header    the header it is in; or
    last      its path in the last record, which has to have it, for APIs that go on after an id ("id")
    param     the parameter it is sent back as; or
    field     the field of the JSON body ("page.after"), which takes any JSON: a list of sort keys, too
    has_more  path of what says whether there is more, or, "!end_of_stream", that this is the end; without it the end
              is where there is no cursor
    empty_ends  a page without records is the last one, whatever cursor it has: for a number that only counts on
    keep      the next poll begins with the cursor of the last page; a path of it, if it is elsewhere there
    alone     the cursor is sent without the other parameters, or, by ``field``, fields, but those that are named:
              ``alone=("verb",)``. Credentials stay
    """

    path: str | None = None
    param: str | None = None
    header: str | None = None
    last: str | None = None
    field: str | None = None
    has_more: str | None = None
    empty_ends: bool = False
    alone: bool | tuple[str, ...] = False
    keep: bool | str = False

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.path, self.header, self.last)) != 1:
            raise mistaken("NextCursor takes the API's cursor from one place: give path=, header= or last=")
        if (self.param is None) == (self.field is None):
            raise mistaken("NextCursor sends the cursor back: give param= (of the address) or field= (of the body)")
        if not isinstance(self.alone, bool) and not _are_names(self.alone):
            raise mistaken(f"NextCursor(alone={self.alone!r}): give True, or what is sent too: alone=('verb',)")
        for path in (self.path, self.last):
            if path is not None:
                checked_path(path)
        if self.has_more is not None:
            checked_flag(self.has_more)
        if isinstance(self.keep, str):
            checked_path(self.keep)

    @property
    def counts(self) -> bool:
        return self.last is not None or self.empty_ends

    @property
    def heeds(self) -> tuple[str, ...]:
        return () if self.header is None else (self.header,)

    def ask(self, first: Ask, step: Step) -> Ask:
        if "cursor" not in step:
            return first
        if self.alone:
            kept = () if isinstance(self.alone, bool) else self.alone
            first = first.only_params(*kept) if self.param is not None else first.only_fields(*kept)
        if self.param is not None:
            return first.with_params(**{self.param: step["cursor"]})
        return first.with_fields(**{str(self.field): step["cursor"]})

    def after(self, answered: Answered) -> Step | None:
        if self.has_more is not None and not flag_at(answered.body, self.has_more):
            return None
        found = self._cursor(answered)
        if found is None or found is False or found in ("", [], {}):
            if self.has_more is not None:
                where = f"nothing is at {self.path!r}" if self.path is not None else f"there is no {self.header!r}"
                raise SourceError(f"{self.has_more!r} says that there is more, but no cursor came with it: {where}")
            return None
        if self.field is None and not isinstance(found, (str, int, float)):
            raise SourceError(
                f"the cursor should be a text or a number, but is {kind_of(found)}: a parameter holds no other, a field"
                " of the body (field=) does"
            )
        if not self.empty_ends:
            return {"cursor": found}
        if not answered.count:
            return None
        return {"cursor": found} if self.has_more is not None else {"cursor": found, OPEN: True}

    def kept(self, answered: Answered) -> Step | None:
        if not self.keep:
            return None
        if self.last is not None and not answered.records:
            return answered.step or None  # none is behind the last record of before
        found = value_at(answered.body, self.keep) if isinstance(self.keep, str) else self._cursor(answered)
        if found is None or found == "":
            raise SourceError("the last page has no cursor for the next poll to begin with; correct keep=")
        return {"cursor": found}

    def in_vain(self, answered: Answered) -> str | None:
        if self.has_more is not None:
            missing = flag_at(answered.body, self.has_more) is None
            return f"there is nothing at {self.has_more.removeprefix('!')!r}" if missing else None
        if isinstance(self.keep, str) and is_there(answered.body, self.keep):
            return None
        if self.header is not None:
            return f"there is no header {self.header}" if self.header not in answered.answer.headers else None
        if self.path is None or is_there(answered.body, self.path):
            return None
        return f"there is nothing at {self.path!r}"

    def _cursor(self, answered: Answered) -> Any:
        if self.header is not None:
            return answered.answer.headers.get(self.header)
        if self.path is not None:
            return value_at(answered.body, self.path)
        if not answered.records:
            return None
        found = value_at(answered.records[-1], str(self.last))
        if found is None:
            raise SourceError(f"the last record has no {self.last!r} to go on after; correct last=")
        return found


def _are_names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)

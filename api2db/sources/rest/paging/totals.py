"""What an answer's body says of how much there is, and whether the page before came once more."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from api2db.errors import SourceError
from api2db.sources.rest.find import kind_of
from api2db.sources.rest.paging.convention import (
    WAS,
    Answered,
    RepeatedPage,
    Step,
    checked_flag,
    checked_path,
    flag_at,
    value_at,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Counting:
    """What conventions that count have in common.

    total        path of the number of all records; one that is exceeded by what came isn't believed
    has_more     path of what says whether there is more; "!is_last", where it says that this is the end
    short_ends   a page with fewer records than were asked for is the last one; without it that is the empty
                 page, which costs a request more, but a server that gives fewer than asked for hides nothing
    repeat_ends  past the end the API gives its last page again; without it that is an error, since the same
                 comes of a parameter that the API ignores
    in_body      the paging is sent as fields of the JSON body, not as parameters
    """

    total: str | None = None
    has_more: str | None = None
    short_ends: bool = False
    repeat_ends: bool = False
    in_body: bool = False
    _told: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    heeds: ClassVar[tuple[str, ...]] = ()
    place: ClassVar[str]  # where a step says which page it is

    def __post_init__(self) -> None:
        if self.total is not None:
            checked_path(self.total)
        if self.has_more is not None:
            checked_flag(self.has_more)

    @property
    def counts(self) -> bool:
        return True

    def own(self, answered: Answered) -> Answered:
        """The answer, to the first page where its step is one of another convention: that was what was asked for."""
        return answered if self.place in answered.step else replace(answered, step={})

    def ends(self, answered: Answered, *, before: int, size: int | None) -> bool:
        """Is this the last page? ``before`` records were on the pages before it; ``size`` were asked for.

        Raises RepeatedPage.
        """
        count = answered.count
        if answered.step.get(WAS) == answered.digest:
            raise RepeatedPage(
                "this page has the records of the page before: the API ignores what asks for the next one, or gives"
                " its last page again past the end; correct paging=, or say repeat_ends=True"
            )
        if count and answered.step.get("short") and str(answered.first) not in self._told:
            self._told.add(str(answered.first))
            log.info("the API gives fewer records a page than asked for request=%s asked=%s", answered.first, size)
        if self.has_more is not None:
            more = flag_at(answered.body, self.has_more)
            if more is not None:
                return not more
        total = self._total(answered)
        if total is not None and count and before + count > total:
            self._disbelieve(answered, total, before + count)
            total = None
        if total is not None and before + count >= total:
            return True
        if count == 0:
            if total is not None and total > before:
                log.warning(
                    "paging ended early: the API says there are more than it gives request=%s says=%d gave=%d",
                    answered.first, total, before,
                )  # fmt: skip
            return True
        return self.short_ends and size is not None and count < size

    def says_more(self, answered: Answered, *, before: int) -> bool:
        """Does the answer say that there is more behind this page?"""
        if self.has_more is not None and flag_at(answered.body, self.has_more):
            return True
        total = self._total(answered)
        return total is not None and total > before + answered.count

    def onward(self, answered: Answered, size: int | None, **where: Any) -> Step:
        """The next step, with what its answer is compared with."""
        step: Step = {**where, WAS: answered.digest}
        if size is not None and not answered.step and answered.count < size:
            step["short"] = True  # said once, when the next page shows that this wasn't the last
        return step

    def _disbelieve(self, answered: Answered, total: int, gave: int) -> None:
        said = f"total {answered.first}"
        if said not in self._told:
            self._told.add(said)
            log.warning(
                "the API says there are fewer than it gives; it is read on request=%s says=%d gave=%d",
                answered.first, total, gave,
            )  # fmt: skip

    def _total(self, answered: Answered) -> int | None:
        if self.total is None:
            return None
        found = value_at(answered.body, self.total)
        return whole(found, f"the total at {self.total!r}") if found is not None else None


def whole(value: object, what: str) -> int:
    """A whole number, also as text. Raises SourceError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():
        return int(value)
    raise SourceError(f"{what} should be a whole number, but is {kind_of(value)}")

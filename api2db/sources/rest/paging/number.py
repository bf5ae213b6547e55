"""Pages by their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from api2db.sources.rest.ask import Ask
from api2db.sources.rest.declared import check_whole
from api2db.sources.rest.paging.convention import OPEN, Answered, Step, checked_path, value_at
from api2db.sources.rest.paging.totals import Counting, whole


@dataclass(frozen=True)
class PageNumber(Counting):
    """``?page=2&per_page=100``.

    size     how many are asked for a page; None: what the API gives
    start    the number of the first page
    pages    path of the number of pages there are
    param, size_param    their names
    """

    size: int | None = None
    param: str = "page"
    size_param: str = "per_page"
    start: int = 1
    pages: str | None = None

    place: ClassVar[str] = "page"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            check_whole("PageNumber(size=", self.size, 1)
        check_whole("PageNumber(start=", self.start, 0)
        if self.pages is not None:
            checked_path(self.pages)

    def ask(self, first: Ask, step: Step) -> Ask:
        values: dict[str, object] = {self.param: step.get("page", self.start)}
        if self.size is not None:
            values[self.size_param] = self.size
        return first.with_fields(**values) if self.in_body else first.with_params(**values)

    def after(self, answered: Answered) -> Step | None:
        answered = self.own(answered)
        number, before = answered.step.get("page", self.start), answered.step.get("read", 0)
        if self.ends(answered, before=before, size=self.size) or self._last(answered, number):
            return None
        step = self.onward(answered, self.size, page=number + 1, read=before + answered.count)
        return {**step, OPEN: True} if self._is_open(answered, before) else step

    def _is_open(self, answered: Answered, before: int) -> bool:
        """May records that are added come on this page? Those that skip records have them on the next one."""
        if self.size is not None and answered.count >= self.size:
            return False
        is_numbered = self.pages is not None and value_at(answered.body, self.pages) is not None
        return not (is_numbered or self.says_more(answered, before=before))

    def _last(self, answered: Answered, number: int) -> bool:
        if self.pages is None:
            return False
        found = value_at(answered.body, self.pages)
        if found is None:
            return False
        first = min(self.start, 1)  # whoever starts at page 5 of 9 wants five
        return number - first + 1 >= whole(found, f"the number of pages at {self.pages!r}")

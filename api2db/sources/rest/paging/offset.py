"""Pages by how many records to skip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from api2db.errors import SourceError
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.declared import check_whole
from api2db.sources.rest.paging.convention import Answered, Step
from api2db.sources.rest.paging.totals import Counting


@dataclass(frozen=True)
class OffsetLimit(Counting):
    """``?offset=200&limit=100``. It goes on by as many records as came, however many were asked for.

    limit         how many are asked for a page; None: what the API gives
    start         the offset of the first record
    offset_param, limit_param    their names
    """

    limit: int | None = None
    offset_param: str = "offset"
    limit_param: str = "limit"
    start: int = 0

    place: ClassVar[str] = "offset"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None:
            check_whole("OffsetLimit(limit=", self.limit, 1)
        check_whole("OffsetLimit(start=", self.start, 0)

    def ask(self, first: Ask, step: Step) -> Ask:
        values: dict[str, object] = {self.offset_param: step.get("offset", self.start)}
        if self.limit is not None:
            values[self.limit_param] = self.limit
        return first.with_fields(**values) if self.in_body else first.with_params(**values)

    def after(self, answered: Answered) -> Step | None:
        answered = self.own(answered)
        offset = answered.step.get("offset", self.start)
        if self.ends(answered, before=offset - self.start, size=self.limit):
            return None
        if not answered.count:
            raise SourceError(
                f"{self.has_more!r} says that there is more, but there is nothing on this page to go on from"
            )
        return self.onward(answered, self.limit, offset=offset + answered.count)

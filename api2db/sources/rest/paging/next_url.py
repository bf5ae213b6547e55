"""The next page's address in the answer's body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from api2db.errors import SourceError
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.find import kind_of
from api2db.sources.rest.paging.address import at_address, step_to
from api2db.sources.rest.paging.convention import Answered, Step, checked_path, value_at


@dataclass(frozen=True)
class NextUrl:
    """``{"next": "https://…?page=2"}``; ``path`` is where it is. The end: it is missing, null or empty."""

    path: str = "next"

    counts: ClassVar[bool] = False
    heeds: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        checked_path(self.path)

    def ask(self, first: Ask, step: Step) -> Ask:
        return at_address(first, step)

    def after(self, answered: Answered) -> Step | None:
        found = value_at(answered.body, self.path)
        if not found:
            return None
        if not isinstance(found, str):
            raise SourceError(f"what is at {self.path!r} should be the next page's address, but is {kind_of(found)}")
        return step_to(answered, found)

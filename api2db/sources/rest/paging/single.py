"""One answer is all there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from api2db.sources.rest.ask import Ask
from api2db.sources.rest.paging.convention import Answered, Step


@dataclass(frozen=True)
class Single:
    """No paging, whatever the answer says of further pages."""

    counts: ClassVar[bool] = False
    heeds: ClassVar[tuple[str, ...]] = ()

    def ask(self, first: Ask, step: Step) -> Ask:
        return first

    def after(self, answered: Answered) -> Step | None:
        return None

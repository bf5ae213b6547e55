"""Records whose names stood in a row of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class NamedRows(list[Any]):
    """The records, in their order. ``names``: as that row had them; ``advice``: what to do where it isn't there."""

    def __init__(self, rows: Iterable[Any], names: Sequence[str], advice: str) -> None:
        super().__init__(rows)
        self.names = tuple(names)
        self.advice = advice

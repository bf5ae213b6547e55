"""Counting what shaping changes, and the mark of a value that isn't there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""A value the payload doesn't have, where that differs from a null it does have."""

MISFITS: Final = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RecursionError)
"""What conversions raise for a value that doesn't fit its type. The value becomes null and is counted."""


@dataclass
class Tally:
    """Counts while one column is made: values that became null, values changed by rule."""

    nulled: int = 0
    replaced: int = 0

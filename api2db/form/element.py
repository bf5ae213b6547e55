"""An XML element as a value: its text, or, where it has attributes too, ``{"@lang": "en", "#text": "Cheers"}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXT_KEY: Final = "#text"


def own_text(value: object) -> object:
    """The text of an element that has nothing but attributes beside it; any other value as it is."""
    if isinstance(value, Mapping) and TEXT_KEY in value:
        others = (key for key in value if key != TEXT_KEY)
        if all(isinstance(key, str) and key.startswith("@") for key in others):
            return value[TEXT_KEY]
    return value

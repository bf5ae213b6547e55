"""An XML document as one value."""

from __future__ import annotations

from typing import Any


class Elements(dict[str, Any]):
    """The root under its name. An element that isn't in the one around it is there no times: an empty list."""

"""What a source that keeps its cursor itself yields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """Records and how far they reach.

    records  what a source may return anyway: a list of dicts, a DataFrame, an Arrow table, or None for none
    cursor   any JSON value; handed to the next poll once the records are accepted, together with them
    """

    records: object
    cursor: object

"""REST APIs: requests, pages, records. Importing it, and declaring with it, asks nothing and loads little."""

from __future__ import annotations

from api2db.sources.rest.beside import Beside
from api2db.sources.rest.client import Rest
from api2db.sources.rest.page import NO_CURSOR, RestPage
from api2db.sources.rest.paging import (
    Connection,
    LinkHeader,
    NextCursor,
    NextUrl,
    OffsetLimit,
    PageNumber,
    Paging,
    Single,
)
from api2db.sources.rest.records import At, HeaderRow, Keyed, Parallel
from api2db.sources.rest.source import RestSource

__all__ = [
    "NO_CURSOR",
    "At",
    "Beside",
    "Connection",
    "HeaderRow",
    "Keyed",
    "LinkHeader",
    "NextCursor",
    "NextUrl",
    "OffsetLimit",
    "PageNumber",
    "Paging",
    "Parallel",
    "Rest",
    "RestPage",
    "RestSource",
    "Single",
]

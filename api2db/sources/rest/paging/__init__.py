"""Ways in which APIs hand out what is too much for one answer, one module each."""

from __future__ import annotations

from api2db.sources.rest.paging.connection import Connection
from api2db.sources.rest.paging.convention import Answered, Paging, RepeatedPage, Step
from api2db.sources.rest.paging.detect import Detect
from api2db.sources.rest.paging.link import LinkHeader
from api2db.sources.rest.paging.next_cursor import NextCursor
from api2db.sources.rest.paging.next_url import NextUrl
from api2db.sources.rest.paging.number import PageNumber
from api2db.sources.rest.paging.offset import OffsetLimit
from api2db.sources.rest.paging.single import Single

__all__ = [
    "Answered",
    "Connection",
    "Detect",
    "LinkHeader",
    "NextCursor",
    "NextUrl",
    "OffsetLimit",
    "PageNumber",
    "Paging",
    "RepeatedPage",
    "Single",
    "Step",
]

"""Ways in which APIs hand out what is too much for one answer, one module each."""

from __future__ import annotations

from api2db.sources.rest.paging.convention import Paging, RepeatedPage, Seen, Step
from api2db.sources.rest.paging.link import LinkHeader
from api2db.sources.rest.paging.single import Single

__all__ = ["LinkHeader", "Paging", "RepeatedPage", "Seen", "Single", "Step"]

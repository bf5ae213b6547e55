"""The moment a poll is for, handed to the function it calls."""

from __future__ import annotations

import datetime as dt
from contextvars import ContextVar

DUE: ContextVar[dt.datetime | None] = ContextVar("api2db_due", default=None)
"""Of the poll under way in this thread, or process."""


def due_time() -> dt.datetime:
    """When the poll under way was due, in its schedule's zone: with ``cron=`` and ``at=`` the time they say, however
    late it runs; with ``every=``, and for a poll that somebody asked for, its start. Outside a poll: now, in UTC.
    """
    return DUE.get() or dt.datetime.now(dt.UTC)

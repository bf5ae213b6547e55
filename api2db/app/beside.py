"""Who looks on beside the daemon: the pages it answers over HTTP, and those who tell people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api2db.layout import Layout
from api2db.runtime.sparing import Sparing
from api2db.runtime.status import read_status
from api2db.runtime.vitals import Vitals
from api2db.settings import Settings
from api2db.tell.teller import telling
from api2db.web.server import serving


@contextmanager
def attending(settings: Settings, vitals: Vitals) -> Iterator[None]:
    """All the settings ask for, while inside. They share one look at STORE."""
    layout = Layout(settings.store)
    status = Sparing(lambda: read_status(layout))
    with serving(settings, vitals, status), telling(settings, vitals, status, layout):
        yield

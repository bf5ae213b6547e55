"""api2db: a daemon that polls APIs and loads every row into databases and files exactly once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from api2db._version import __version__

# Not lazily: the function has to replace the module of the same name as this package's attribute.
from api2db.collector import Collector, collector
from api2db.sources.cursor import Cursor
from api2db.sources.page import Page

if TYPE_CHECKING:
    from api2db.app.run import Run
    from api2db.form import ApiForm, Feature
    from api2db.sources.http import Http
    from api2db.sources.incremental.incremental import Incremental
    from api2db.sources.net.retries import Retries
    from api2db.sources.rest import Rest, RestSource

__all__ = [
    "ApiForm",
    "Collector",
    "Cursor",
    "Feature",
    "Http",
    "Incremental",
    "Page",
    "Rest",
    "RestSource",
    "Retries",
    "Run",
    "__version__",
    "collector",
]

# Loaded when first asked for: ``--status`` needs neither pandas nor a database.
_HOMES = {
    "ApiForm": "api2db.form",
    "Feature": "api2db.form",
    "Http": "api2db.sources.http",
    "Incremental": "api2db.sources.incremental.incremental",
    "Rest": "api2db.sources.rest",
    "RestSource": "api2db.sources.rest",
    "Retries": "api2db.sources.net.retries",
    "Run": "api2db.app.run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'api2db' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

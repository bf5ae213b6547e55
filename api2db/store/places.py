"""A project's collectors, each with its stores behind it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from api2db.collector import Collector
from api2db.errors import ConfigError
from api2db.layout import Layout
from api2db.runtime.store_job import StoreCollector, collectors_of
from api2db.runtime.told import told
from api2db.settings import Settings
from api2db.store.store import Store


def with_stores(collectors: Iterable[Collector], settings: Settings) -> list[Collector]:
    """The collectors, and their stores as the collectors that they are. Those of a disabled one aren't run.

    Where ``stores`` fails, or is no list of stores, one takes their place that says why it can't run.
    """
    found: list[Collector] = []
    for collector in collectors:
        found.append(collector)
        if isinstance(collector, StoreCollector) or not collector.seconds:
            continue
        try:
            found += _stores_of(collector, settings)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything
            found.append(_broken(f"{collector.name}.store", told(error)))
    return _one_a_folder(found)


def _one_a_folder(collectors: Sequence[Collector]) -> list[Collector]:
    """With the second store of a folder put out of the way: which of them had which files would be chance."""
    whose: dict[str, str] = {}
    found: list[Collector] = []
    for each in collectors:
        if isinstance(each, StoreCollector):
            folder = os.path.realpath(each.folders.source)
            if folder in whose:
                each = _broken(each.name, f"store {whose[folder]} composes {folder} already: give each a folder")
            else:
                whose[folder] = each.name
        found.append(each)
    return found


def _stores_of(collector: Collector, settings: Settings) -> list[StoreCollector]:
    stores = list(collector.stores() or [])
    stray = next((each for each in stores if not isinstance(each, Store)), None)
    if stray is not None:
        raise ConfigError(f"collector {collector.name}: {stray!r} is no store: its stores return a list of them")
    return collectors_of(stores, collector, Layout(settings.store), settings.project)


def _broken(name: str, cause: str) -> Collector:
    def streams() -> None:
        raise ConfigError(cause)

    return Collector(name, 1, lambda: None, None, streams)

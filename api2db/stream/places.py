"""A collector's streams: those it makes itself, then those its ``to=`` names."""

from __future__ import annotations

from api2db.collector import Collector
from api2db.errors import ConfigError
from api2db.place import Place
from api2db.settings import Settings
from api2db.sinks.base import Target
from api2db.stream.overridden import Overridden, is_overridden
from api2db.stream.stream import Stream
from api2db.stream.stream2bigquery import Stream2Bigquery
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql


def targets_of(collector: Collector, settings: Settings) -> list[Target]:
    """Call ``streams`` and resolve the names of ``to=``. Raises ConfigError for what isn't a stream or a place."""
    targets: list[Target] = []
    for each in [*(collector.streams() or []), *collector.to]:
        if isinstance(each, str):
            targets.append(_of_place(collector, settings.place(each)))
        elif isinstance(each, Stream):
            targets.append(Overridden(each) if is_overridden(each) else each)
        else:
            raise ConfigError(f"collector {collector.name}: {each!r} is neither a stream nor the name of a place")
    return targets


def target_of(collector: Collector, name: str, settings: Settings) -> Target:
    """The stream into one more place, as the collector's ``to=`` would make it. Raises ConfigError."""
    return _of_place(collector, settings.place(name))


def _of_place(collector: Collector, place: Place) -> Stream:
    if place.kind == "local":
        path = None if place.path is None else str(place.path)
        return Stream2Local(collector.name, path=path, mode=place.mode, fmt=place.fmt)
    if place.kind == "bigquery":
        return Stream2Bigquery(collector.name, key=collector.key, version=collector.version, **place.options)
    assert place.url is not None
    return Stream2Sql(
        collector.name,
        url=place.url,
        table=place.table,
        key=collector.key,
        version=collector.version,
        batch_column=place.batch_column,
    )

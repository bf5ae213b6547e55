"""The metrics: what the status says, in Prometheus' words.

Labels are the names of collectors and streams in STORE, and of states: their number is bounded by what the project
declares. Everything is read when asked for; nothing here counts by itself.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from api2db._version import __version__
from api2db.runtime.status import CollectorStatus, Status, StreamStatus
from api2db.runtime.vitals import Vitals
from api2db.settings import Settings

COUNTERS = "_total"  # names that end so are counters, the others gauges


@dataclass(frozen=True)
class OfCollector:
    """One number of each collector; None where it has none."""

    name: str
    help: str
    value: Callable[[CollectorStatus], float | None]


@dataclass(frozen=True)
class OfStream:
    """One number of each stream."""

    name: str
    help: str
    value: Callable[[StreamStatus], float | None]


def _seconds(time_ns: int | None) -> float | None:
    return None if time_ns is None else time_ns / 1e9


def _age_s(created_ns: int | None) -> float:
    return 0.0 if created_ns is None else max(0.0, (time.time_ns() - created_ns) / 1e9)


OF_COLLECTORS = (
    OfCollector("api2db_collector_polls_total", "Polls that ended.", lambda c: c.polls),
    OfCollector("api2db_collector_failures_total", "Polls that failed or were abandoned.", lambda c: c.failures),
    OfCollector("api2db_collector_skips_total", "Polls left out, since the last one still ran.", lambda c: c.skips),
    OfCollector("api2db_collector_accepted_rows_total", "Rows accepted: safe in STORE.", lambda c: c.rows),
    OfCollector("api2db_collector_accepted_batches_total", "Batches accepted.", lambda c: c.batches),
    OfCollector(
        "api2db_collector_last_success_timestamp_seconds",
        "When a poll last succeeded; absent before the first.",
        lambda c: _seconds(c.last_success_ns),
    ),
    OfCollector("api2db_collector_period_seconds", "How often it is polled.", lambda c: c.seconds),
    OfCollector(
        "api2db_collector_stale",
        "1 if no poll has succeeded within its fresh_within; absent without one.",
        lambda c: None if c.fresh_within_s is None else int(c.stale),
    ),
    OfCollector("api2db_collector_unread_files", "Files a store can't read, set aside.", lambda c: c.unread_files),
    OfCollector("api2db_collector_held_files", "Files of rows held before they were accepted.", lambda c: c.held_files),
)

OF_STREAMS = (
    OfStream("api2db_stream_loaded_rows_total", "Rows loaded.", lambda s: s.rows),
    OfStream("api2db_stream_loaded_batches_total", "Batches loaded.", lambda s: s.batches),
    OfStream("api2db_stream_quarantined_rows_total", "Rows the place refused.", lambda s: s.quarantined),
    OfStream(
        "api2db_stream_quarantine_files", "Files of refused rows that are still there.", lambda s: s.quarantine_files
    ),
    OfStream(
        "api2db_stream_last_success_timestamp_seconds",
        "When a load last succeeded; absent before the first.",
        lambda s: _seconds(s.last_success_ns),
    ),
    OfStream("api2db_stream_waiting_shards", "Shards that wait to be loaded.", lambda s: s.waiting),
    OfStream("api2db_stream_parked_shards", "Shards that failed and are tried again.", lambda s: s.parked),
    OfStream("api2db_stream_backlog_bytes", "Bytes of the shards waiting and parked.", lambda s: s.backlog_bytes),
    OfStream(
        "api2db_stream_backlog_age_seconds",
        "Age of the oldest shard that waits; 0 if none does.",
        lambda s: _age_s(s.oldest_ns),
    ),
)

OF_STATES = (
    ("api2db_collector_state", "1 for the state the collector is in; no sample for other states."),
    ("api2db_stream_state", "1 for the state the stream is in; no sample for other states."),
)


def of_daemon(status: Status, vitals: Vitals, settings: Settings) -> Iterator[tuple[str, str, float | None]]:
    """Name, help and value of what is neither a collector's nor a stream's; None where there is none."""
    disk = os.statvfs(settings.store)
    yield "api2db_stuck_polls", "Polls that hang and were left behind.", vitals.stuck_polls
    yield "api2db_heartbeat_timestamp_seconds", "The last heartbeat in the journal.", _seconds(status.heartbeat_ns)
    yield "api2db_disk_free_bytes", "Free on the disk of STORE.", disk.f_bavail * disk.f_frsize
    yield "api2db_disk_min_free_bytes", "Collecting pauses below it: min_free_bytes.", settings.min_free_bytes
    used = None if vitals.usage is None else vitals.usage.total()
    yield "api2db_store_bytes", "Bytes of the shards of all collectors in STORE.", used
    yield "api2db_store_max_bytes", "Collecting pauses at it: max_store_bytes.", settings.max_store_bytes


@dataclass(frozen=True, eq=False)
class Exposition:
    """Everything of one moment, as ``prometheus_client`` collects it."""

    status: Status
    vitals: Vitals
    settings: Settings

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily("api2db_build_info", "Which version runs; always 1.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        for name, text, value in of_daemon(self.status, self.vitals, self.settings):
            yield GaugeMetricFamily(name, text, value)
        collectors = self.status.collectors
        for of in OF_COLLECTORS:
            yield _family(of.name, of.help, ("collector",), (((c.collector,), of.value(c)) for c in collectors))
        streams = [((c.collector, s.stream), s) for c in collectors for s in c.streams]
        for each in OF_STREAMS:
            yield _family(each.name, each.help, ("collector", "stream"), ((key, each.value(s)) for key, s in streams))
        (of_collector, help_collector), (of_stream, help_stream) = OF_STATES
        states = (((c.collector, c.state), 1) for c in collectors)
        yield _family(of_collector, help_collector, ("collector", "state"), states)
        states_of_streams = (((*key, s.state), 1) for key, s in streams)
        yield _family(of_stream, help_stream, ("collector", "stream", "state"), states_of_streams)


def _family(
    name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float | None]]
) -> Metric:
    kind = CounterMetricFamily if name.endswith(COUNTERS) else GaugeMetricFamily
    family = kind(name, text, labels=labels)
    for key, value in samples:
        if value is not None:
            family.add_metric(key, value)
    return family


def expose(status: Status, vitals: Vitals, settings: Settings) -> bytes:
    """The text a scrape gets, with the memory, processor time and open files of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Exposition(status, vitals, settings))
    return generate_latest(registry)

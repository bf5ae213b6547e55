"""From what is declared to what runs: each collector with its job and its deliveries, or why it can't."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from api2db.batch import Batch
from api2db.collector import Collector
from api2db.discovery import Broken
from api2db.errors import Api2dbError, ConfigError, in_one_line
from api2db.runtime.assembly import Kept
from api2db.runtime.delivery import Delivery
from api2db.runtime.isolated.processes import Processes
from api2db.runtime.isolated.source import Isolated
from api2db.runtime.job import Job
from api2db.runtime.poll_context import Shared
from api2db.runtime.replacement import ReplacingDelivery
from api2db.runtime.source import InProcess, Source
from api2db.runtime.store_job import StoreCollector
from api2db.runtime.works import Part, prepared
from api2db.sinks.base import Target

log = logging.getLogger(__name__)

TargetsOf = Callable[[Collector], Sequence[Target]]


@dataclass(frozen=True)
class Running(Part):
    """One collector with everything that works for it."""

    job: Job


@dataclass(frozen=True)
class Assembly:
    """Makes what runs, and tells the journal of it. None of it has begun yet.

    wake         have a delivery look at what waits
    processes    those of isolated collectors
    shared       what polls share
    targets_of   the streams of a collector; may raise ConfigError, which stops that collector alone
    targets_now  as ``targets_of``, with the credentials as they are now; any thread
    aside        collectors that are declared and don't run, and why: known once ``running`` has returned
    """

    kept: Kept
    wake: Callable[[Delivery], None]
    processes: Processes
    shared: Shared
    targets_of: TargetsOf
    targets_now: TargetsOf
    aside: dict[str, str] = field(default_factory=dict)

    def running(self, collectors: Iterable[Collector], broken: Iterable[Broken]) -> list[Running]:
        """Those that can run. The others are in the journal and in the log, with the reason."""
        running: list[Running] = []
        names: set[str] = set()
        disabled: list[str] = []
        unusable: dict[str, str] = {}
        for module in broken:
            log.error("collector module can't be used file=%s cause=%s\n%s", module.path, module.cause, module.details)
            unusable[module.path.stem] = f"{module.path}: {module.cause}"
        for collector in collectors:
            try:
                # SQLite and some file systems don't tell "Orders" from "orders".
                if collector.name.casefold() in names:
                    raise ConfigError(f"two collectors are named {collector.name!r}, case aside: rename one")
                names.add(collector.name.casefold())
                if collector.seconds == 0:
                    disabled.append(collector.name)
                else:
                    running.append(self._running(collector))
            except (Exception, SystemExit) as error:
                cause = in_one_line(error)
                log.error("collector can't run collector=%s cause=%s", collector.name, cause,
                          exc_info=not isinstance(error, Api2dbError))  # fmt: skip
                unusable[collector.name] = cause
        self.kept.journal.declare(
            [(c.name, c.seconds, c.fresh_within_s) for c in (each.collector for each in running)],
            [(d.collector, d.stream, d.sink.target) for each in running for d in each.deliveries],
            schedules={each.collector.name: each.collector.schedule.text for each in running},
        )
        self.aside.update({**dict.fromkeys(disabled, "its seconds are 0"), **unusable})
        for name in disabled:
            self.kept.journal.collector_state(name, "disabled", None)
        for name, cause in unusable.items():
            self.kept.journal.collector_state(name, "broken", cause)
        return running

    def _running(self, collector: Collector) -> Running:
        part = prepared(collector, self.targets_of(collector), self.kept, lambda: self.targets_now(collector))

        def accepted(batch: Batch) -> None:
            for delivery in part.deliveries:
                delivery.notify(batch)
                self.wake(delivery)

        def gave_up(run: int) -> None:
            for delivery in part.deliveries:
                if isinstance(delivery, ReplacingDelivery):
                    delivery.give_up(run)
                    self.wake(delivery)

        job = Job(
            collector,
            spool=self.kept.spool,
            shards=part.shards,
            streams=[delivery.stream for delivery in part.deliveries],
            replacing=[delivery.stream for delivery in part.deliveries if delivery.sink.replaces],
            journal=self.kept.journal,
            accepted=accepted,
            gave_up=gave_up,
            timeout_s=self.kept.settings.poll_timeout_s,
            source=self._source(collector),
            shared=self.shared,
        )
        return Running(collector, part.shards, part.deliveries, job)

    def _source(self, collector: Collector) -> Source:
        if isinstance(collector, StoreCollector):
            spool = self.kept.spool
            return collector.source(spool.layout, self.kept.settings.project, spool.usage, durable=spool.durable)
        return Isolated(collector, self.processes) if collector.isolate else InProcess(collector)

"""What is wrong now, as a set of conditions: each has a name that stays while it lasts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from api2db.layout import FILES, HELD
from api2db.runtime.status import CollectorStatus, Status, StreamStatus
from api2db.runtime.vitals import Vitals
from api2db.telling import Telling

# After a start: what isn't known yet is awaited so long. A place that doesn't answer makes itself known later.
GRACE_S = 90.0


@dataclass(frozen=True)
class Condition:
    """Something that is wrong. ``level`` is how much of it there is, where it can grow."""

    kind: str
    collector: str | None
    stream: str | None
    cause: str
    level: int = 0

    @property
    def key(self) -> str:
        return " ".join((self.kind, self.collector or "", self.stream or ""))


@dataclass(frozen=True)
class Seen:
    """One look: what is wrong, by key, and the keys nobody can tell about just now: they stay as they were."""

    bad: dict[str, Condition]
    unknown: frozenset[str]


def look(status: Status, telling: Telling, vitals: Vitals, running_s: float) -> Seen:
    """What is wrong, ``running_s`` seconds after the start, when not everything has been tried yet."""
    early = running_s < GRACE_S
    bad: list[Condition] = []
    unknown: set[str] = set()
    refusal = vitals.usage.refusal("") if vitals.usage is not None else None
    if refusal:
        bad.append(Condition("disk", None, None, f"collecting pauses: {refusal}"))
    if vitals.stuck_polls:
        cause = f"{vitals.stuck_polls} polls hang and were left behind; give their requests a timeout"
        bad.append(Condition("stuck", None, None, cause, vitals.stuck_polls))
    for collector in status.collectors:
        bad += _of_collector(collector, vitals, early=early, store_full=bool(refusal))
        unknown |= {condition.key for condition in _unsure(collector, early)}
        for stream in collector.streams:
            bad += _of_stream(collector.collector, stream, telling)
            if stream.state == "retrying" or (early and stream.state == "ok"):
                unknown |= {Condition(kind, collector.collector, stream.stream, "").key for kind in ("down", "stopped")}
    found = {condition.key: condition for condition in bad}
    return Seen(found, frozenset(unknown - found.keys()))


def _of_collector(c: CollectorStatus, vitals: Vitals, *, early: bool, store_full: bool) -> Iterator[Condition]:
    name, cause = c.collector, c.cause or ""
    if c.state in ("failed", "abandoned"):
        yield Condition("failing", name, None, cause)
    elif c.state == "broken":
        yield Condition("broken", name, None, cause)
    elif c.state == "paused" and not store_full and vitals.usage is not None:
        refusal = vitals.usage.refusal(name)  # now; its last poll may be long ago
        if refusal:
            yield Condition("paused", name, None, refusal)
    if c.stale and not (early and c.pending):
        yield Condition("stale", name, None, f"no successful poll within its fresh_within of {c.fresh_within_s:g} s")
    if c.held_files:
        cause = f"rows don't fit the types of their columns; see STORE/quarantine/{name}/{HELD}/"
        yield Condition("held", name, None, cause, c.held_files)
    if c.unread_files:
        cause = f"files can't be read; see STORE/quarantine/{name}/{FILES}/"
        yield Condition("unread", name, None, cause, c.unread_files)


def _unsure(c: CollectorStatus, early: bool) -> Iterator[Condition]:
    """Conditions of a collector that its next poll decides about."""
    if c.pending:
        yield Condition("failing", c.collector, None, "")
        yield Condition("paused", c.collector, None, "")
        if early:
            yield Condition("stale", c.collector, None, "")


def _of_stream(collector: str, s: StreamStatus, telling: Telling) -> Iterator[Condition]:
    if s.state in ("down", "stopped"):
        yield Condition(s.state, collector, s.stream, s.cause or "")
    if s.oldest_ns is not None and (s.waiting or s.parked):
        age_s = (time.time_ns() - s.oldest_ns) / 1e9
        count = s.waiting + s.parked
        if age_s > telling.backlog_age_s or count > telling.backlog_shards:
            yield Condition("backlog", collector, s.stream, f"{count:,} shards wait, the oldest since {age_s:,.0f} s")
    if s.quarantine_files:
        cause = f"rows were refused; see STORE/quarantine/{collector}/{s.stream}/"
        yield Condition("quarantine", collector, s.stream, cause, s.quarantine_files)

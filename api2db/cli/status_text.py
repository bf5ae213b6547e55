"""The status, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import time

from api2db.printable import one_line
from api2db.runtime.status import CollectorStatus, Status, StreamStatus


def to_json(status: Status) -> str:
    """All fields of ``Status``, times as nanoseconds since 1970 UTC, and ``troubles``."""
    return json.dumps({**dataclasses.asdict(status), "troubles": status.troubles}, indent=2)


def as_text(status: Status) -> str:
    """A few lines per collector, then what needs attention."""
    lines = ["The daemon isn't running." if status.pid is None else f"The daemon runs as process {status.pid}."]
    if status.stuck_polls:
        lines.append(f"{status.stuck_polls} polls hang and were left behind.")
    if not status.collectors:
        lines.append("No collector has run here yet.")
    for collector in status.collectors:
        lines += ["", _collector_line(collector)]
        if collector.steps:
            lines.append("  last shaping  " + "; ".join(map(_step, collector.steps)))
        lines += [_stream_line(stream) for stream in collector.streams]
        if collector.tape_polls:
            lines.append(f"  {'tape':<16} {collector.tape_polls:,} polls, {collector.tape_bytes:,} bytes")
    lines += ["", "All is well." if not status.troubles else "Needs attention:"]
    lines += [f"  {trouble}" for trouble in status.troubles]
    return "\n".join(map(one_line, lines))


def _collector_line(c: CollectorStatus) -> str:
    parts = [f"{c.collector}: {c.state}", f"{c.rows:,} rows in {c.batches:,} batches", f"{c.polls:,} polls"]
    if c.failures:
        parts.append(f"{c.failures:,} failed")
    if c.skips:
        parts.append(f"{c.skips:,} skipped")
    if c.polling_since_ns is not None:
        where = f" ({c.polling_at})" if c.polling_at else ""
        parts.append(f"polling for {_span(time.time() - c.polling_since_ns / 1e9)}{where}")
    parts.append(f"last success {_ago(c.last_success_ns)}")
    if c.next_run_ns is not None:
        parts.append(f"next run {_ahead(c.next_run_ns)}")
    if c.state == "waiting" and c.cause:
        parts.append(c.cause)
    if c.schedule is not None:
        parts.append(c.schedule)
    return ", ".join(parts)


def _stream_line(s: StreamStatus) -> str:
    parts = [f"{s.rows:,} rows loaded"]
    if s.waiting or s.parked:
        parts.append(f"{s.waiting:,} shards waiting ({s.backlog_bytes:,} bytes, oldest {_ago(s.oldest_ns)})")
    if s.parked:
        parts.append(f"{s.parked:,} parked")
    if s.quarantined:
        parts.append(f"{s.quarantined:,} rows in quarantine")
    parts.append(f"last success {_ago(s.last_success_ns)}")
    if s.retry_ns is not None:
        parts.append(f"next try {_ahead(s.retry_ns)}")
    return f"  {s.stream:<16} {s.state}: " + ", ".join(parts)


def _step(step: dict[str, object]) -> str:
    text = f"{step['step']} {step['rows_in']} → {step['rows_out']}"
    return text + "".join(f", {step[word]} {word}" for word in ("nulled", "replaced") if step.get(word))


def _ago(at_ns: int | None) -> str:
    return "never" if at_ns is None else f"{_span(time.time() - at_ns / 1e9)} ago"


def _ahead(at_ns: int) -> str:
    left_s = at_ns / 1e9 - time.time()
    return f"in {_span(left_s)}" if left_s > 0 else "now"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"

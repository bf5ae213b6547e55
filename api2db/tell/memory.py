"""What was told and what is to be told, kept in STORE: a restart neither repeats nor forgets."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api2db.files import make_dir, write_atomic
from api2db.tell.record import Record

log = logging.getLogger(__name__)


@dataclass
class Memory:
    """One receiver's: records by key, the message under way, and when the last one got through.

    outbox   a message that is to be sent, until it was; with its id, so that one sent twice is known
    number   of the last message made
    """

    records: dict[str, Record] = field(default_factory=dict)
    outbox: dict[str, Any] | None = None
    sent_ns: int = 0
    number: int = 0


def read_memory(path: Path) -> Memory:
    """What the file says; a new memory where there is none. One that can't be read is begun anew."""
    try:
        kept = json.loads(path.read_bytes())
        records = {key: Record.read(values) for key, values in kept["records"].items()}
        return Memory(records, kept["outbox"], int(kept["sent_ns"]), int(kept["number"]))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("what was told can't be read, what is wrong is told again file=%s cause=%s", path, error)
        return Memory()


def write_memory(path: Path, memory: Memory, *, flush: bool) -> None:
    """Raises OSError. ``flush`` to disk what a power cut must not take."""
    kept = {
        "records": {key: record.as_dict() for key, record in memory.records.items()},
        "outbox": memory.outbox,
        "sent_ns": memory.sent_ns,
        "number": memory.number,
    }
    make_dir(path.parent)
    write_atomic(path, json.dumps(kept).encode(), flush=flush)


def sent_within_s(memory: Memory, now_ns: int) -> float:
    """Seconds since the last message got through; a clock that went back counts as long ago."""
    age_s = (now_ns - memory.sent_ns) / 1e9
    return age_s if age_s >= 0 else float("inf")

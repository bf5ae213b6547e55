"""A message: all that changed, as text for chats and as fields for programs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api2db.tell.record import Record

# Discord takes 2,000 characters.
MAX_TEXT = 1900
MAX_CHANGES = 50
WORDS = {
    "began": "",
    "over": "over: ",
    "passed": "came and went: ",
    "grew": "more of it: ",
    "still": "still: ",
    "flapping": "comes and goes, no more is said of it until it stays one way for half an hour: ",
    "test": "",
}
# Characters by which chats mention everybody or make links; an API's answer may hold anything.
_TAMED = str.maketrans({"<": "‹", ">": "›", "@": "＠", "`": "'", "\n": " "})


def compose(
    changes: Sequence[tuple[str, Record]], *, number: int, wrong: int, project: Path, id: str
) -> dict[str, Any]:
    """The JSON of one message. ``wrong`` is how many conditions last; it is the same however often it is sent."""
    host = socket.gethostname()
    text = f"api2db {project.name} on {host}: " + (f"{wrong} wrong now" if wrong else "nothing is wrong now")
    shown = changes[:MAX_CHANGES]
    for change, record in shown:
        text += "\n" + WORDS[change] + _line(record)[:300].translate(_TAMED)
    if len(changes) > len(shown):
        text += f"\nand {len(changes) - len(shown)} more"
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return {
        "text": text,
        "content": text,
        "allowed_mentions": {"parse": []},
        "id": id,
        "number": number,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": host,
        "project": str(project),
        "wrong": wrong,
        "changes": [_fields(change, record) for change, record in shown],
        "more": len(changes) - len(shown),
    }


def _line(record: Record) -> str:
    name = "/".join(filter(None, (record.collector, record.stream)))
    return ": ".join(filter(None, (name, record.kind, record.cause)))


def _fields(change: str, record: Record) -> dict[str, Any]:
    return {
        "change": change,
        "kind": record.kind,
        "collector": record.collector,
        "stream": record.stream,
        "cause": record.cause,
        "since": datetime.fromtimestamp(record.since_ns / 1e9, UTC).isoformat(timespec="seconds"),
    }

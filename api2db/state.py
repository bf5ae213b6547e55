"""One collector's state file, STORE/state/<collector>.json: what must outlive its shards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from api2db.errors import ConfigError, StoreError
from api2db.files import write_atomic


@dataclass(frozen=True)
class CollectorState:
    """cursor   JSON text of how far the source has been read; None at the start
    last_ns  ``created_ns`` of the newest batch (or of the cursor's last move): the mark names grow from
    polled_ns  ``created_ns`` of the newest batch that a poll brought; 0 if none did
    streams  stream directory -> the target it belongs to
    types    column -> the word for its type (``form.known``), where types are found
    """

    cursor: str | None = None
    last_ns: int = 0
    streams: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    polled_ns: int = 0


def read_state(path: Path) -> CollectorState:
    """The state as last written; a fresh one if there is none. Raises StoreError if it isn't a state file."""
    try:
        raw = json.loads(path.read_bytes())
        return CollectorState(
            raw["cursor"],
            int(raw["last_ns"]),
            dict(raw["streams"]),
            dict(raw.get("types", {})),
            int(raw.get("polled_ns", 0)),
        )
    except FileNotFoundError:
        return CollectorState()
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}; look after the disk, then start again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} can't be read ({type(error).__name__}); move it away to start that collector from its first cursor"
        ) from error


def write_state(path: Path, state: CollectorState, *, flush: bool) -> None:
    """Replace the file atomically."""
    raw = {
        "cursor": state.cursor,
        "last_ns": state.last_ns,
        "streams": dict(state.streams),
        "types": dict(state.types),
        "polled_ns": state.polled_ns,
    }
    write_atomic(path, json.dumps(raw, indent=1).encode(), flush=flush)


# Of a database that is told apart by its URL's parameters: ``oracle://host/?service_name=x/table``.
_PARAMETERS = re.compile(r"(?!sqlite:|duckdb:)(\w+://[^/?]*/[^/?]*)\?[^/]+(/[^/]*)")


def assign_directories(
    known: Mapping[str, str], streams: list[tuple[str, str]], waiting: frozenset[str]
) -> tuple[list[str], dict[str, str]]:
    """Give each stream its directory: the type's name, ``<type>~<hash of the target>`` where that one is another's.

    known    directory -> target, as remembered
    streams  (stream_type, target) of each, in the collector's order
    waiting  directories that still hold shards

    A target keeps its directory whatever the order of the list, so a batch never goes to another's target. A
    directory whose target was taken out of the collector is given to a new target only once it is empty.
    Returns the directories, in order, and the new memory.
    """
    if len(set(streams)) < len(streams):
        twice = next(stream for stream in streams if streams.count(stream) > 1)
        raise ConfigError(f"two streams of type {twice[0]} have the same target, {twice[1]}: remove one")
    wanted = {target for _, target in streams}
    known = _as_named_now(known, streams)
    owners = {d: t for d, t in known.items() if t in wanted or d in waiting}
    directories: list[str] = []
    for stream_type, target in streams:
        mine = next(
            (
                d
                for d, t in owners.items()
                if t == target and d.partition("~")[0] == stream_type and d not in directories
            ),
            None,
        )
        if mine is None:
            mine = stream_type
            if mine in owners:
                mine = f"{stream_type}~{hashlib.sha256(target.encode()).hexdigest()[:8]}"
            owners[mine] = target
        directories.append(mine)
    return directories, {**known, **owners}


def _as_named_now(known: Mapping[str, str], streams: list[tuple[str, str]]) -> dict[str, str]:
    """What is remembered, with the targets that had no parameters before under the only name they can have now."""
    now: dict[tuple[str, str], list[str]] = {}
    for stream_type, target in streams:
        if had := _PARAMETERS.fullmatch(target):
            now.setdefault((stream_type, had[1] + had[2]), []).append(target)
    wanted = {target for _, target in streams}
    renamed = {}
    for directory, target in known.items():
        names = now.get((directory.partition("~")[0], target), [])
        renamed[directory] = names[0] if len(names) == 1 and target not in wanted | set(names) else target
    return renamed


def after_batch(
    state: CollectorState,
    cursor: str | None,
    last_ns: int,
    types: Mapping[str, str] | None = None,
    *,
    polled: bool = False,
) -> CollectorState:
    """The state after a batch: its cursor and what is known of types (None leaves the old ones), and its time.

    polled  a poll brought it
    """
    return replace(
        state,
        cursor=state.cursor if cursor is None else cursor,
        last_ns=max(state.last_ns, last_ns),
        types=state.types if types is None else types,
        polled_ns=max(state.polled_ns, last_ns) if polled else state.polled_ns,
    )

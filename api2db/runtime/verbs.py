"""What a command may ask for, done the same by the daemon and by the command itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api2db.errors import ConfigError
from api2db.runtime.replay import Which, replay_log
from api2db.runtime.works import Answer, Works, one_more

Verb = Callable[[Works, Mapping[str, Any]], Answer]


def perform(works: Works, verb: str, arguments: Mapping[str, Any]) -> Answer:
    """Do what is asked. Raises Api2dbError; what was done until then stays done, and may be asked for again."""
    if verb not in VERBS:
        raise ConfigError(f"the daemon doesn't know {verb!r}: it is of another version than the command")
    return VERBS[verb](works, arguments)


def _replay(works: Works, arguments: Mapping[str, Any]) -> Answer:
    """collector, stream, since_ns, until_ns, batch, source ("log", "failed", "quarantine"), to, dry_run."""
    answer = Answer()
    which = Which(arguments.get("since_ns"), arguments.get("until_ns"), arguments.get("batch"))
    dry_run = bool(arguments.get("dry_run"))
    name, stream, to = arguments.get("collector"), arguments.get("stream"), arguments.get("to")
    parts = [works.part(name)] if name else list(works.parts.values())
    if to is not None and (stream is not None or len(parts) != 1):
        raise ConfigError("--to fills one place for one collector: give its name, without a stream")
    for part in parts:
        deliveries = part.streams(stream) if to is None else [one_more(part, to, works)]
        for delivery in deliveries:
            replay_log(works, part, delivery, which, answer, dry_run=dry_run)
    return answer


VERBS: Mapping[str, Verb] = {"replay": _replay}

"""What a command may ask for, done the same by the daemon and by the command itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from api2db.errors import ConfigError
from api2db.runtime.delivery import Delivery, State
from api2db.runtime.lost import purge_lost
from api2db.runtime.mend import replay_quarantine
from api2db.runtime.purge import purge_quarantine
from api2db.runtime.rebuild import rebuild
from api2db.runtime.removed import purge_removed
from api2db.runtime.replay import Which, replay_log
from api2db.runtime.works import Answer, Part, Works, one_more, rows_of

Verb = Callable[[Works, Mapping[str, Any]], Answer]


def perform(works: Works, verb: str, arguments: Mapping[str, Any]) -> Answer:
    """Do what is asked. Raises Api2dbError; what was done until then stays done, and may be asked for again."""
    if verb not in VERBS:
        raise ConfigError(f"the daemon doesn't know {verb!r}: it is of another version than the command")
    return VERBS[verb](works, arguments)


def _replay(works: Works, arguments: Mapping[str, Any]) -> Answer:
    """collector, stream, since_ns, until_ns, batch, again, source ("log", "failed", "quarantine"), to, dry_run."""
    answer = Answer()
    which = Which(arguments.get("since_ns"), arguments.get("until_ns"), arguments.get("batch"))
    again = bool(arguments.get("again"))
    dry_run = bool(arguments.get("dry_run"))
    stream, to = arguments.get("stream"), arguments.get("to")
    parts = _parts(works, arguments)
    if to is not None and (stream is not None or len(parts) != 1):
        raise ConfigError("--to fills one place for one collector: give its name, without a stream")
    source = arguments.get("source", "log")
    if to is not None and source != "log":
        raise ConfigError("--to fills a place from the log: it can't go with --from")
    if source == "failed" and which != Which():
        raise ConfigError(
            "what failed to upload is tried again as a whole, in order: without --since, --until, --batch"
        )
    if again and (which == Which() or stream is None or source != "log" or to is not None):
        raise ConfigError(
            "--again takes batches out of a place that has them: say COLLECTOR/STREAM, and which of them by --batch,"
            " --since or --until"
        )
    which = replace(which, again=again)
    for part in parts:
        if source == "quarantine":
            replay_quarantine(works, part, stream, which, answer, dry_run=dry_run)
            continue
        for delivery in part.streams(stream) if to is None else [one_more(part, to, works)]:
            if source == "failed":
                _try_again(works, delivery, answer, dry_run=dry_run)
                continue
            waiting = sum(delivery.backlog)
            replay_log(works, part, delivery, which, answer, dry_run=dry_run)
            if to is not None and not dry_run:
                _go_on(works, delivery, waiting, answer)
    return answer


def _go_on(works: Works, delivery: Delivery, waiting: int, answer: Answer) -> None:
    """Deliver what an earlier command that was cut short left waiting, too: no daemon does it by itself."""
    if waiting:
        answer.say(f"{delivery.name}: {waiting} shards waited since an earlier time, and are delivered now")
        delivery.begin_again(delivery.retry)
        works.wake(delivery)
    if waiting or answer.facts.get(delivery.name, {"batches": 0})["batches"]:  # type: ignore[index]
        answer.say(
            f"{delivery.name}: if this is cut short, run the same command again: it completes it, each batch once"
        )


def _rebuild(works: Works, arguments: Mapping[str, Any]) -> Answer:
    """collector, stream, since_ns, until_ns, to, dry_run."""
    answer, part = Answer(), works.part(arguments["collector"])
    stream, to, dry_run = arguments.get("stream"), arguments.get("to"), bool(arguments.get("dry_run"))
    if to is not None and stream is not None:
        raise ConfigError("--to fills one place for one collector: give its name, without a stream")
    which = Which(arguments.get("since_ns"), arguments.get("until_ns"))
    filled = one_more(part, to, works) if to is not None else None
    waiting = 0 if filled is None else sum(filled.backlog)
    into = part.streams(stream) if filled is None else [filled]
    rebuild(works, part, into, which, answer, fills=filled is not None, dry_run=dry_run)
    if filled is not None and not dry_run:
        _go_on(works, filled, waiting, answer)
    return answer


def _retry(works: Works, arguments: Mapping[str, Any]) -> Answer:
    """collector, stream."""
    answer = Answer()
    for part in _parts(works, arguments):
        for delivery in part.streams(arguments.get("stream")):
            _try_again(works, delivery, answer, dry_run=False)
    return answer


def _try_again(works: Works, delivery: Delivery, answer: Answer, *, dry_run: bool) -> None:
    waiting, parked = delivery.backlog
    answer.facts[delivery.name] = {"waiting": waiting, "parked": parked}
    if not waiting and not parked and delivery.state is State.OK:
        return
    answer.say(f"{delivery.name}: {delivery.state.value}; {parked} parked and {waiting} waiting shards are tried now")
    if not dry_run:
        delivery.begin_again(delivery.retry)
        works.wake(delivery)


def _purge(works: Works, arguments: Mapping[str, Any]) -> Answer:
    """collector, stream, place ("queue", "failed" or "quarantine"), removed, lost, dry_run."""
    answer, place, total = Answer(), arguments.get("place"), 0
    if arguments.get("lost"):
        if place is not None or arguments.get("removed"):
            raise ConfigError("--lost gives up what is nowhere: it can't go with --in or --removed")
        name, dry_run = arguments["collector"], bool(arguments.get("dry_run"))
        answer.facts["rows"] = purge_lost(works, name, arguments.get("stream"), answer, dry_run=dry_run)
        return answer
    if arguments.get("removed"):
        if place == "quarantine":
            raise ConfigError("--removed gives up what waits: it can't go with --in quarantine")
        lanes = {None: (False, True), "queue": (False,), "failed": (True,)}[place]
        collector, stream = arguments["collector"], arguments.get("stream")
        answer.facts["rows"] = purge_removed(
            works, collector, stream, answer, parked=lanes, dry_run=bool(arguments.get("dry_run"))
        )
        return answer
    parked = place in (None, "failed")
    for part in _parts(works, arguments):
        if place == "quarantine":
            total += purge_quarantine(
                works, part, arguments.get("stream"), answer, dry_run=bool(arguments.get("dry_run"))
            )
            continue
        for delivery in part.streams(arguments.get("stream")):
            if arguments.get("dry_run"):
                shards = delivery.queue.parked() if parked else delivery.queue.waiting()
                rows = rows_of(delivery.queue, shards, parked=parked)
            else:
                count = partial(rows_of, delivery.queue, parked=parked)
                shards, rows = delivery.purge(count, parked=parked)
            if shards:
                given_up = "would be given up" if arguments.get("dry_run") else "are given up"
                answer.say(f"{delivery.name}: {len(shards)} shards, {rows:,} rows {given_up}")
            total += rows
    answer.facts["rows"] = total
    return answer


def _reset(works: Works, arguments: Mapping[str, Any]) -> Answer:
    """collector, to (JSON text of the cursor, None for the start), dry_run."""
    answer, part = Answer(), works.part(arguments["collector"])
    name, to = part.collector.name, arguments.get("to")
    before = part.shards.cursor
    answer.say(f"{name}: the cursor {'is' if arguments.get('dry_run') else 'was'} {_shown(before)}, and")
    answer.lines[-1] += f" {'would be' if arguments.get('dry_run') else 'is now'} {_shown(to)}"
    answer.say(f"{name}: the next poll begins there: what the source has from there on is fetched again")
    added = [each.stream for each in part.deliveries if not each.sink.ordered]
    if added:
        answer.say(f"{name}: rows that are there already come once more in {', '.join(added)}: nothing merges them")
    merged = [each.stream for each in part.deliveries if each.sink.ordered and not each.sink.replaces]
    if merged:
        answer.say(f"{name}: they are merged in {', '.join(merged)}")
    answer.facts |= {"before": before, "after": to}
    if not arguments.get("dry_run"):
        part.shards.reset_cursor(to)
    return answer


def _poll(works: Works, arguments: Mapping[str, Any]) -> Answer:
    """collector. The answer's ``after`` is the number of the last run before it, in the journal."""
    name, answer = arguments["collector"], Answer()
    if name in works.aside:
        raise ConfigError(f"collector {name} doesn't run: {works.aside[name]}")
    works.part(name)
    answer.facts["after"] = works.kept.journal.last_run(name)
    if works.begin is None or not works.begin(name):
        raise ConfigError(
            f"collector {name} is being polled already, and never twice at a time: wait until that ends, or look how it"
            " is by: api2db status"
        )
    answer.say(f"{name}: a poll has begun")
    return answer


def _shown(cursor: str | None) -> str:
    return "at the start" if cursor is None else cursor


def _parts(works: Works, arguments: Mapping[str, Any]) -> list[Part]:
    name = arguments.get("collector")
    return [works.part(name)] if name else list(works.parts.values())


VERBS: Mapping[str, Verb] = {
    "replay": _replay,
    "rebuild": _rebuild,
    "retry": _retry,
    "purge": _purge,
    "reset": _reset,
    "poll": _poll,
}

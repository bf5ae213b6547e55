"""A command that changes STORE: the running daemon is asked; where none runs the command does the same itself."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Mapping

import click

from api2db.cli.here import Here
from api2db.durations import seconds
from api2db.errors import ConfigError, StoreError, StoreLockedError
from api2db.layout import StoreLock, lock_owner
from api2db.runtime.works import Answer
from api2db.upgrade import take_over


def ask(here: Here, verb: str, arguments: Mapping[str, object]) -> Answer:
    """Have it done. Without a daemon, what waits then is delivered before this returns. Raises Api2dbError."""
    from api2db.runtime import requests

    if not here.layout.root.is_dir():
        raise StoreError(f"there is no {here.layout.root}: nothing has run here yet")
    if lock_owner(here.layout) is None:
        here.layout.prepare()
        try:
            lock = StoreLock(here.layout)
        except StoreLockedError:
            pass  # a daemon has started meanwhile
        else:
            try:
                take_over(here.layout)
                return _alone(here, verb, arguments)
            finally:
                lock.close()
    return requests.ask(here.layout, verb, arguments)


def _alone(here: Here, verb: str, arguments: Mapping[str, object]) -> Answer:
    from api2db.runtime.assembly import opened, settle
    from api2db.runtime.delivery import Delivery
    from api2db.runtime.verbs import perform
    from api2db.runtime.works import Part, Works, deliver_all, prepared
    from api2db.stream.places import target_of, targets_of

    settings = here.settings
    declared, broken = here.declared
    wanted = arguments.get("collector")
    for one in broken:
        if wanted in (None, one.path.stem):
            raise ConfigError(f"{one.path} can't be used: {one.cause}")
    kept = opened(settings, here.layout)
    parts: dict[str, Part] = {}
    try:
        for collector in declared:
            if wanted in (None, collector.name):
                parts[collector.name] = prepared(collector, targets_of(collector, settings), kept)
        woken: dict[str, Delivery] = {}
        works = Works(
            kept,
            parts,
            lambda delivery: woken.update({delivery.name: delivery}),
            lambda collector, name: target_of(collector, name, settings),
            broken=[f"{one.path}: {one.cause}" for one in broken],
        )
        answer = perform(works, verb, arguments)
        troubles = deliver_all(list(woken.values()))
        answer.lines += troubles
        answer.failed |= bool(troubles)
        for part in parts.values():
            settle(part.shards)
        return answer
    finally:
        kept.engines.close()
        kept.journal.close()


def show(answer: Answer, as_json: bool) -> int:
    """Print what was done; the exit status."""
    if as_json:
        click.echo(json.dumps({**answer.facts, "lines": answer.lines, "failed": answer.failed}, indent=2))
    else:
        click.echo("\n".join(answer.lines) or "There was nothing to do.")
    return int(answer.failed)


def split(where: str | None) -> tuple[str | None, str | None]:
    """COLLECTOR[/STREAM] as two."""
    if where is None:
        return None, None
    collector, _, stream = where.partition("/")
    return collector, stream or None


def moment_ns(text: str | None, now: Callable[[], float] = time.time) -> int | None:
    """A moment as people write it: "2026-02-01", "2026-02-01T10:00Z" (without a zone: UTC), or how long ago, "2h".

    Nanoseconds since 1970 UTC. Raises ConfigError.
    """
    if text is None:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            return int((now() - seconds(text)) * 1e9)
        except ConfigError:
            raise ConfigError(
                f"{text!r} is no moment; give a time like 2026-02-01T10:00Z, or how long ago: 2h"
            ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1e9)


def confirmed(question: str, *, yes: bool) -> bool:
    return yes or click.confirm(question)

"""``rebuild``: taped polls run anew, answered from tape, shaped by the form as it is now, and delivered.

Merged by a version it changes nothing to do it twice. Into a place of its own each item of each poll is one batch: its
id follows from both, and the journal knows it once it is accepted. So none comes twice, whatever was killed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from api2db.batch import REBUILT, new_batch_id
from api2db.errors import Api2dbError, ConfigError, ShapeError, SourceError, StoreFullError
from api2db.failpoint import reach
from api2db.form.shaped import Form
from api2db.quarantine import keep_rows
from api2db.runtime.delivery import Delivery
from api2db.runtime.isolated.processes import Processes
from api2db.runtime.isolated.source import Isolated
from api2db.runtime.replay import Which
from api2db.runtime.works import Answer, Part, Works
from api2db.shard import Header
from api2db.sinks.base import NewerWins
from api2db.sources import payload
from api2db.sources.context import PollContext

_PROCESS_ENDS_S = 5.0
_END = object()


def rebuild(
    works: Works, part: Part, into: Sequence[Delivery], which: Which, answer: Answer, *, fills: bool, dry_run: bool
) -> None:
    """Run the taped polls of one collector anew.

    fills  ``into`` is one place of its own, which has nothing else of the collector

    Raises ConfigError before anything is done, StoreError.
    """
    name, tapes = part.collector.name, works.kept.spool.tapes
    polls = [started_ns for started_ns in tapes.polls(name) if which.has(started_ns, "")]
    if not tapes.polls(name):
        raise ConfigError(f'collector {name}: no poll is on tape; what it is asked from now on is, by tape="7d"')
    if not fills:
        _check_merging(part, into)
    done = _done(works, part, into[0]) if fills else None
    where = ", ".join(delivery.name for delivery in into)
    span = f", from {_time(polls[0])} to {_time(polls[-1])}" if polls else ""
    answer.say(f"{name}: {'would rebuild' if dry_run else 'rebuilds'} {len(polls)} taped polls{span}, into {where}")
    answer.facts |= {"polls": len(polls), "rebuilt": 0, "rows": 0, "batches": 0, "not_rebuilt": []}
    if dry_run or not polls:
        return
    program = works.kept.settings.project / "main.py"  # a command isn't what declares it
    processes = Processes()
    try:
        source = Isolated(part.collector, processes, offline=True, program=program if program.exists() else None)
        Rebuilding(works, part, into, answer, source, done).run(polls)
    finally:
        processes.close(time.monotonic() + _PROCESS_ENDS_S)


def _check_merging(part: Part, into: Sequence[Delivery]) -> None:
    """Whether they may be given rows again: a newer one there stays. Raises ConfigError."""
    others = [each.name for each in into if not (isinstance(each.sink, NewerWins) and each.sink.newer_wins)]
    if others or not into:
        name = part.collector.name
        may = [each for each in part.deliveries if each.name not in others]
        rest = f"; {', '.join(each.name for each in may)} alone may" if may else ""
        raise ConfigError(
            f"{', '.join(others) or name}: rows that are there would come once more, or take the place of newer ones:"
            f" only a merge by key and version can be rebuilt in place{rest}. Fill a place of its own:"
            f" api2db rebuild {name} --to PLACE"
        )


def _done(works: Works, part: Part, delivery: Delivery) -> set[str]:
    """The batches that were rebuilt into a place already. Raises ConfigError where there are others."""
    name, journal = part.collector.name, works.kept.journal
    if delivery.sink.replaces:
        raise ConfigError(f"{delivery.name}: each poll replaces what is there: rebuild into a place that is added to")
    there = journal.batch_ids(name, delivery.stream)
    others = [batch_id for batch_id in there if not batch_id.startswith(REBUILT)]
    if others or journal.summed_until(name, delivery.stream):
        raise ConfigError(
            f"{delivery.name}: batches were delivered there that weren't rebuilt: their rows would be there twice."
            " Name a place, or a table, that has none"
        )
    return there


@dataclass
class Rebuilding:
    """One collector's polls, played back one after the other. ``done``: ids that aren't to come again."""

    works: Works
    part: Part
    into: Sequence[Delivery]
    answer: Answer
    source: Isolated
    done: set[str] | None
    _form: Form | None = field(default=None, init=False)
    _state: dict[str, Any] = field(default_factory=dict, init=False)

    def run(self, polls: Sequence[int]) -> None:
        rebuilt, failed = 0, list[dict[str, object]]()
        self._form = self.part.collector.api_form()
        for started_ns in polls:
            before = self._count("rows")
            try:
                self._poll(started_ns)
                rebuilt += 1
            except StoreFullError as error:
                self._fail(f"poll of {_time(started_ns)}: {error}; {self._go_on(started_ns)}")
                break
            except Api2dbError as error:
                rows = self._count("rows") - before
                done = f"only {rows:,} rows are rebuilt" if rows else "not rebuilt"
                self._fail(f"poll of {_time(started_ns)}: {done}: {error}")
                failed.append({"started_ns": started_ns, "rows": rows, "cause": str(error)})
        self.answer.facts |= {"rebuilt": rebuilt, "not_rebuilt": failed}
        self.answer.say(
            f"{self.part.collector.name}: {rebuilt} of {len(polls)} polls are rebuilt, {self._count('rows'):,} rows in"
            f" {self._count('batches')} batches"
        )
        if self.done is not None and rebuilt:
            self._say_what_follows(polls[-1])
        for delivery in self.into:
            self.answer.facts[delivery.name] = {"batches": self._count("batches"), "rows": self._count("rows")}

    def _say_what_follows(self, last_ns: int) -> None:
        """A poll's tape is written for the last time when all it brought is accepted, before the next begins."""
        name, tapes = self.part.collector.name, self.works.kept.spool.tapes
        try:
            ended_ns = tapes.path(name, last_ns).stat().st_mtime_ns
        except FileNotFoundError:
            return
        ended = dt.datetime.fromtimestamp(ended_ns // 10**9, dt.UTC).replace(microsecond=ended_ns // 1000 % 10**6)
        since = ended.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.answer.say(
            f"{name}: once the place is in to=, what came since is brought by: api2db replay {self.into[0].name}"
            f" --since {since}"
        )

    def _poll(self, started_ns: int) -> None:
        tape = self.works.kept.spool.tapes.path(self.part.collector.name, started_ns)
        if not tape.exists():
            raise SourceError("its tape is gone: it was older than is kept, or the disk was short")
        # What a poll leaves to the next for its sources is left here, too: what was unchanged then is so now.
        collector = self.part.collector
        context = PollContext(collector.name, started_ns, dict(self._state), key=collector.key)
        with self._in_time():
            returned = self.source.play(tape, lambda: None, context)
        items = payload.items(returned)
        for number in itertools.count():
            with self._in_time():
                item = next(items, _END)
            if item is _END:
                self._state = context.state
                return
            self._take(started_ns, number, item)
            del item

    def _take(self, started_ns: int, number: int, item: object) -> None:
        records, _ = payload.take_cursor(item)
        batch_id = self._batch_id(started_ns, number)
        if self.done is not None and batch_id in self.done:
            return
        try:
            shaped = payload.shape(records, self._form or self.part.collector.found_form(self.part.shards.state.types))
        except (ShapeError, SourceError) as error:
            raise type(error)(f"item {number + 1}: {error}") from error
        if shaped is None:
            return
        name, spool = self.part.collector.name, self.works.kept.spool
        if shaped.held:
            held = [(one.row, one.reason) for one in shaped.held]
            keep_rows(spool.layout, name, held, usage=spool.usage, durable=spool.durable)
            self._fail(f"poll of {_time(started_ns)}: {len(held)} rows are held in quarantine: {held[0][1]}")
        rows, streams = shaped.table.num_rows, tuple(each.stream for each in self.into)
        if not rows:
            return
        batch = self.part.shards.accept(shaped.table, None, streams=streams, types=shaped.types, batch_id=batch_id)
        reach("rebuild.accepted")
        self.works.kept.journal.accepted(Header(batch.batch_id, name, batch.created_ns, rows, None, streams))
        for delivery in self.into:
            delivery.notify(batch)
            self.works.wake(delivery)
        self._add("rows", rows)
        self._add("batches", 1)

    def _batch_id(self, started_ns: int, number: int) -> str:
        """Another each time where rows are merged: the form may have changed since."""
        if self.done is None:
            return REBUILT + new_batch_id()[len(REBUILT) :]
        told = f"{self.works.kept.spool.layout.id}/{self.into[0].name}/{started_ns}/{number}"
        return REBUILT + hashlib.sha256(told.encode()).hexdigest()[: 32 - len(REBUILT)]

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """End the item under way once it has taken longer than an item may."""
        own_s = self.part.collector.timeout_s or self.works.kept.settings.poll_timeout_s
        limit_s = self.source.limit_s(own_s)
        watch = threading.Timer(limit_s, self.source.kill, (f"no item for {limit_s:g} s",))
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _go_on(self, started_ns: int) -> str:
        if self.done is not None:
            return "run the same command again when there is room: it goes on"
        since = dt.datetime.fromtimestamp(started_ns // 10**9, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"go on when there is room: --since {since}"

    def _count(self, what: str) -> int:
        count = self.answer.facts[what]
        assert isinstance(count, int)
        return count

    def _add(self, what: str, count: int) -> None:
        self.answer.facts[what] = self._count(what) + count

    def _fail(self, line: str) -> None:
        self.answer.failed = True
        self.answer.say(f"{self.part.collector.name}: {line}")


def _time(started_ns: int) -> str:
    return (
        dt.datetime.fromtimestamp(started_ns / 10**9, dt.UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    )

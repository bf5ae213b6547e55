"""One poll tried out: what it asks, what comes, what would be made of it. Nothing is kept, no place is reached."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from api2db.batch import Batch
from api2db.collector import Collector
from api2db.due.moment import DUE
from api2db.durations import seconds as duration_s
from api2db.errors import Api2dbError, ConfigError
from api2db.form.shaped import Form, Held, StepCount, StepCounts
from api2db.layout import Layout
from api2db.runtime.store_job import StoreCollector
from api2db.runtime.told import told
from api2db.schema import Field, canonical, fields_of
from api2db.settings import Settings
from api2db.sinks.base import Placement, Sketching, Target
from api2db.sources import payload
from api2db.sources.context import POLL, PollContext
from api2db.sources.exchanges import WATCH, Exchange, Watch
from api2db.state import CollectorState, read_state

START = "start"
"""What ``since`` may be for the source's first poll."""


@dataclass(frozen=True)
class Planned:
    """A stream, where it goes, and what its first load would make there: a line each, or why nobody can tell."""

    stream: str
    target: str
    makes: Sequence[str]
    cause: str | None = None


@dataclass
class Trial:
    """What a poll did.

    since     what the function's parameter got; None where it has none
    whence    where that is from: "given", "where the daemon is", "the start", or "" without a parameter
    items     that were taken: a generator's, or the one value returned
    stopped   it was stopped there, and may have more
    seconds   from before the form was made to the end of the last item
    rows      that would be accepted; ``first`` are the first of them, ``fields`` their columns
    held      rows that would be held, since a value isn't of its column's type
    steps     of the form, all items together
    cursor    how far the rows reach, as JSON text: where the next poll would go on; None where that doesn't change
    error     why the poll failed, as the daemon would say it
    """

    collector: str
    schedule: str
    since: object = None
    whence: str = ""
    exchanges: Sequence[Exchange] = ()
    items: int = 0
    stopped: bool = False
    seconds: float = 0.0
    rows: int = 0
    first: Sequence[dict[str, object]] = ()
    fields: Sequence[Field] = ()
    held: list[Held] = field(default_factory=list)
    steps: Sequence[StepCount] = ()
    cursor: str | None = None
    places: Sequence[Planned] = ()
    error: str | None = None


def attempt(
    collector: Collector,
    settings: Settings,
    targets: Callable[[], Sequence[Target]],
    *,
    since: str | None = None,
    items: int = 1,
    rows: int = 5,
) -> Trial:
    """Poll once, in this process, whatever the collector says about isolation and timeouts.

    since   as somebody wrote it: handed to the function; ``START``; None: where the daemon is
    items   stop a generator after so many
    rows    that are shown

    Raises ConfigError for what can't be tried, StoreError if the collector's state can't be read.
    """
    if isinstance(collector, StoreCollector):
        raise ConfigError(f"{collector.name} is a store: it has no function to try; its files are in its folder")
    layout = Layout(settings.store)
    known = read_state(layout.state(collector.name))
    trial = Trial(collector.name, collector.schedule.text)
    trial.since, trial.whence = _since(collector, known, since)
    with tempfile.TemporaryDirectory(prefix="api2db-try-") as folder:
        # Copies, since a poll adds to them; but a token that was given out in place of another is kept where that was.
        for path in layout.seen.glob(f"{collector.name}.*"):
            shutil.copy(path, folder)
        context = PollContext(
            collector.name,
            full=True,
            credentials=settings.auth,
            tokens=layout.tokens,
            seen=Path(folder),
            key=collector.key,
        )
        tables = _poll(collector, trial, known, items, context)
    shown = _together(tables)
    trial.rows = sum(table.num_rows for table in tables)
    if shown is not None:
        trial.fields = fields_of(canonical(shown).schema)
        trial.first = shown.slice(0, rows).to_pylist()
    try:
        trial.places = [_planned(target, collector, settings, shown) for target in targets()]
    except Exception as error:  # noqa: BLE001 - ``streams`` is user code
        trial.error = trial.error or told(error)
    return trial


def _poll(
    collector: Collector, trial: Trial, known: CollectorState, items: int, context: PollContext
) -> list[pa.Table]:
    """The tables of its items; whatever it raises is told in ``trial``."""
    watch, steps, began_s = Watch(), StepCounts(), time.monotonic()
    tokens = WATCH.set(watch), DUE.set(dt.datetime.now(collector.schedule.zone)), POLL.set(context)
    tables: list[pa.Table] = []
    try:
        form: Form | None = collector.api_form()
        types, reached = dict(known.types), known.cursor
        check = getattr(form, "dependencies_satisfied", None)
        if check is not None and not check():
            raise ConfigError("a file that its form merges isn't there yet: until it is, polls wait")
        iterator = payload.items(collector.poll(trial.since))
        while True:
            if trial.items >= items:
                trial.stopped = _close(iterator)
                break
            try:
                item = next(iterator)
            except StopIteration:
                break
            trial.items += 1
            records, cursor = payload.take_cursor(item)
            shaped = payload.shape(records, form or collector.found_form(types))
            if shaped is not None:
                types = dict(shaped.types or types)
                steps.add(shaped.steps)
                trial.held += shaped.held
                tables.append(shaped.table)
                if cursor is None and collector.cursor is not None and shaped.table.num_rows:
                    cursor = collector.cursor.after(shaped.table, reached)
            reached = reached if cursor is None else cursor
            trial.cursor = trial.cursor if cursor is None else cursor
    except Api2dbError as error:
        trial.error = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - user code may raise anything, CancelledError and SystemExit too
        trial.error = told(error)
    finally:
        WATCH.reset(tokens[0])
        DUE.reset(tokens[1])
        POLL.reset(tokens[2])
        watch.ends()
    trial.seconds = time.monotonic() - began_s
    trial.exchanges, trial.steps = watch.exchanges, list(steps)
    return tables


def _close(iterator: object) -> bool:
    """Whether it may have had more: a generator is told to end."""
    close = getattr(iterator, "close", None)
    if close is None:
        return False
    close()
    return True


def _together(tables: Sequence[pa.Table]) -> pa.Table | None:
    """All rows as one table; the first item's alone where they don't go together."""
    filled = [table for table in tables if table.num_columns]
    if not filled:
        return None
    try:
        return pa.concat_tables(filled, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return filled[0]


def _since(collector: Collector, known: CollectorState, given: str | None) -> tuple[object, str]:
    if not collector.takes_cursor:
        if given is not None:
            raise ConfigError(
                f"collector {collector.name}: its function takes no cursor, so --since says nothing to it"
            )
        return None, ""
    cursor = collector.cursor
    if given is None and known.cursor is not None:
        since = json.loads(known.cursor) if cursor is None else cursor.since(known.cursor)
        return since, "where the daemon is"
    if given in (None, START):
        return None if cursor is None else cursor.since(None), "the start"
    assert given is not None
    if cursor is None:
        with suppress(ValueError):
            return json.loads(given), "given"
    else:
        reached = cursor.start if known.cursor is None else json.loads(known.cursor)
        if isinstance(reached, (int, float)):
            try:
                return json.loads(given), "given"
            except ValueError:
                raise ConfigError(f"--since {given!r}: this cursor is a number; it is {reached} now") from None
    try:
        ago = dt.timedelta(seconds=duration_s(given))
    except ConfigError:
        return given, "given"
    return (dt.datetime.now(dt.UTC) - ago).isoformat(timespec="microseconds"), "given"


def _planned(target: Target, collector: Collector, settings: Settings, rows: pa.Table | None) -> Planned:
    """What would be made; a place is only asked where it would be, never reached."""
    nowhere = Path("/nonexistent/api2db")
    placement = Placement(
        stream=f"{collector.name}/{target.stream_type}",
        store=settings.store,
        staging=nowhere,
        parked=nowhere,
        project=settings.project,
    )
    name = target.target(settings.project, settings.store)
    try:
        sink = target.sink(placement)
        if rows is None or not isinstance(sink, Sketching):
            return Planned(target.stream_type, name, [])
        return Planned(target.stream_type, name, sink.sketch(Batch(rows, "0" * 32, 0)))
    except Api2dbError as error:
        return Planned(target.stream_type, name, [], str(error))

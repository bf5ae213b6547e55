"""One collector as the daemon runs it: a poll calls its source, shapes what comes, and accepts it."""

from __future__ import annotations

import datetime
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from api2db.batch import Batch
from api2db.collector import Collector
from api2db.due.moment import DUE
from api2db.errors import Api2dbError, ShapeError, SourceError, StoreFullError
from api2db.form.shaped import Form, Held, Shaped
from api2db.journal.journal import Journal
from api2db.layout import Layout
from api2db.quarantine import keep_payload, keep_rows
from api2db.runtime.poll_context import Remembered, RunningPoll, Shared
from api2db.runtime.run import Abandoned, End, Run
from api2db.runtime.source import InProcess, Source
from api2db.runtime.taping import taping
from api2db.runtime.told import told
from api2db.shard import Header
from api2db.sources import payload
from api2db.sources.context import PutOff, Stopping
from api2db.spool.collector import CollectorSpool
from api2db.spool.store import Spool

log = logging.getLogger(__name__)

_MERGES = "a file that its form merges isn't there yet"


class Job:
    """One collector as the daemon runs it: ``poll`` is one execution of its source.

    streams    the directories of its streams
    replacing  those of them that hold what one poll brought, and are told where it ends
    accepted   called after each batch, so that its streams hear of it
    gave_up    called with a poll's ``run`` if it ended before its end was told to those that replace
    source     where the collector's function is called; in the polling thread by default
    shared     what the polls of the daemon share
    """

    def __init__(
        self,
        collector: Collector,
        *,
        spool: Spool,
        shards: CollectorSpool,
        streams: Sequence[str],
        replacing: Sequence[str] = (),
        journal: Journal,
        accepted: Callable[[Batch], None],
        gave_up: Callable[[int], None] = lambda run: None,
        timeout_s: float,
        source: Source | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.collector = collector
        self._source = source or InProcess(collector)
        self.timeout_s = collector.timeout_s or timeout_s
        self.next_run_ns: int | None = None
        self.due_s: int | None = None  # of the poll that begins next, or runs
        self.ended: Callable[[End], None] = lambda end: None  # called at each poll's end, by the thread that ends it
        self.watches_changes = False
        self.run: Run | None = None  # set while a poll runs, also an abandoned one
        self.failures = 0
        self.put_off = False  # to be polled as soon as ``not_before_ns`` has passed, whatever its schedule says
        self.unchanged = False  # the last poll asked, and found nothing new
        self._outcome = ""
        self._remembered = Remembered(shards)
        self._shared = shared or Shared.of(spool.layout)
        self._rows_before = b""  # their digest, of the last poll that brought any and ended well
        self._spool = spool
        self._shards = shards
        self._streams = tuple(streams)
        self._replacing = tuple(replacing)
        self._journal = journal
        self._accepted = accepted
        self._gave_up = gave_up
        self._form: Form | None = None
        self._log = logging.LoggerAdapter(log, {"collector": collector.name})

    @property
    def name(self) -> str:
        return self.collector.name

    @property
    def not_before_ns(self) -> int:
        """No poll before this time, in nanoseconds since 1970 UTC: a server, or a budget, said so. 0 if none did."""
        return self._remembered.not_before_ns

    @property
    def waits(self) -> str | None:
        """Why, and until when, it isn't polled, as was said before this start; None if it may be."""
        until_ns = self.not_before_ns
        if not until_ns:
            return None
        until = datetime.datetime.fromtimestamp(until_ns // 10**9, datetime.UTC)
        why = f": {self._remembered.why}" if self._remembered.why else ""
        return f"until {until:%Y-%m-%dT%H:%M:%SZ}, as was said before the daemon started{why}"

    @property
    def _layout(self) -> Layout:
        return self._spool.layout

    def poll(self, stop: threading.Event) -> None:
        """Call the source once and accept what it brings, item by item. Raises nothing."""
        run = self.run
        assert run is not None
        run.due_s = self.due_s
        at_s = run.started_ns / 1e9 if run.due_s is None else run.due_s
        token = DUE.set(datetime.datetime.fromtimestamp(at_s, self.collector.schedule.zone))
        try:
            self._run(run, stop)
        finally:
            DUE.reset(token)

    def _run(self, run: Run, stop: threading.Event) -> None:
        outcome, cause = "ok", None
        self.put_off = self.unchanged = False
        try:
            refusal = self._spool.usage.refusal(self.name)
            if refusal:
                raise StoreFullError(f"collector {self.name}: {refusal}")
            outcome = self._poll(run, stop)
        except Abandoned:
            return
        except StoreFullError as error:
            outcome, cause = "paused", str(error)
        except PutOff as error:
            self.put_off = True
            outcome, cause = "waiting", str(error)
        except Stopping:
            outcome = "stopped"
        except Api2dbError as error:
            outcome, cause = "failed", str(error)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, CancelledError and SystemExit too
            outcome, cause = "failed", told(error)
        with run.lock:
            if run.abandoned:
                return
            self._close(run, outcome, cause)

    def overdue(self, now: float) -> bool:
        """Whether what is under way has taken longer than it may. ``now`` is monotonic seconds."""
        run = self.run
        return run is not None and now - run.item_since_s > self._source.limit_s(self.timeout_s)

    def cut_short(self) -> bool:
        """End the item under way, so that its poll fails. False if that can't be done, but only abandoned."""
        return self._source.kill(f"no item for {self._source.limit_s(self.timeout_s):g} s")

    def abandon(self, *, stopping: bool = False) -> bool:
        """Give up the poll under way. False if it just ended, or was given up already.

        ``stopping`` because the daemon stops: that isn't the source's failure.
        """
        run = self.run
        if run is None:
            return False
        with run.lock:
            if run.abandoned or run.closed:
                return False
            run.abandoned = True
            cause = f"no item for {self.timeout_s:g} s; its thread is left behind, and not polled again until that ends"
            self._close(run, *(("stopped", None) if stopping else ("abandoned", cause)))
        if stopping:
            self._source.kill("the daemon is stopping")
        return True

    def _poll(self, run: Run, stop: threading.Event) -> str:
        """The run's outcome: ok, or waiting for a file that the form merges."""
        form = self._form_of()
        if not _dependencies_satisfied(form):
            return "waiting"
        run.resets = self._shards.resets
        since = self._since()
        context = RunningPoll(
            self.name,
            run.started_ns,
            whole=bool(self._replacing),
            # What another poll left undone isn't known to be there: this one brings it all.
            full=bool(self._replacing) and self._outcome != "ok",
            credentials=self._shared.credentials,
            tokens=self._shared.tokens,
            hosts=self._shared.hosts,
            secret=self._shared.secret,
            seen=self._shared.seen,
            key=self.collector.key,
            run=run,
            stop=stop,
        )
        with (
            self._remembered.lent(context, run.resets),
            taping(self._spool.tapes, self.collector, run.started_ns, since),
        ):
            self._read(run, form, since, stop)
        self.unchanged = context.unchanged
        return "ok"

    def _read(self, run: Run, form: Form | None, since: object, stop: threading.Event) -> None:
        """Take what the source brings, item by item, to its end. Raises Stopping if it doesn't get there."""
        returned = self._call(run, since)
        iterator = payload.items(returned)
        run.id = run.started_ns if iterator is returned else 0
        while True:
            run.item_since_s = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                self._end(run)
                self._source.ended()
                return
            self._take(run, form, item)
            del item  # not held while the next one is fetched: a page of dicts is many times its bytes
            if stop.is_set():
                getattr(iterator, "close", lambda: None)()
                raise Stopping("the daemon is stopping")

    def _since(self) -> object:
        reached = self._shards.cursor
        cursor = self.collector.cursor
        return cursor.since(reached) if cursor is not None else _json(reached)

    def _call(self, run: Run, since: object) -> object:
        def begun() -> None:
            run.item_since_s = time.monotonic()

        return self._source.poll(since, begun)

    def _take(self, run: Run, form: Form | None, item: object) -> None:
        """Shape one item and accept it. What can't be shaped is kept as it arrived, and the poll fails."""
        records, cursor = payload.take_cursor(item)
        try:
            shaped = payload.shape(records, form or self.collector.found_form(self._shards.state.types))
        except (ShapeError, SourceError) as error:
            path = keep_payload(
                self._layout,
                self.name,
                self._spool.clock.next(),
                records,
                str(error),
                durable=self._spool.durable,
            )
            kept = f"the payload is kept in {path}" if path else "as many payloads as are kept are kept already"
            raise type(error)(f"{error}; {kept}") from error
        with run.lock:
            if run.abandoned:
                raise Abandoned
            self._accept(run, shaped, cursor)

    def _accept(self, run: Run, shaped: Shaped | None, cursor: str | None) -> None:
        rows = 0
        if shaped is not None:
            run.steps.add(shaped.steps)
            rows = shaped.table.num_rows
            if self.watches_changes and rows:
                run.digest.add(shaped.table)
            if shaped.held:
                self._hold(shaped.held)
        if shaped is None or not rows or not self._streams:
            if shaped is not None and rows and self.collector.cursor is not None:
                cursor = self.collector.cursor.after(shaped.table, self._shards.cursor)
            if cursor is not None:
                self._shards.move_cursor(cursor, resets=run.resets)
            return
        if cursor is None and self.collector.cursor is not None:
            cursor = self.collector.cursor.after(shaped.table, self._shards.cursor)
        batch = self._shards.accept(shaped.table, cursor, run=run.id, types=shaped.types, resets=run.resets)
        run.batches += 1
        run.rows += rows
        if self._replacing:
            run.schema = shaped.table.schema
        self._journal.accepted(Header(batch.batch_id, self.name, batch.created_ns, rows, cursor, self._streams))
        self._accepted(batch)

    def _end(self, run: Run) -> None:
        """Tell streams that replace that everything is there which this poll yielded, item by item."""
        with run.lock:
            if run.abandoned:
                raise Abandoned
            if run.schema is None or not run.id:
                return
            empty = run.schema.empty_table()
            batch = self._shards.accept(empty, None, run=run.id, ends=run.batches, streams=self._replacing)
            self._journal.accepted(Header(batch.batch_id, self.name, batch.created_ns, 0, None, self._replacing))
            self._accepted(batch)

    def _hold(self, held: Sequence[Held]) -> None:
        """Keep rows aside before the cursor moves past them."""
        path = keep_rows(
            self._layout,
            self.name,
            [(one.row, one.reason) for one in held],
            usage=self._spool.usage,
            durable=self._spool.durable,
        )
        if path is not None:
            self._log.error(
                "rows held, the others are accepted collector=%s rows=%d; a value isn't of its column's type,"
                " each row's reason is beside it in %s",
                self.name, len(held), path,
            )  # fmt: skip

    def _form_of(self) -> Form | None:
        """The collector's own form; None where types are found."""
        if self._form is None:
            self._form = self.collector.api_form()
        return self._form

    def _close(self, run: Run, outcome: str, cause: str | None) -> None:
        """Write down how the run ended. With the run's lock held."""
        run.closed = True
        if outcome != "ok" and run.id and run.batches and self._replacing:
            self._gave_up(run.id)
        if outcome in ("failed", "abandoned"):
            self.failures += 1
            # The first failure, then ever more rarely: 2, 4, 8, …
            if self.failures & (self.failures - 1) == 0:
                self._log.warning("poll %s collector=%s failures=%d cause=%s", outcome, self.name, self.failures, cause)
        elif outcome in ("paused", "waiting"):
            if outcome != self._outcome:
                self._log.warning("poll %s collector=%s cause=%s", outcome, self.name, cause or _MERGES)
        elif self.failures:
            self._log.info("poll recovered collector=%s after_failures=%d", self.name, self.failures)
            self.failures = 0
        self._outcome = outcome
        if run.rows:
            self._log.info("accepted collector=%s rows=%d batches=%d", self.name, run.rows, run.batches)
        rows = run.digest.value
        changed = bool(rows) and rows != self._rows_before
        if outcome == "ok" and rows:
            self._rows_before = rows
        self.ended(End(outcome, changed, run.due_s))
        self._journal.run(
            self.name,
            started_ns=run.started_ns,
            duration_s=round(time.monotonic() - run.started_s, 6),
            outcome=outcome,
            batches=run.batches,
            rows=run.rows,
            cause=cause,
            steps=[asdict(step) for step in run.steps],
            next_run_ns=self.not_before_ns or self.next_run_ns,
        )


def _dependencies_satisfied(form: Form | None) -> bool:
    check = getattr(form, "dependencies_satisfied", None)
    return check is None or bool(check())


def _json(reached: str | None) -> object:
    return None if reached is None else json.loads(reached)

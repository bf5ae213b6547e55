"""``replay --from quarantine``: what was refused, held or not shaped is tried again, each row once.

A file is made a batch, whose shard names it. The file goes when the batch is settled, and recovery repeats that: killed
at any moment, its rows are in the file or in the batch, and which of them counts is known.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.errors import Api2dbError, ConfigError, in_one_line
from api2db.files import write_atomic
from api2db.form.shaped import Form, Held, Shaped
from api2db.layout import HELD
from api2db.quarantine import REASON, ROW, SOURCE, held_text, payload_text, rows_of_batch
from api2db.runtime.delivery import Delivery
from api2db.runtime.replay import Which
from api2db.runtime.works import Answer, Part, Works
from api2db.shard import Header
from api2db.sinks.base import Traceable
from api2db.sources import payload


@dataclass
class Tried:
    """What was tried again of one stream, or of what was held or couldn't be shaped.

    where  ``<collector>/<stream>``, or ``<collector>/held``, ``<collector>/source``
    held   rows that are held again
    there  files whose rows are in the place already
    """

    where: str
    files: int = 0
    rows: int = 0
    held: int = 0
    there: int = 0

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        files = f"{self.files:,} file{'s' * (self.files != 1)}"
        again = f", {self.held:,} more are held again" if self.held else ""
        yield f"{'would replay' if dry_run else 'replays'} {self.where}: {self.rows:,} rows of {files}{again}"
        if self.there:
            yield f"{self.where}: {self.there:,} of them had rows that are in the place already, and are removed"


@dataclass
class Mending:
    """One collector's quarantine, replayed."""

    works: Works
    part: Part
    which: Which
    answer: Answer
    dry_run: bool
    tried: dict[str, Tried] = field(default_factory=dict)

    def tell(self) -> None:
        """A line for each stream, before those about single files."""
        self.answer.lines[:0] = [line for one in self.tried.values() for line in one.lines(dry_run=self.dry_run)]

    def replay(self, stream: str | None) -> None:
        """All of it; or one stream's, or what is in ``held`` or ``source``. Raises Api2dbError."""
        layout, name = self.works.kept.spool.layout, self.part.collector.name
        if stream not in (HELD, SOURCE):
            for delivery in self.part.streams(stream):
                self._replay_refused(delivery, layout.quarantine(name, delivery.stream))
        for kind, suffix in ((HELD, "jsonl"), (SOURCE, "json")):
            if stream in (None, kind):
                for path in sorted(layout.quarantine(name, kind).glob(f"[!.]*.{suffix}")):
                    self._replay_unshaped(path, kind)

    def _replay_refused(self, delivery: Delivery, folder: Path) -> None:
        """Rows that the place refused go to it again, a batch of their own for each file."""
        torn = 0
        for path in sorted(folder.glob("[!.]*.parquet")):
            if path.stem.isdigit() and len(path.stem) <= 19:
                torn += 1
                continue
            if delivery.sink.replaces:
                raise ConfigError(
                    f"stream {delivery.name}: each poll replaces the table there; a few rows can't: poll again instead"
                )
            try:
                table = pq.read_table(path)
            except (OSError, pa.ArrowInvalid) as error:
                self._fail(f"{self._relative(path)} can't be read: {in_one_line(error)}")
                continue
            about = table.schema.metadata or {}
            batch_id = about.get(b"api2db.batch_id", path.stem.encode()).decode()
            created_ns = int(about.get(b"api2db.created_ns", 0))
            if not self.which.has(created_ns, batch_id):
                continue
            if _comes_yet(delivery, created_ns, batch_id):
                # Written by a load that hasn't committed yet: the rows are in its shard, too.
                self._fail(f"{delivery.name}: the batch of {path.name} isn't delivered yet: run the command again then")
                continue
            self._count_in(delivery.name, table.num_rows)
            if not self.dry_run:
                self._accept_refused(delivery, path, table, batch_id)
        if torn:
            self.answer.say(f"{delivery.name}: {torn} damaged or held shards stay: see api2db shards show")

    def _accept_refused(self, delivery: Delivery, path: Path, refused: pa.Table, batch_id: str) -> None:
        numbers = rows_of_batch(refused)
        rows = refused.drop_columns([name for name in (REASON, ROW) if name in refused.column_names])
        rows = rows.replace_schema_metadata(None)
        # The same rows of the same batch have the same id: restored and refused once more, they aren't loaded twice.
        again = _derived(batch_id, rows, numbers)
        sink = delivery.sink
        if sink.remembers and isinstance(sink, Traceable):
            with delivery.turn:
                there = not sink.lacks({0: again})
            if there:
                left = rows.num_rows if numbers is None else len(numbers)
                self.works.kept.journal.replayed(self.part.collector.name, self._relative(path), again, left)
                size = path.stat().st_size
                path.unlink()
                self.works.kept.spool.usage.add(self.part.collector.name, -size)
                self.tried[delivery.name].there += 1
                return
        self._accept(rows, path, [delivery], batch_id=again, origin_rows=numbers)

    def _replay_unshaped(self, path: Path, kind: str) -> None:
        """Held rows and payloads go through the collector's form as it is now, and to all its streams."""
        if self.which.batch is not None or not self.which.has(path.stat().st_mtime_ns, ""):
            return
        into = [each for each in self.part.deliveries if not each.sink.replaces]
        if not into:
            raise ConfigError(
                f"collector {self.part.collector.name}: each poll replaces what is there; a few rows can't: poll again"
            )
        try:
            shaped = self._shape(path, kind)
        except Exception as error:  # noqa: BLE001 - a form of user code may raise anything
            self._keep_again(path, kind, in_one_line(error))
            return
        rows = 0 if shaped is None else shaped.table.num_rows
        held = () if shaped is None else shaped.held
        self._count_in(f"{self.part.collector.name}/{kind}", rows, len(held))
        self.answer.failed |= bool(held)
        if self.dry_run:
            return
        if rows and shaped is not None:
            self._accept(shaped.table, path, into, types=shaped.types, rest=self._rest(path, kind, held))
        elif held:
            self._keep_again(path, kind, held[0].reason, held)
        else:
            # The form makes no row of it.
            size = path.stat().st_size
            path.unlink()
            self._count(kind, -size)

    def _shape(self, path: Path, kind: str) -> Shaped | None:

        collector = self.part.collector
        form: Form = collector.api_form() or collector.found_form(self.part.shards.state.types)
        if kind == SOURCE:
            return payload.shape(json.loads(path.read_bytes())["payload"], form)
        rows = [json.loads(line)["row"] for line in path.read_text("ascii").splitlines()]
        if getattr(form, "pre_process", None):
            # They are records already: what takes a response apart has been done, or wasn't there then.
            form = copy.copy(form)
            form.pre_process = []  # type: ignore[attr-defined]
        return form.shape(rows)

    def _accept(
        self,
        table: pa.Table,
        path: Path,
        into: Sequence[Delivery],
        *,
        batch_id: str | None = None,
        types: object = None,
        rest: tuple[str, str] | None = None,
        origin_rows: tuple[int, ...] | None = None,
    ) -> None:
        part, streams = self.part, tuple(each.stream for each in into)
        origin = self._relative(path)
        batch = part.shards.accept(
            table, None, streams=streams, types=types, batch_id=batch_id,  # type: ignore[arg-type]
            origin=origin, rest=rest, origin_rows=origin_rows,
        )  # fmt: skip
        name, rows = part.collector.name, table.num_rows
        header = Header(
            batch.batch_id, name, batch.created_ns, rows, None, streams, origin=origin, origin_rows=origin_rows
        )
        self.works.kept.journal.accepted(header)
        for delivery in into:
            delivery.notify(batch)
        part.shards.settle()
        for delivery in into:
            self.works.wake(delivery)

    def _rest(self, path: Path, kind: str, held: Sequence[Held]) -> tuple[str, str] | None:
        if not held:
            return None
        text = held_text([(one.row, one.reason) for one in held])
        if kind == HELD:
            return self._relative(path), text
        return self._relative(path.parent.with_name(HELD) / f"{path.stem}.jsonl"), text

    def _keep_again(self, path: Path, kind: str, reason: str, held: Sequence[Held] = ()) -> None:
        """It fails again: it stays, with its new reason."""
        self._fail(f"{self._relative(path)} stays: {reason}")
        if self.dry_run or (kind == HELD and not held):
            return
        if kind == HELD:
            data = held_text([(one.row, one.reason) for one in held]).encode()
        else:
            about = json.loads(path.read_bytes())
            data = payload_text(about["payload"], reason, about["received_ns"]).encode()
        before = path.stat().st_size
        write_atomic(path, data, flush=self.works.kept.spool.durable)
        self._count(kind, len(data) - before)

    def _count(self, kind: str, size: int) -> None:
        self.works.kept.spool.usage.add(self.part.collector.name, size)

    def _count_in(self, where: str, rows: int, held: int = 0) -> None:
        """A file of so many rows is tried again."""
        one = self.tried.setdefault(where, Tried(where))
        one.files, one.rows, one.held = one.files + 1, one.rows + rows, one.held + held
        done = self.answer.facts.setdefault("rows", 0)
        assert isinstance(done, int)
        self.answer.facts["rows"] = done + rows

    def _fail(self, line: str) -> None:
        self.answer.failed = True
        self.answer.say(line)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.works.kept.spool.layout.root).as_posix()


def _comes_yet(delivery: Delivery, created_ns: int, batch_id: str) -> bool:
    """Whether a batch waits that isn't in the place. Raises SinkError."""
    if not delivery.holds(created_ns):
        return False
    sink = delivery.sink
    if not (sink.remembers and isinstance(sink, Traceable)):
        return True
    with delivery.turn:
        return delivery.holds(created_ns) and bool(sink.lacks({created_ns: batch_id}))


def _derived(batch_id: str, rows: pa.Table, numbers: tuple[int, ...] | None) -> str:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, rows.schema.remove_metadata()) as writer:
        writer.write_table(rows.combine_chunks())
    which = "" if numbers is None else repr(numbers)  # of two rows that are the same one may be refused at a time
    return hashlib.sha256(batch_id.encode() + which.encode() + out.getvalue().to_pybytes()).hexdigest()[:32]


def replay_quarantine(
    works: Works, part: Part, stream: str | None, which: Which, answer: Answer, *, dry_run: bool
) -> None:
    """What is in one collector's quarantine is tried again. A file that fails doesn't keep back the others."""
    mending = Mending(works, part, which, Answer(facts=answer.facts), dry_run)
    try:
        mending.replay(stream)
    except Api2dbError as error:
        mending.answer.failed = True
        mending.answer.say(str(error))
    mending.tell()
    answer.failed |= mending.answer.failed
    answer.lines += mending.answer.lines

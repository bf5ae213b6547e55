"""One stream's audit: a pass over journal and ledger together, then the batches that don't agree, until they settle."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from api2db.audit.compare import OPEN, Entry, Found, Verdict, merged, verdict
from api2db.audit.report import OUTCOMES, Finding, StreamAudit
from api2db.audit.store import Lines, Shards
from api2db.errors import SinkError, StoreError, TornShardError
from api2db.layout import Layout
from api2db.quarantine import is_kept, is_set_aside, rows_kept
from api2db.shard import decode_header
from api2db.sinks.base import Filed, Ledgered, Recountable, Sink

# A running daemon is between a receipt and its line in the journal for a moment; longer while its disk is slow.
AGAIN_AFTER_S = (0.0, 0.2, 0.5, 1.0, 2.0)
_STRANGERS_KEPT = 10_000
_IDS_PER_QUERY = 500


@dataclass
class Asked:
    """What the audit of one stream needs.

    sink       None where no collector has the stream now
    running    the daemon runs: what doesn't agree may be under way
    deep       recount the rows in tables and files, too
    begun_ns   when the journal was looked at: what was accepted since then isn't asked for
    """

    layout: Layout
    lines: Lines
    collector: str
    stream: str
    sink: Sink | None
    running: bool
    begun_ns: int
    deep: bool = False


def audit_stream(asked: Asked) -> StreamAudit:
    """Compare one stream. A place that can't be asked is in the answer's ``unreached``."""
    try:
        before = _went_elsewhere(asked)
        if before is None:
            return _Pass(asked, asked.sink).run()
        cause = (
            f"it went to {before}; the next load into its place of now, by the daemon or a replay, leaves that behind"
        )
    except SinkError as error:
        cause = str(error)
    answer = _Pass(asked, None).run()
    # What the place may have isn't lost for all one knows.
    answer.findings = [finding for finding in answer.findings if finding.kind != "lost"]
    answer.unreached = cause
    answer.target = None if asked.sink is None else asked.sink.target
    return answer


def _went_elsewhere(asked: Asked) -> str | None:
    """The place of before, where the stream has another now that has none of its batches, and wasn't used yet."""
    before = asked.lines.place(asked.collector, asked.stream)
    if not isinstance(asked.sink, Ledgered) or before in (None, asked.sink.target):
        return None
    with closing(asked.lines.entries(asked.collector, asked.stream)) as entries:
        mine = (entry.batch_id for entry in entries if entry.outcome == "loaded" and entry.elsewhere is None)
        part = list(islice(mine, _IDS_PER_QUERY))
        while part and not asked.sink.loaded(part):
            part = list(islice(mine, _IDS_PER_QUERY))
            if not part:
                return before
    return None  # nothing went there, or its database has moved, with its ledger


class _Pass:
    def __init__(self, asked: Asked, sink: Sink | None) -> None:
        self._asked = asked
        self._ledger = sink if isinstance(sink, Ledgered) else None
        self._filed = sink if isinstance(sink, Filed) else None
        self._shards = Shards(asked.layout, asked.collector, asked.stream)
        self._answer = StreamAudit(asked.collector, asked.stream, None if sink is None else sink.target)
        self._answer.checked = "ledger" if self._ledger else "files" if self._filed else "journal"
        self._late = self._gone = 0
        self._horizon_ns = 0

    def run(self) -> StreamAudit:
        suspects: list[Entry] = []
        strangers, strange = 0, list[str]()
        self._count_totals()
        if self._ledger is not None:
            self._horizon_ns = self._ledger.horizon()
        receipts = self._ledger.receipts() if self._ledger is not None else _nothing()
        entries = self._asked.lines.entries(self._asked.collector, self._asked.stream)
        with closing(entries), closing(receipts):
            for entry, batch_id, rows in merged(entries, receipts):
                if entry is None:
                    strangers += 1
                    if len(strange) < _STRANGERS_KEPT:
                        strange.append(batch_id)
                    continue
                self._count_batch(entry)
                shard = self._shards.where(entry.created_ns)
                plain = entry.outcome == "loaded" and not entry.quarantined
                if plain and rows is not None and entry.accepted == entry.rows == rows:
                    self._answer.loaded += rows  # as nearly all are: said here, since there may be millions
                    continue
                found = self._found(entry, rows, shard)
                told = verdict(entry, found, exact=self._ledger is not None)
                if told.wrong:
                    suspects.append(entry)
                else:
                    self._count(told)
        strangers -= self._unknown_shards(set(strange))
        self._look_again(suspects)
        if self._asked.deep:
            self._recount()
        if self._asked.running:
            self._asked.lines.again()
        strangers -= self._asked.lines.known(strange)
        self._tell(strangers)
        self._answer.findings.sort(key=lambda finding: finding.created_ns)
        return self._answer

    def _found(self, entry: Entry, ledger: int | None, shard: str) -> Found:
        where = (self._asked.layout, self._asked.collector, self._asked.stream)
        needs_file = entry.outcome == "quarantined" or bool(entry.quarantined)
        if entry.outcome in ("waiting", "parked", "purged"):
            needs_file = ledger is not None and ledger != entry.accepted
        published = None
        if self._filed is not None and not shard and entry.outcome in ("waiting", "parked", "loaded"):
            published = self._filed.published(entry.created_ns)
            self._gone += published is False and entry.outcome == "loaded"
        return Found(
            refused=rows_kept(*where, entry.batch_id, entry.created_ns) if needs_file else None,
            ledger=ledger,
            asked=self._ledger is not None and (entry.elsewhere is None or ledger is not None),
            forgotten=entry.created_ns < self._horizon_ns,
            shard=shard,
            kept=needs_file and is_kept(*where, entry.batch_id, entry.created_ns),
            aside=entry.outcome in OPEN and not shard and is_set_aside(*where, entry.created_ns),
            published=published,
        )

    def _count_totals(self) -> None:
        sums = self._asked.lines.totals(*self._name)
        for word, rows in sums.items():
            setattr(self._answer, word, getattr(self._answer, word) + rows)
        self._answer.folded = sums.get("batches", 0)
        if self._ledger is None:
            outcomes = sum(rows for word, rows in sums.items() if word in OUTCOMES)
            self._answer.changed += sums.get("accepted", 0) - outcomes

    def _count_batch(self, entry: Entry) -> None:
        self._answer.batches += 1
        known = entry.accepted
        self._answer.accepted += known if known is not None else (entry.rows or 0) + (entry.quarantined or 0)

    def _count(self, told: Verdict) -> None:
        answer = self._answer
        answer.loaded += told.loaded
        answer.waiting += told.waiting
        answer.parked += told.parked
        answer.quarantined += told.quarantined
        answer.replayed += told.replayed
        answer.superseded += told.superseded
        answer.purged += told.purged
        answer.changed += told.changed
        self._late += told.late

    def _unknown_shards(self, strange: set[str]) -> int:
        """Count shards the journal has no line of: accepted, and the daemon was killed before it wrote that down.

        Returns how many of them the ledger has.
        """
        unknown: list[Entry] = []
        damaged = 0
        for created_ns, path in self._shards.not_asked_for().items():
            if created_ns >= self._asked.begun_ns:
                continue
            try:
                header = decode_header(path.read_bytes())
            except FileNotFoundError:
                continue  # delivered just now: then it was accepted after the journal was looked at
            except TornShardError:
                damaged += 1
                continue
            except OSError as error:
                raise StoreError(f"can't read {path}: {error.strerror}") from error
            if self._asked.stream in header.streams:
                unknown.append(Entry(header.batch_id, created_ns, header.rows, "waiting"))
        had = self._in_ledger([entry.batch_id for entry in unknown])
        for entry in unknown:
            self._count_batch(entry)
            found = self._found(entry, had.get(entry.batch_id), self._shards.where(entry.created_ns))
            self._count(verdict(entry, found, exact=True))
        if unknown:
            self._note(f"{_batches(len(unknown))} in STORE that the journal has no line of: the next start writes it")
        if damaged:
            self._note(f"{damaged} damaged shards that the journal has no line of: they are moved to quarantine")
        return len(had.keys() & strange)

    def _look_again(self, suspects: list[Entry]) -> None:
        """Ask journal, folders and ledger for each of these by itself, until it agrees or stays as it is."""
        pause = threading.Event()
        told: dict[str, tuple[Entry, Verdict, Found]] = {}
        for wait_s in AGAIN_AFTER_S if self._asked.running else AGAIN_AFTER_S[:1]:
            if not suspects:
                break
            pause.wait(wait_s)
            if self._asked.running:
                self._asked.lines.again()
                if self._ledger is not None:
                    self._horizon_ns = self._ledger.horizon()  # the daemon may be making it forget just now
            shards = Shards(self._asked.layout, self._asked.collector, self._asked.stream)
            suspects = [self._asked.lines.entry(*self._name, each.created_ns) or each for each in suspects]
            had = self._in_ledger([entry.batch_id for entry in suspects])
            for entry in suspects:
                found = self._found(entry, had.get(entry.batch_id), shards.where(entry.created_ns))
                told[entry.batch_id] = entry, verdict(entry, found, exact=self._ledger is not None), found
            suspects = [entry for entry in suspects if told[entry.batch_id][1].wrong]
        for entry, each, found in told.values():
            self._count(each)
            if each.wrong:
                differs = found.ledger if each.wrong == "rows_differ" else None
                if each.wrong == "quarantine_differs" and found.refused != -1:
                    differs = found.refused
                self._answer.findings.append(
                    Finding(each.wrong, entry.batch_id, entry.created_ns, entry.accepted or 0, differs)
                )

    def _recount(self) -> None:
        """Rows in the table, or in the files, against what the journal says was loaded, batch by batch."""
        sink = self._asked.sink
        known = {finding.batch_id for finding in self._answer.findings}
        entries = self._asked.lines.entries(*self._name)
        if self._filed is not None:
            for entry in entries:
                rows = self._filed.rows_in_file(entry.created_ns) if entry.outcome == "loaded" else None
                if rows is not None and rows != entry.rows and entry.batch_id not in known:
                    self._differs("file_differs", entry, rows)
            return
        counts = sink.recounted() if isinstance(sink, Recountable) and self._ledger is not None else None
        if counts is None:
            self._note("not recounted: its rows don't carry the id of their batch (batch_column)")
            return
        in_table = dict(counts)
        loaded = [
            entry
            for entry in entries
            if entry.outcome == "loaded" and entry.batch_id not in known and entry.elsewhere is None
        ]
        # Rows of before there was such a column say nothing.
        since_ns = sink.counted_since() if isinstance(sink, Recountable) else None
        if since_ns is None:
            since_ns = min((entry.created_ns for entry in loaded if entry.batch_id in in_table), default=None)
            if loaded:
                self._note("recounted from the oldest batch on that has rows: since when all carry its id isn't known")
        for entry in loaded:
            rows = in_table.get(entry.batch_id, 0)
            if since_ns is not None and entry.created_ns >= since_ns and rows != entry.rows:
                self._differs("table_differs", entry, rows)

    def _differs(self, kind: str, entry: Entry, rows: int) -> None:
        found = None if rows < 0 else rows  # a file that can't be read
        self._answer.findings.append(Finding(kind, entry.batch_id, entry.created_ns, entry.accepted or 0, found))

    @property
    def _name(self) -> tuple[str, str]:
        return self._asked.collector, self._asked.stream

    def _in_ledger(self, batch_ids: Sequence[str]) -> dict[str, int]:
        return self._ledger.loaded(batch_ids) if self._ledger is not None and batch_ids else {}

    def _tell(self, strangers: int) -> None:
        if self._late:
            self._note(f"{_batches(self._late)} further than the journal says, as after a kill: counted where they are")
        if strangers > 0:
            self._note(
                f"{_batches(strangers)} in the ledger that the journal doesn't know:"
                " another daemon's, or of before the journal was deleted"
            )
        for target, batches, rows in self._asked.lines.elsewhere(*self._name):
            self._note(
                f"{_batches(batches)}, {rows:,} rows went to {target}, which no collector has now for this stream:"
                " what is loaded there is the journal's word"
            )
        if self._gone:
            self._note(f"{self._gone:,} files were taken away since they were published")
        if not isinstance(self._asked.sink, (Ledgered, Filed)):
            self._note("the place keeps no record of batches: what is loaded is the journal's word")

    def _note(self, text: str) -> None:
        self._answer.notes.append(text)


def _batches(count: int) -> str:
    return f"{count:,} batch" if count == 1 else f"{count:,} batches"


def _nothing() -> Generator[tuple[str, int], None, None]:
    yield from ()

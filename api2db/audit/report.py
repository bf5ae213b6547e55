"""What an audit says: sums, what breaks them, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

_AGAIN = "api2db replay COLLECTOR/STREAM --batch ID --again"  # a replay without leaves alone what the place has

# kind -> what is wrong, what to do
KINDS: Mapping[str, tuple[str, str]] = {
    "not_in_place": (
        "the journal says it is loaded, the place doesn't have it",
        "was the database restored from a backup, or made anew? load it again: api2db replay",
    ),
    "rows_differ": (
        "the place has another number of its rows than the journal says",
        f"see who changes the ledger _api2db_ledger besides api2db; load it anew: {_AGAIN}",
    ),
    "rows_missing": (
        "rows loaded and in quarantine don't add up to the rows accepted",
        f"please report it, with the log of that time; load it anew: {_AGAIN}",
    ),
    "lost": (
        "it was accepted and has no outcome, its shard is gone and no place has it",
        "somebody removed files of STORE: put the shard back from a backup and start again, load it again from the log:"
        " api2db replay, or give it up: api2db shards purge --lost",
    ),
    "quarantine_missing": (
        "rows of it went to quarantine and the file isn't there",
        "put the file back from a backup, or give the rows up: api2db shards purge --in quarantine",
    ),
    "quarantine_differs": (
        "rows of it went to quarantine, and the file there holds more or fewer, or can't be read",
        "put the file back from a backup, or try again what it holds: api2db replay --from quarantine; then give up"
        " what it lacks: api2db shards purge --in quarantine",
    ),
    "table_differs": (
        "the table has another number of its rows than were loaded",
        f"see who changes the table; to load it anew: {_AGAIN}",
    ),
    "file_differs": (
        "its file has another number of rows than were written",
        f"see who changes the file; to write it anew: {_AGAIN}",
    ),
}
OUTCOMES = ("loaded", "waiting", "parked", "quarantined", "replayed", "superseded", "purged")


@dataclass(frozen=True)
class Finding:
    """A batch that breaks the equation.

    kind  a key of ``KINDS``
    rows  rows that were accepted; found: rows that were found instead, where that says something
    """

    kind: str
    batch_id: str
    created_ns: int
    rows: int
    found: int | None = None

    def as_dict(self) -> dict[str, object]:
        what, advice = KINDS[self.kind]
        return {**asdict(self), "what": what, "advice": advice}


@dataclass
class StreamAudit:
    """One stream. All sums are rows: ``accepted = loaded + waiting + … + purged + changed``, if ``holds``.

    checked    against what: "ledger", "files", or "journal" where the place keeps no record of batches
    target     None for a stream that no collector has now
    changed    rows the stream itself leaves out (duplicates in files, a ``stream`` of one's own), or adds (negative)
    batches    how many; folded: those of them whose single lines were summed up
    unreached  why the place couldn't be asked; then nothing is said of what is loaded
    """

    collector: str
    stream: str
    target: str | None = None
    checked: str = "journal"
    batches: int = 0
    folded: int = 0
    accepted: int = 0
    loaded: int = 0
    waiting: int = 0
    parked: int = 0
    quarantined: int = 0
    replayed: int = 0
    superseded: int = 0
    purged: int = 0
    changed: int = 0
    unreached: str | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def difference(self) -> int:
        """Rows accepted that are nowhere."""
        return self.accepted - sum(getattr(self, outcome) for outcome in OUTCOMES) - self.changed

    @property
    def holds(self) -> bool | None:
        """Whether the equation holds; None if that can't be told."""
        if self.findings or (self.difference and self.unreached is None):
            return False
        return None if self.unreached is not None else True

    def as_dict(self) -> dict[str, object]:
        return {
            **asdict(self),
            "difference": self.difference,
            "holds": self.holds,
            "findings": [finding.as_dict() for finding in self.findings],
        }


@dataclass
class CollectorAudit:
    """One collector.

    steps  for each step of its form, summed over all runs: step, rows_in, rows_out, dropped, nulled, replaced
    """

    collector: str
    steps: list[dict[str, object]] = field(default_factory=list)
    streams: list[StreamAudit] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return {
            "collector": self.collector,
            "steps": self.steps,
            "streams": [stream.as_dict() for stream in self.streams],
        }


@dataclass
class Audit:
    """All that was asked for. ``notes`` are about STORE as a whole; ``blind``: it couldn't be looked at."""

    collectors: list[CollectorAudit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blind: bool = False

    @property
    def streams(self) -> list[StreamAudit]:
        return [stream for collector in self.collectors for stream in collector.streams]

    @property
    def holds(self) -> bool | None:
        """False if one batch breaks the equation; else None if a place couldn't be asked; else True."""
        answers = [stream.holds for stream in self.streams] + [None] * self.blind
        return False if False in answers else None if None in answers else True

    def as_dict(self) -> dict[str, object]:
        return {
            "holds": self.holds,
            "collectors": [collector.as_dict() for collector in self.collectors],
            "notes": self.notes,
        }

"""The comparison itself: one batch's line in the journal against what is found of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

# Of these the journal doesn't say yet where the rows are.
OPEN = ("waiting", "parked", "removed")  # removed: by someone, before it was delivered


class Entry(NamedTuple):
    """A batch of one stream as the journal has it.

    accepted     rows; None where the journal has lost the batch itself
    outcome      waiting, parked, loaded, quarantined, superseded, purged or removed
    rows         loaded; None while nothing is, or where none could be
    quarantined  rows in quarantine; None as before
    replayed     rows that left quarantine, and are a batch of their own now
    purged       rows that left quarantine, given up by a person
    elsewhere    the target it went to, if that isn't the stream's any more
    """

    batch_id: str
    created_ns: int
    accepted: int | None
    outcome: str
    rows: int | None = None
    quarantined: int | None = None
    replayed: int = 0
    purged: int = 0
    elsewhere: str | None = None

    @property
    def gone(self) -> int:
        """Rows that left quarantine."""
        return self.replayed + self.purged


@dataclass(frozen=True)
class Found:
    """What there is of a batch.

    ledger     rows the place's ledger has of it; None where it isn't there
    asked      the place has a ledger, and it was read
    forgotten  it is older than what that ledger keeps
    shard      where its shard is: "waiting", "parked" or ""
    kept       a file of it is in quarantine
    aside      its whole shard is
    published  its file is at its place or on the way there; None where that can't be told
    refused    the rows in its file of refused rows; -1 where that can't be read, None where its whole shard is there
    """

    ledger: int | None = None
    asked: bool = False
    forgotten: bool = False
    shard: str = ""
    kept: bool = False
    aside: bool = False
    published: bool | None = None
    refused: int | None = None


@dataclass(frozen=True)
class Verdict:
    """Where a batch's rows are.

    wrong  the kind of the break, "" if there is none: a key of ``report.KINDS``
    late   the place has it, the journal doesn't know that yet
    """

    loaded: int = 0
    waiting: int = 0
    parked: int = 0
    quarantined: int = 0
    replayed: int = 0
    superseded: int = 0
    purged: int = 0
    changed: int = 0
    wrong: str = ""
    late: bool = False


def verdict(entry: Entry, found: Found, *, exact: bool) -> Verdict:
    """Where the batch's rows are, and what is wrong.

    exact  the place takes a batch's rows as they are; others drop duplicates, or let user code change them
    """
    accepted = entry.accepted if entry.accepted is not None else (entry.rows or 0) + (entry.quarantined or 0)
    if entry.outcome == "superseded":
        return Verdict(superseded=accepted)
    if entry.outcome == "purged" and found.ledger is None:
        return Verdict(purged=accepted)
    if entry.outcome == "quarantined":
        left = accepted - entry.gone
        return Verdict(
            quarantined=left,
            replayed=entry.replayed,
            purged=entry.purged,
            wrong=_in_quarantine(left, found),
        )
    if entry.outcome in OPEN and found.ledger is None:
        return _open(accepted, found)
    return _loaded(entry, found, accepted, exact)


def _open(accepted: int, found: Found) -> Verdict:
    if found.shard == "parked":
        return Verdict(parked=accepted)
    if found.shard:
        return Verdict(waiting=accepted)
    if found.aside:
        return Verdict(quarantined=accepted, late=True)
    if found.published:
        return Verdict(loaded=accepted, late=True)
    return Verdict(wrong="lost")


def _in_quarantine(rows: int, found: Found) -> str:
    if rows and not found.kept:
        return "quarantine_missing"
    return "quarantine_differs" if rows and found.refused not in (None, rows) else ""


def _loaded(entry: Entry, found: Found, accepted: int, exact: bool) -> Verdict:
    late = entry.outcome in (*OPEN, "purged")  # given up, and loaded before: killed when the place had said so
    if late:
        assert found.ledger is not None
        rows, quarantined = found.ledger, accepted - found.ledger - entry.gone
    else:
        rows, quarantined = entry.rows or 0, entry.quarantined or 0
    if found.asked and found.ledger is None and not found.forgotten:
        # Its shard is still there, so it is loaded again: the rows wait.
        return Verdict(waiting=accepted, late=True) if found.shard else Verdict(wrong="not_in_place")
    changed = accepted - rows - quarantined - entry.gone
    wrong = ""
    if found.ledger is not None and found.ledger != rows:
        wrong, rows = "rows_differ", found.ledger
    elif changed and exact:
        wrong = "rows_missing"
    else:
        wrong = _in_quarantine(quarantined, found)
    return Verdict(
        loaded=rows,
        quarantined=quarantined,
        replayed=entry.replayed,
        purged=entry.purged,
        changed=0 if exact else changed,
        wrong=wrong,
        late=late,
    )


def merged(
    entries: Iterable[Entry], ledger: Iterable[tuple[str, int]]
) -> Iterator[tuple[Entry | None, str, int | None]]:
    """Both in one pass, each sorted by batch id: the journal's entry, the id, and the ledger's rows.

    None on the side that doesn't have the batch. Holds one of each at a time.
    """
    here, there = iter(entries), iter(ledger)
    entry, receipt = next(here, None), next(there, None)
    while entry is not None or receipt is not None:
        if receipt is None or (entry is not None and entry.batch_id < receipt[0]):
            assert entry is not None
            yield entry, entry.batch_id, None
            entry = next(here, None)
        elif entry is None or receipt[0] < entry.batch_id:
            yield None, *receipt
            receipt = next(there, None)
        else:
            yield entry, *receipt
            entry, receipt = next(here, None), next(there, None)

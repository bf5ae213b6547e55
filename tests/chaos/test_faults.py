"""Schedules: repeatable, and over every point a batch passes."""

from __future__ import annotations

from itertools import islice

from api2db.chaos import faults
from api2db.chaos.faults import REACHABLE, WEIGHTS, schedule, with_outages
from api2db.failpoint import POINTS

# Hit by tests of their own: they need a place that is down, a move between file systems, rows of another type.
ELSEWHERE = {"sink.children", "spool.parked", "local.copied", "local.moved", "quarantine.held"}
ELSEWHERE |= {"spool.origin", "replay.linked", "retention.forgot", "composing.frozen", "composing.planned"}
ELSEWHERE |= {"composing.removed", "token.given", "token.kept", "rebuild.accepted"}
ELSEWHERE |= {point for point in POINTS if point.startswith("bigquery.")}
ELSEWHERE |= {"seen.written", "seen.begun"}


def test_a_seed_is_a_schedule() -> None:
    first, again, other = (list(islice(schedule(seed, WEIGHTS), 200)) for seed in (7, 7, 8))
    assert first == again != other


def test_every_kind_comes_up_and_outages_only_where_they_can() -> None:
    without = {fault.kind for fault in islice(schedule(1, WEIGHTS), 500)}
    assert without == set(WEIGHTS)
    assert {fault.kind for fault in islice(schedule(1, with_outages(WEIGHTS)), 500)} == without | set(faults.OUTAGES)


def test_every_point_of_a_batch_is_killed_at_or_named_as_one_of_elsewhere() -> None:
    assert set(REACHABLE) | ELSEWHERE == set(POINTS)
    hit = {fault.failpoint.partition(":")[0] for fault in islice(schedule(1, {faults.KILL_AT: 1}), 500)}
    assert hit == set(REACHABLE)

"""Where each poll replaces what is there, only the newest whole poll is loaded; the older ones are superseded."""

from __future__ import annotations

import random

import pytest

from api2db.errors import RetryableError
from api2db.journal.journal import Journal
from api2db.quarantine import RowQuarantine
from api2db.runtime.delivery import State
from api2db.runtime.replacement import ReplacingDelivery
from api2db.spool.collector import CollectorSpool
from tests.sink_kit import MemorySink
from tests.spool_kit import make_spool, rows

STREAM = "memory"
DOWN = RetryableError("connection refused")


class Bench:
    """One delivery over a real spool and journal, with a clock that the test turns."""

    def __init__(self, root):
        self.now = 0.0
        self.root = root
        self.sink = MemorySink(replaces=True)
        self.journal = None
        self.start()

    def start(self):
        self.close()
        spool = make_spool(self.root)
        self.shards = CollectorSpool(spool, "c", (STREAM,))
        self.journal = Journal(spool.layout.journal)
        quarantine = RowQuarantine(spool.layout, "c", STREAM, durable=False)
        self.delivery = ReplacingDelivery(
            "c", STREAM, self.sink, self.shards, self.journal, quarantine,
            rng=random.Random(1), clock=lambda: self.now,
        )  # fmt: skip

    def close(self):
        if self.journal is not None:
            self.journal.close()

    def accept(self, *values, run=0, ends=0):
        batch = self.shards.accept(rows(*values), None, run=run, ends=ends)
        self.delivery.notify(batch)
        return batch

    def run(self, steps=50):
        for _ in range(steps):
            due = self.delivery.due_in_s()
            if due is None:
                return
            self.now += due
            self.delivery.step()

    @property
    def loads(self):
        """The values of each transaction."""
        numbers, at = [], 0
        for count in self.sink.transactions:
            batches = self.sink.loaded[at : at + count]
            numbers.append([n for batch in batches for n in batch.table.column("n").to_pylist()])
            at += count
        return numbers

    def outcomes(self):
        found = self.journal._file.connection.execute("SELECT outcome FROM deliveries ORDER BY created_ns")
        return [outcome for (outcome,) in found]


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def test_only_the_newest_of_what_waits_is_loaded(bench):
    bench.run()
    for number in range(5):
        bench.accept(number)
    bench.run()
    assert bench.loads == [[4]]
    assert bench.shards.queue(STREAM).waiting() == []


def test_the_items_of_one_poll_are_one_replacement_once_it_has_ended(bench):
    for number in (1, 2, 3):
        bench.accept(number, run=7)
    bench.run()
    assert bench.loads == []
    bench.accept(run=7, ends=3)
    bench.run()
    assert bench.loads == [[1, 2, 3]]
    assert bench.shards.queue(STREAM).waiting() == []


def test_a_poll_that_never_ended_waits_until_a_younger_one_supersedes_it(bench):
    bench.accept(1, run=7)
    bench.accept(2, run=7)
    bench.run()
    assert bench.loads == []
    bench.accept(3, run=8)
    bench.accept(run=8, ends=1)
    bench.run()
    assert bench.loads == [[3]]
    assert bench.shards.queue(STREAM).waiting() == []


def test_items_of_a_poll_under_way_wait_while_the_one_before_is_loaded(bench):
    bench.accept(1)
    bench.accept(2, run=8)
    bench.run()
    assert bench.loads == [[1]]
    bench.accept(run=8, ends=1)
    bench.run()
    assert bench.loads == [[1], [2]]


@pytest.mark.parametrize("torn", [0, 1, 2])
def test_a_replacement_with_a_torn_shard_is_not_loaded_by_halves(bench, torn):
    bench.accept(9)
    ours = [bench.accept(1, run=7), bench.accept(2, run=7), bench.accept(run=7, ends=2)]
    path = bench.shards.queue(STREAM).path(ours[torn].created_ns, parked=False)
    bench.start()  # nothing is in memory
    path.write_bytes(path.read_bytes()[:-20])
    bench.run()
    assert bench.loads == [[9]]
    assert bench.shards.queue(STREAM).waiting() == []
    bench.accept(4)
    bench.run()
    assert bench.loads == [[9], [4]]
    assert bench.shards.queue(STREAM).waiting() == []


def test_a_replacement_is_repeated_until_it_is_in_and_a_younger_one_takes_its_place_meanwhile(bench):
    bench.accept(1)
    bench.sink.failures = [DOWN] * 10
    bench.run(steps=9)
    assert bench.delivery.state is State.DOWN
    bench.accept(2)
    bench.run()
    assert bench.loads == [[2]]
    assert bench.shards.queue(STREAM).waiting() == bench.shards.queue(STREAM).parked() == []


def test_what_was_not_loaded_is_known_as_superseded(bench):
    from api2db.shard import Header

    for number in range(3):
        batch = bench.accept(number)
        bench.journal.accepted(Header(batch.batch_id, "c", batch.created_ns, 1, None, (STREAM,)))
    bench.run()
    assert bench.outcomes() == ["superseded", "superseded", "loaded"]


def test_after_a_restart_the_newest_whole_poll_is_found_again(bench):
    bench.accept(1)
    bench.accept(2, run=7)
    bench.accept(3, run=7)
    bench.accept(run=7, ends=2)
    bench.accept(4, run=8)
    bench.start()
    bench.run()
    assert bench.loads == [[2, 3]]
    assert bench.shards.queue(STREAM).waiting() == [], "a poll of before the start will never be whole"


def test_a_poll_that_failed_half_way_fills_nothing(bench):
    bench.accept(1, run=7)
    bench.accept(2, run=7)
    bench.run()
    bench.accept(3)
    bench.accept(4, run=9)
    bench.delivery.give_up(7)
    bench.run()
    assert bench.loads == [[3]]
    assert len(bench.shards.queue(STREAM).waiting()) == 1
    bench.delivery.give_up(9)
    bench.run()
    assert bench.shards.queue(STREAM).waiting() == []
    assert bench.loads == [[3]]


def test_what_was_parked_while_the_stream_appended_is_older_than_what_waits(bench):
    old, new = bench.accept(1), bench.accept(2)
    bench.shards.queue(STREAM).park(old.created_ns)
    bench.shards.queue(STREAM).unpark(old.created_ns)
    bench.start()
    bench.run()
    assert bench.loads == [[2]]
    assert bench.shards.queue(STREAM).waiting() == []
    assert new.created_ns > old.created_ns

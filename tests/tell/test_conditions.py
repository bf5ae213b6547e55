"""What counts as wrong, read from a real STORE; and what nobody can know just after a start."""

from __future__ import annotations

import time

import pytest

from api2db import telling
from api2db.batch import Receipt
from api2db.journal.journal import Journal
from api2db.layout import Layout
from api2db.runtime.status import read_status
from api2db.runtime.vitals import Vitals
from api2db.tell.conditions import GRACE_S, look
from api2db.usage import Usage

TELLING = telling.read_telling({"backlog_age": "1h", "backlog_shards": 3}, {})
HOUR_NS = 3600 * 10**9


class Store:
    """A STORE with one collector and one stream, as a daemon leaves it; ``see`` looks at it."""

    def __init__(self, root):
        self.layout = Layout(root)
        self.layout.prepare()
        self.journal = Journal(self.layout.journal)
        self.vitals = Vitals()
        self.limits(min_free_bytes=0)
        self.starts()

    def starts(self):
        self.journal.declare([("feed", 60.0, 1e-9)], [("feed", "sql", "table feed")])

    def limits(self, *, min_free_bytes, max_collector_bytes=10**9):
        self.vitals.usage = Usage(
            self.layout.root,
            max_collector_bytes=max_collector_bytes, max_store_bytes=10**12, min_free_bytes=min_free_bytes,
        )  # fmt: skip

    def polled(self, outcome, cause=None):
        self.journal.run("feed", started_ns=time.time_ns(), duration_s=0.1, outcome=outcome, batches=0, rows=0,
                         cause=cause, steps=[], next_run_ns=None)  # fmt: skip

    def shard(self, created_ns):
        queue = self.layout.queue("feed", "sql")
        queue.mkdir(parents=True, exist_ok=True)
        (queue / f"{created_ns}.parquet").write_bytes(b"1234")

    def see(self, running_s=2 * GRACE_S):
        return look(read_status(self.layout), TELLING, self.vitals, running_s)

    def kinds(self, **how):
        return sorted(condition.kind for condition in self.see(**how).bad.values())


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "STORE")
    yield store
    store.journal.close()


def test_a_failing_collector_is_wrong_and_so_is_one_that_is_stale_beside(store):
    store.polled("failed", "HTTP 500")
    assert store.see().bad["failing feed "].cause == "HTTP 500"
    assert store.kinds() == ["failing", "stale"]


@pytest.mark.parametrize("state", ["down", "stopped"])
def test_a_stream_that_is_down_or_stopped_is_wrong_one_that_repeats_a_load_is_not_known(store, state):
    store.journal.stream_state("feed", "sql", state, "password authentication failed")
    assert state in store.kinds()
    store.journal.stream_state("feed", "sql", "retrying", "connection refused")
    seen = store.see()
    assert f"{state} feed sql" in seen.unknown
    assert f"{state} feed sql" not in seen.bad


def test_a_backlog_is_wrong_by_its_age_or_by_its_length(store):
    store.shard(time.time_ns())
    assert "backlog" not in store.kinds()
    store.shard(time.time_ns() - 2 * HOUR_NS)
    assert "2 shards wait, the oldest since 7,2" in store.see().bad["backlog feed sql"].cause
    (store.layout.queue("feed", "sql")).rename(store.layout.root / "aside")
    for number in range(4):
        store.shard(time.time_ns() + number)
    assert "backlog" in store.kinds()


def test_refused_and_held_rows_are_wrong_as_long_as_their_files_are_there(store):
    refused, held = store.layout.quarantine("feed", "sql"), store.layout.quarantine("feed", "held")
    for folder, name in ((refused, "1.parquet"), (refused, "2.parquet"), (held, "1.jsonl")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    store.journal.delivered("feed", "sql", [], list[Receipt]())
    bad = store.see().bad
    assert (bad["quarantine feed sql"].level, bad["held feed "].level) == (2, 1)
    (refused / "1.parquet").unlink()
    (refused / "2.parquet").unlink()
    assert "quarantine" not in store.kinds()


def test_a_full_disk_is_one_thing_that_is_wrong_not_one_for_each_collector(store):
    store.polled("paused", "only 5 bytes are free")
    store.limits(min_free_bytes=2**62)
    assert store.kinds() == ["disk", "stale"]
    store.limits(min_free_bytes=0, max_collector_bytes=10)
    store.vitals.usage.add("feed", 11)
    assert store.kinds() == ["paused", "stale"]
    store.limits(min_free_bytes=0)
    assert store.kinds() == ["stale"]


def test_a_module_that_cannot_be_used_and_polls_that_hang_are_wrong(store):
    store.journal.collector_state("other", "broken", "SyntaxError")
    store.vitals.turn(3)
    seen = store.see().bad
    assert seen["broken other "].cause == "SyntaxError"
    assert seen["stuck  "].level == 3


def test_just_after_a_start_nothing_is_taken_to_be_over_that_has_not_been_tried(store):
    store.polled("failed", "HTTP 500")
    store.journal.stream_state("feed", "sql", "stopped", "no such table")
    store.starts()
    seen = store.see(running_s=1)
    assert not seen.bad
    assert {"failing feed ", "stale feed ", "stopped feed sql", "down feed sql"} <= seen.unknown
    store.polled("ok")
    assert "failing feed " not in store.see(running_s=1).unknown
    later = store.see()
    assert "stale feed " in later.bad
    assert not later.unknown

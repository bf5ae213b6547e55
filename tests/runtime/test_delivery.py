"""A stream delivers oldest first, backs off, parks, probes and heals; nothing is dropped before its receipt."""

from __future__ import annotations

import random
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.errors import ConfigError, FatalError, RetryableError
from api2db.journal.journal import Journal
from api2db.quarantine import RowQuarantine
from api2db.retry import MIN_DELAY_S, RetryPolicy
from api2db.runtime.delivery import GROUP_ROWS, REST_S, STOPPED_PROBE_S, Delivery, State
from api2db.runtime.lanes import Waiting
from api2db.runtime.pool import DeliveryPool
from api2db.spool.collector import CollectorSpool
from api2db.spool.queue import StreamQueue
from tests.project_kit import eventually
from tests.sink_kit import MemorySink
from tests.spool_kit import make_spool, rows

STREAM = "memory"
DOWN = RetryableError("connection refused")


class Bench:
    """One delivery over a real spool and journal, with a clock that the test turns."""

    def __init__(self, root, sink=None):
        self.now = 0.0
        self.root = root
        self.sink = sink or MemorySink()
        self.journal = None
        self.restart()

    def close(self):
        if self.journal is not None:
            self.journal.close()

    def restart(self):
        self.close()
        spool = make_spool(self.root)
        self.shards = CollectorSpool(spool, "c", (STREAM,))
        self.journal = Journal(spool.layout.journal)
        self.delivery = Delivery(
            "c",
            STREAM,
            self.sink,
            self.shards,
            self.journal,
            RowQuarantine(spool.layout, "c", STREAM, durable=False),
            rng=random.Random(1),
            clock=lambda: self.now,
        )

    def accept(self, *values):
        for value in values:
            self.delivery.notify(self.shards.accept(rows(value), None))

    def run(self, steps=100):
        """Step whenever something is due, moving the clock; returns the moments of the steps."""
        moments = []
        for _ in range(steps):
            due = self.delivery.due_in_s()
            if due is None:
                break
            self.now += due
            moments.append(self.now)
            self.delivery.step()
        return moments


@pytest.fixture
def make(tmp_path):
    made = []

    def make(sink=None):
        made.append(Bench(tmp_path / str(len(made)), sink))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make):
    return make()


def test_batches_are_loaded_oldest_first_in_shared_transactions_and_dropped(bench):
    bench.accept(*range(20))
    bench.run()
    assert bench.sink.numbers == list(range(20))
    assert bench.sink.transactions == [20]
    assert bench.shards.queue(STREAM).waiting() == []
    assert bench.sink.published == [batch.created_ns for batch in bench.sink.loaded]


def test_a_transaction_holds_no_more_than_its_limit_of_rows(bench):
    size = GROUP_ROWS // 2 + 1
    for _ in range(3):
        bench.delivery.notify(bench.shards.accept(rows(*range(size)), None))
    bench.run()
    assert bench.sink.transactions == [1, 1, 1]


class SlowSink(MemorySink):
    """Each load takes so many seconds of the bench's clock."""

    load_s = 0.0

    def load(self, batches, quarantine):
        self.bench.now += self.load_s
        return super().load(batches, quarantine)


@pytest.mark.parametrize(("load_s", "rest_s"), [(0.0, 0.0), (0.03, 0.06), (5.0, REST_S)])
def test_a_stream_that_keeps_up_rests_twice_as_long_as_its_load_took_so_that_small_batches_share_the_next(
    make, load_s, rest_s
):
    bench = make(SlowSink())
    bench.sink.bench, bench.sink.load_s = bench, load_s
    bench.accept(1)
    bench.run(1)
    assert bench.delivery.rest_s == pytest.approx(rest_s)
    bench.now += rest_s
    assert bench.delivery.rest_s == 0


def test_a_stream_with_a_backlog_does_not_rest(make):
    bench = make(SlowSink())
    bench.sink.bench, bench.sink.load_s = bench, 0.03
    size = GROUP_ROWS // 2 + 1
    for _ in range(3):
        bench.delivery.notify(bench.shards.accept(rows(*range(size)), None))
    bench.run(1)
    assert (bench.sink.transactions, bench.delivery.rest_s) == ([1], 0)
    bench.run()
    assert bench.sink.transactions == [1, 1, 1]
    assert bench.delivery.rest_s > 0


def test_a_failed_load_is_repeated_until_it_is_in_and_nothing_is_dropped_before(bench):
    bench.sink.failures = [DOWN] * 3
    bench.accept(1, 2)
    bench.delivery.step()
    assert bench.delivery.state is State.RETRYING
    assert len(bench.shards.queue(STREAM).waiting()) == 2
    bench.run()
    assert bench.sink.numbers == [1, 2]
    assert bench.delivery.state is State.OK


def test_after_five_retries_the_oldest_shard_is_parked_and_the_later_ones_wait(bench):
    bench.sink.failures = [DOWN] * 8
    bench.accept(1, 2, 3)
    for _ in range(6):
        bench.now += 1000
        bench.delivery.step()
    assert bench.delivery.state is State.DOWN
    assert bench.delivery.backlog == (2, 1)
    failed = bench.shards.queue(STREAM).path(bench.shards.queue(STREAM).parked()[0], parked=True)
    assert failed.parent == bench.root / "upload_failed" / "c" / STREAM
    # The outage goes on: the later shards burn no retries of their own.
    for _ in range(2):
        bench.now += 1000
        bench.delivery.step()
    assert bench.delivery.backlog == (2, 1)
    bench.run()
    assert sorted(bench.sink.numbers) == [1, 2, 3]
    assert bench.delivery.backlog == (0, 0)


def test_when_the_place_is_back_what_failed_goes_first_one_shard_at_a_time(make):
    bench = make(MemorySink(ordered=True))
    bench.sink.failures = [DOWN] * 7
    bench.accept(1, 2, 3)
    bench.run()
    assert bench.sink.numbers == [1, 2, 3]
    assert bench.sink.transactions == [1, 2]


def test_where_order_matters_nothing_passes_a_parked_batch(make):
    bench = make(MemorySink(ordered=True))
    bench.accept(1, 2)
    bench.sink.refuse = {bench.shards.queue(STREAM).waiting()[0]: DOWN}
    bench.run(steps=60)
    assert bench.sink.numbers == []
    bench.sink.refuse = {}
    bench.run()
    assert bench.sink.numbers == [1, 2]


def test_plain_appends_pass_a_parked_batch_and_it_follows_when_it_can(bench):
    bench.accept(1, 2, 3)
    bench.sink.refuse = {bench.shards.queue(STREAM).waiting()[0]: DOWN}
    bench.run(steps=60)
    assert bench.sink.numbers == [2, 3]
    assert bench.delivery.backlog == (0, 1)
    bench.sink.refuse = {}
    bench.run()
    assert bench.sink.numbers == [2, 3, 1]


def test_a_place_that_stays_down_is_not_probed_hot(bench):
    bench.sink.failures = [DOWN] * 10_000
    bench.accept(*range(50))
    moments = bench.run(steps=200)
    assert moments[-1] > 200 * 5
    assert all(later - earlier >= MIN_DELAY_S - 1e-9 for earlier, later in pairwise(moments[:6]))


def test_being_woken_early_does_not_shorten_a_back_off(bench):
    bench.sink.failures = [DOWN]
    bench.accept(1)
    bench.delivery.step()
    due = bench.delivery.due_in_s()
    assert due > 0
    bench.accept(2)
    bench.delivery.step()
    assert bench.delivery.due_in_s() == due
    assert bench.delivery.state is State.RETRYING
    bench.run()
    assert bench.sink.numbers == [1, 2]


def test_an_unexpected_error_in_a_parked_shard_backs_off_like_any_other(bench):
    bench.accept(1)
    bench.sink.refuse = {bench.shards.queue(STREAM).waiting()[0]: ZeroDivisionError("a bug")}
    bench.run(steps=30)
    assert bench.delivery.backlog == (0, 1)
    moments = bench.run(steps=10)
    assert all(later - earlier >= MIN_DELAY_S - 1e-9 for earlier, later in pairwise(moments))
    assert moments[-1] - moments[0] > 30


def test_a_refused_password_stops_the_stream_and_it_heals_by_a_slow_probe(bench):
    bench.sink.failures = [FatalError("password refused")]
    bench.accept(1)
    bench.delivery.step()
    assert bench.delivery.state is State.STOPPED
    assert bench.delivery.due_in_s() == STOPPED_PROBE_S
    assert len(bench.shards.queue(STREAM).waiting()) == 1
    bench.run()
    assert bench.sink.numbers == [1]
    assert bench.delivery.state is State.OK


def test_a_stopped_stream_reads_its_credentials_anew_each_time_it_looks_again(bench):
    wrong = FatalError("password authentication failed")
    answers = iter([False, ConfigError("AUTH/warehouse.json is not valid JSON"), True])

    def renew():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    bench.delivery.renew = renew
    bench.sink.failures = [wrong, wrong]
    bench.accept(1)
    bench.delivery.step()
    assert bench.delivery.state is State.STOPPED
    bench.now += STOPPED_PROBE_S
    bench.delivery.step()  # what can't be read leaves the old ones, which fail
    assert (bench.delivery.state, bench.sink.loaded) == (State.STOPPED, [])
    bench.now += STOPPED_PROBE_S
    bench.delivery.step()
    assert (bench.delivery.state, bench.sink.numbers) == (State.OK, [1])


def test_credentials_that_were_changed_before_the_old_ones_failed_are_tried_at_once_and_once(bench):
    bench.delivery.renew = lambda: True
    bench.sink.failures = [FatalError("password authentication failed")] * 2
    bench.accept(1)
    bench.delivery.step()
    assert bench.delivery.due_in_s() == 0
    bench.delivery.step()
    assert (bench.delivery.state, bench.delivery.due_in_s()) == (State.STOPPED, STOPPED_PROBE_S)


def test_parked_shards_are_found_again_after_a_restart(bench):
    bench.sink.failures = [DOWN] * 6
    bench.accept(1, 2)
    for _ in range(6):
        bench.now += 1000
        bench.delivery.step()
    bench.restart()
    assert bench.delivery.backlog == (1, 1)
    bench.run()
    assert sorted(bench.sink.numbers) == [1, 2]


def test_a_torn_shard_is_set_aside_and_the_others_are_loaded(bench):
    bench.accept(1, 2, 3)
    torn = bench.shards.queue(STREAM).waiting()[1]
    path = bench.shards.queue(STREAM).path(torn, parked=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    bench.restart()
    bench.run()
    assert bench.sink.numbers == [1, 3]
    assert (bench.root / "quarantine" / "c" / STREAM / f"{torn}.parquet").read_bytes() == data
    assert bench.delivery.backlog == (0, 0)


def test_a_batch_loaded_before_a_crash_and_delivered_again_is_in_once(bench):
    bench.accept(1)
    created_ns = bench.shards.queue(STREAM).waiting()[0]
    batch = bench.shards.queue(STREAM).read(created_ns, parked=False)
    bench.sink.load([batch], lambda *_: None)
    bench.restart()
    bench.run()
    assert bench.sink.numbers == [1]
    assert bench.shards.queue(STREAM).waiting() == []


@given(st.integers(1, 100_000), st.floats(0.01, 10), st.floats(10, 1000), st.integers())
def test_a_retry_is_never_hot_and_never_later_than_the_cap(attempt, base_s, cap_s, seed):
    policy = RetryPolicy(base_s=base_s, cap_s=cap_s)
    delay_s = policy.delay_s(attempt, random.Random(seed))
    assert MIN_DELAY_S <= delay_s <= max(MIN_DELAY_S, min(cap_s, base_s * 2.0 ** min(attempt - 1, 60)))


@given(st.lists(st.one_of(st.just(None), st.integers(1, 3000)), max_size=30))
def test_what_waits_is_kept_in_order_whatever_is_dropped(operations):
    waiting, model, number = Waiting([]), [], 0
    for drop in operations:
        if drop is None:
            for _ in range(2000):
                number += 1
                waiting.append(number)
                model.append(number)
        else:
            count = min(drop, len(model))
            waiting.drop(count)
            del model[:count]
        assert len(waiting) == len(model)
        assert waiting.oldest(5) == model[:5]


def test_a_pool_delivers_many_streams_with_few_threads_and_never_one_stream_twice_at_once(tmp_path):
    together = threading.Semaphore(2)
    done = threading.Event()
    remaining = [300]
    lock = threading.Lock()
    before, most = threading.active_count(), [0]

    class Checked(MemorySink):
        def load(self, batches, quarantine):
            assert together.acquire(blocking=False), "more threads into one target than allowed"
            try:
                return super().load(batches, quarantine)
            finally:
                together.release()

        def publish(self, batches):
            super().publish(batches)
            with lock:
                most[0] = max(most[0], threading.active_count())
                remaining[0] -= len(batches)
                if not remaining[0]:
                    done.set()

    pool = DeliveryPool(threads=6, target_threads=2)
    spool = make_spool(tmp_path)
    journal = Journal(spool.layout.journal)
    deliveries = []
    for number in range(30):
        shards = CollectorSpool(spool, f"c{number}", (STREAM,))
        quarantine = RowQuarantine(spool.layout, f"c{number}", STREAM, durable=False)
        deliveries.append(Delivery(f"c{number}", STREAM, Checked(), shards, journal, quarantine))
    for value in range(10):
        for delivery in deliveries:
            delivery.notify(delivery.spool.accept(rows(value), None))
            pool.wake(delivery)
    assert done.wait(30)
    assert pool.stop(deadline=10**9)
    journal.close()
    for delivery in deliveries:
        assert delivery.sink.numbers == list(range(10))
    assert most[0] <= before + 6


def test_places_that_hang_do_not_hold_up_a_retry_into_another(make):
    go_on, hang, loaded = threading.Event(), threading.Semaphore(0), threading.Event()

    class Hanging(MemorySink):
        def load(self, batches, quarantine):
            hang.release()
            go_on.wait(30)
            return super().load(batches, quarantine)

    failing, first, second = make(), make(Hanging()), make(Hanging())
    failing.sink.failures.append(DOWN)
    failing.delivery.retry = RetryPolicy(base_s=4.0)  # by this rng half a second: both others hang by then
    failing.sink.publish = lambda batches: loaded.set()
    pool = DeliveryPool(threads=4, target_threads=2)
    for number, bench in enumerate((failing, first, second)):
        bench.sink.server = f"place {number}"
        bench.delivery.clock = time.monotonic
        bench.accept(1)
    pool.wake(failing.delivery)
    eventually(lambda: pool._later)
    for bench in (first, second):
        pool.wake(bench.delivery)
        assert hang.acquire(timeout=10)
    assert loaded.wait(10)
    go_on.set()
    assert pool.stop(deadline=10**9)


def test_a_bug_in_one_stream_does_not_stop_the_others(make):
    class Broken(MemorySink):
        def load(self, batches, quarantine):
            raise ZeroDivisionError("a bug")

    good_bench, bad_bench = make(), make(Broken())
    loaded = threading.Event()
    good_bench.sink.publish = lambda batches: loaded.set()
    pool = DeliveryPool(threads=1, target_threads=2)
    for bench in (bad_bench, good_bench):
        bench.accept(1)
        bench.delivery.clock = lambda: 0.0
        pool.wake(bench.delivery)
    assert loaded.wait(10)
    pool.stop(deadline=10**9)
    assert bad_bench.delivery.state is State.RETRYING
    assert len(bad_bench.shards.queue(STREAM).waiting()) == 1


def test_a_shard_that_went_after_its_receipt_stays_known_as_loaded(bench):
    from api2db.shard import Header

    batch = bench.shards.accept(rows(1), None)
    bench.journal.accepted(Header(batch.batch_id, "c", batch.created_ns, 1, None, (STREAM,)))
    bench.delivery.notify(batch)
    queue = bench.delivery.queue
    bench.delivery.queue = OnAFailingDisk(**vars(queue))
    bench.run(steps=1)
    bench.delivery.queue = queue
    bench.run()
    found = bench.journal._file.connection.execute("SELECT outcome FROM deliveries").fetchall()
    assert found == [("loaded",)]
    assert bench.shards.queue(STREAM).waiting() == []


class OnAFailingDisk(StreamQueue):
    """The directory can't be flushed: the name is gone, and nobody heard of it."""

    def drop(self, shards, *, parked, flush=True):
        super().drop(shards, parked=parked, flush=flush)
        raise OSError(5, "Input/output error")

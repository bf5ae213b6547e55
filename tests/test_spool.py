"""The durable queue: what was accepted is there for every stream until that stream drops it, whatever happens."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from api2db.errors import ConfigError, StoreError, StoreFullError, StoreLockedError, TornShardError
from api2db.layout import StoreLock, check_name, lock_owner
from api2db.spool.collector import CollectorSpool
from api2db.state import assign_directories
from tests.spool_kit import make_spool, rows

STREAMS = ("sql.sqlite", "local.parquet")


@pytest.fixture
def shards(tmp_path):
    return CollectorSpool(make_spool(tmp_path, durable=True), "weather", STREAMS)


def test_an_accepted_batch_waits_for_each_of_its_streams(shards):
    batch = shards.accept(rows(1, 2), '"c1"')
    for stream in STREAMS:
        assert shards.queue(stream).waiting() == [batch.created_ns]
        assert shards.queue(stream).read(batch.created_ns, parked=False).table.equals(rows(1, 2))
    assert shards.cursor == '"c1"'


def test_one_copy_on_disk_however_many_streams_and_the_last_drop_frees_it(tmp_path, shards):
    batch = shards.accept(rows(1), None)
    shards.settle()
    names = [shards.queue(stream).path(batch.created_ns, parked=False) for stream in STREAMS]
    assert {path.stat().st_nlink for path in names} == {2}
    usage = shards._spool.usage
    assert usage.of("weather") == names[0].stat().st_size
    shards.queue(STREAMS[0]).drop([batch.created_ns], parked=False)
    assert usage.of("weather") > 0
    shards.queue(STREAMS[1]).drop([batch.created_ns], parked=False)
    assert usage.of("weather") == 0
    assert not [path for path in tmp_path.glob("queue/*/*/*") if path.is_file()]


def test_accepting_costs_two_flushes(tmp_path, monkeypatch):
    shards = CollectorSpool(make_spool(tmp_path, durable=True), "weather", STREAMS)
    flushes = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushes.append(fd), real(fd)))
    for n in range(10):
        shards.accept(rows(n), str(n))
    assert len(flushes) == 20
    # Settling all ten: the streams' directories, the cursor file and its folder, and accepted/.
    shards.settle()
    assert len(flushes) == 20 + len(STREAMS) + 3


def test_names_grow_although_the_clock_steps_back_across_a_restart(tmp_path, monkeypatch):
    first = CollectorSpool(make_spool(tmp_path), "weather", ("s",)).accept(rows(1), "1")
    shards = CollectorSpool(make_spool(tmp_path), "weather", ("s",))
    shards.queue("s").drop([first.created_ns], parked=False)
    monkeypatch.setattr("time.time_ns", lambda: first.created_ns - 3_600 * 10**9)
    later = CollectorSpool(make_spool(tmp_path), "weather", ("s",)).accept(rows(2), "2")
    assert later.created_ns > first.created_ns


def test_a_full_disk_leaves_nothing_behind_and_the_cursor_where_it_was(tmp_path, shards, monkeypatch):
    shards.accept(rows(1), '"before"')

    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreFullError, match="no space left"):
            shards.accept(rows(2), '"after"')
    assert shards.cursor == '"before"'
    assert len(shards.queue(STREAMS[0]).waiting()) == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_at_a_collectors_limit_nothing_is_dropped_and_collecting_is_refused(tmp_path):
    spool = make_spool(tmp_path, max_collector_bytes=6000)
    shards = CollectorSpool(spool, "weather", ("s",))
    accepted = []
    with pytest.raises(StoreFullError, match="max_collector_bytes"):
        while True:
            accepted.append(shards.accept(rows(len(accepted)), None).created_ns)
    assert accepted
    assert shards.queue("s").waiting() == accepted
    CollectorSpool(spool, "other", ("s",)).accept(rows(1), None)
    shards.queue("s").drop(accepted, parked=False)
    shards.accept(rows(1), None)


def test_the_limit_counts_what_waited_before_a_restart(tmp_path):
    CollectorSpool(make_spool(tmp_path), "weather", ("a", "b")).accept(rows(1), None)
    spool = make_spool(tmp_path)
    assert 500 < spool.usage.of("weather") < 5000


def test_too_little_free_space_refuses_a_batch(tmp_path):
    shards = CollectorSpool(make_spool(tmp_path, min_free_bytes=2**60), "weather", ("s",))
    with pytest.raises(StoreFullError, match="min_free_bytes"):
        shards.accept(rows(1), None)


def test_a_shard_that_someone_removed_is_said_to_be_gone(shards):
    batch = shards.accept(rows(1), None)
    shards._spool.recent.drop(batch.created_ns)
    shards.settle()
    shards.queue(STREAMS[0]).path(batch.created_ns, parked=False).unlink()
    with pytest.raises(TornShardError, match="gone"):
        shards.queue(STREAMS[0]).read(batch.created_ns, parked=False)


def test_a_batch_whose_link_failed_is_linked_when_it_is_read(shards, monkeypatch):
    real, failures = os.link, [OSError(errno.ENOSPC, "No space left on device")]

    def link(source, target):
        if failures:
            raise failures.pop()
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    batch = shards.accept(rows(1), None)
    shards._spool.recent.drop(batch.created_ns)
    for stream in STREAMS:
        assert shards.queue(stream).read(batch.created_ns, parked=False).table.equals(rows(1))


def test_streams_that_drop_a_batch_at_the_same_time_leave_nothing_counted(tmp_path):
    shards = CollectorSpool(make_spool(tmp_path), "weather", STREAMS)
    together = threading.Barrier(len(STREAMS))
    batches = [shards.accept(rows(n), None).created_ns for n in range(200)]

    def drop_all(stream):
        for created_ns in batches:
            together.wait()
            shards.queue(stream).drop([created_ns], parked=False)

    threads = [threading.Thread(target=drop_all, args=(stream,)) for stream in STREAMS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shards._spool.usage.of("weather") == 0


def test_a_parked_shard_counts_once_after_a_restart(tmp_path):
    shards = CollectorSpool(make_spool(tmp_path), "weather", STREAMS)
    batch = shards.accept(rows(1), None)
    shards.queue(STREAMS[0]).park(batch.created_ns)
    size = shards.queue(STREAMS[0]).path(batch.created_ns, parked=True).stat().st_size
    assert make_spool(tmp_path).usage.of("weather") == size


def test_a_state_that_can_not_be_read_keeps_only_its_own_collector_from_starting(tmp_path):
    for name in ("good", "bad"):
        CollectorSpool(make_spool(tmp_path), name, ("s",)).accept(rows(1), "1")
        CollectorSpool(make_spool(tmp_path), name, ("s",)).settle()
    (tmp_path / "state" / "bad.json").write_text("{")
    spool = make_spool(tmp_path)
    assert CollectorSpool(spool, "good", ("s",)).cursor == "1"
    with pytest.raises(StoreError, match=r"bad\.json"):
        CollectorSpool(spool, "bad", ("s",))


def test_without_hard_links_each_stream_gets_a_copy(tmp_path, monkeypatch):
    def refused(*_args, **_kwargs):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    shards = CollectorSpool(make_spool(tmp_path), "weather", STREAMS)
    batch = shards.accept(rows(7), None)
    for stream in STREAMS:
        assert shards.queue(stream).read(batch.created_ns, parked=False).table.equals(rows(7))
        shards.queue(stream).drop([batch.created_ns], parked=False)
    assert shards._spool.usage.of("weather") == 0


def test_a_second_daemon_is_refused_and_told_whose_the_store_is(tmp_path):
    layout = make_spool(tmp_path).layout
    assert lock_owner(layout) is None
    lock = StoreLock(layout)
    assert lock_owner(layout) == os.getpid()
    with pytest.raises(StoreLockedError, match=str(os.getpid())):
        StoreLock(layout)
    lock.close()
    StoreLock(layout).close()


@pytest.mark.parametrize("name", ["queue", "state", "a/b", "..", "", ".hidden", "a b", "x" * 200, "log", "ü"])
def test_a_name_that_is_not_safe_is_refused_with_a_suggestion(name):
    with pytest.raises(ValueError, match=r"try|needs a name"):
        check_name(name)


def test_a_target_keeps_its_directory_whatever_the_order_of_the_list():
    a, b = ("sql.postgresql", "host-a/db/t"), ("sql.postgresql", "host-b/db/t")
    first, memory = assign_directories({}, [a, b], frozenset())
    assert first[0] == "sql.postgresql"
    assert first[1].startswith("sql.postgresql~")
    again, memory = assign_directories(memory, [b, a], frozenset())
    assert again == first[::-1]
    only_b, _ = assign_directories(memory, [b], frozenset())
    assert only_b == [first[1]]


def test_a_target_named_twice_is_refused():
    with pytest.raises(ConfigError, match=r"two streams of type local\.csv have the same target, /out"):
        assign_directories({}, [("local.csv", "/out"), ("local.csv", "/other"), ("local.csv", "/out")], frozenset())


def test_a_directory_that_holds_shards_is_not_given_to_another_target():
    _, memory = assign_directories({}, [("sql.postgresql", "old")], frozenset())
    moved, _ = assign_directories(memory, [("sql.postgresql", "new")], frozenset({"sql.postgresql"}))
    assert moved != ["sql.postgresql"]
    moved, _ = assign_directories(memory, [("sql.postgresql", "new")], frozenset())
    assert moved == ["sql.postgresql"]


def test_what_a_full_disk_keeps_from_being_settled_at_a_start_is_not_fetched_again(tmp_path, monkeypatch):
    before = CollectorSpool(make_spool(tmp_path), "weather", STREAMS)
    before.accept(rows(1), '"c1"')

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("api2db.spool.collector.write_state", full)
        shards = CollectorSpool(make_spool(tmp_path), "weather", STREAMS)
        assert shards.cursor == '"c1"'
    shards.settle()
    assert CollectorSpool(make_spool(tmp_path), "weather", STREAMS).cursor == '"c1"'


def test_a_file_of_quarantine_is_replayed_once_and_goes_when_its_batch_is_settled(tmp_path, shards):
    origin = tmp_path / "quarantine" / "weather" / "held" / "a.jsonl"
    origin.parent.mkdir(parents=True)
    origin.write_text("{}")
    name = str(origin.relative_to(tmp_path))
    shards.accept(rows(1), None, origin=name)
    with pytest.raises(StoreError, match="is being replayed already"):
        shards.accept(rows(1), None, origin=name)
    shards.settle()
    assert not origin.exists()
    assert len(shards.queue(STREAMS[0]).waiting()) == 1


class Crash(BaseException):
    """The process dies here."""


@settings(max_examples=60, stateful_step_count=40, deadline=None)
class SpoolMachine(RuleBasedStateMachine):
    """Accept, deliver, park, settle and die at every point, in any order, against a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.number = 0
        self.cursor: str | None = None
        self.waiting: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}
        self.parked: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}
        self.start()

    def start(self) -> None:
        self.shards = CollectorSpool(make_spool(self.root), "weather", STREAMS)

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule()
    def accept(self):
        self.number += 1
        batch = self.shards.accept(rows(self.number), str(self.number))
        self.accepted(batch.created_ns)

    def accepted(self, created_ns):
        self.cursor = str(self.number)
        for stream in STREAMS:
            self.waiting[stream][created_ns] = self.number

    @rule(point=st.sampled_from(["spool.written", "spool.renamed", "spool.linked", "spool.fanned_out"]))
    def die_while_accepting(self, point):
        self.number += 1
        before = set(self.shards.queue(STREAMS[0]).waiting())
        self.die_at(point, lambda: self.shards.accept(rows(self.number), str(self.number)))
        fresh = set(self.shards.queue(STREAMS[0]).waiting()) - before
        # Before the rename nothing is accepted, from it on everything is.
        assert len(fresh) == (0 if point == "spool.written" else 1)
        for created_ns in fresh:
            self.accepted(created_ns)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data(), die=st.booleans())
    def drop(self, data, die):
        stream = data.draw(st.sampled_from([s for s in STREAMS if self.waiting[s]]))
        created_ns = min(self.waiting[stream])
        if die:
            self.die_at("spool.settled", lambda: self.shards.queue(stream).drop([created_ns], parked=False))
            if created_ns in self.shards.queue(stream).waiting():
                return
        else:
            self.shards.queue(stream).drop([created_ns], parked=False)
        del self.waiting[stream][created_ns]

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def park(self, data):
        stream = data.draw(st.sampled_from([s for s in STREAMS if self.waiting[s]]))
        created_ns = min(self.waiting[stream])
        self.shards.queue(stream).park(created_ns)
        self.parked[stream][created_ns] = self.waiting[stream].pop(created_ns)

    @rule()
    def settle(self):
        self.shards.settle()

    @rule()
    def move_cursor(self):
        self.number += 1
        self.shards.move_cursor(str(self.number))
        self.cursor = str(self.number)

    @rule()
    def restart(self):
        self.start()

    def die_at(self, point, action):
        def reach(name):
            if name == point:
                raise Crash

        with pytest.MonkeyPatch.context() as patch:
            for module in ("collector", "queue"):
                patch.setattr(f"api2db.spool.{module}.reach", reach)
            try:
                action()
            except Crash:
                pass
        self.start()

    @invariant()
    def every_accepted_batch_is_there_once_for_each_stream(self):
        for stream in STREAMS:
            assert self.shards.queue(stream).waiting() == sorted(self.waiting[stream])
            assert self.shards.queue(stream).parked() == sorted(self.parked[stream])
            for created_ns, number in self.waiting[stream].items():
                assert self.shards.queue(stream).read(created_ns, parked=False).table.equals(rows(number))
        assert self.shards.cursor == self.cursor


TestSpoolMachine = SpoolMachine.TestCase

"""The log keeps delivered shards for a time and within limits, and costs accepting one link."""

from __future__ import annotations

import errno
import os

import pytest

from api2db.shardlog import ShardLog
from api2db.spool.collector import CollectorSpool
from tests.spool_kit import PLENTY, make_spool, rows

DAY_S = 86_400.0
LATER_NS = 10**18


def log_of(spool, **limits):
    """The spool with a log, as the daemon's has it."""
    spool.log = ShardLog(spool.layout.logs, **{"keep_s": DAY_S, "max_bytes": PLENTY, **limits})
    spool.log.recover()
    spool.usage.give_way = spool.log.give_way
    return spool.log


@pytest.fixture
def spool(tmp_path):
    spool = make_spool(tmp_path)
    log_of(spool)
    return spool


def fill(spool, count, *, deliver=True, collector="c", keep_s=None):
    shards = CollectorSpool(spool, collector, ("a", "b"), keep_s=keep_s)
    accepted = [shards.accept(rows(n), None).created_ns for n in range(count)]
    if deliver:
        for stream in ("a", "b"):
            shards.queue(stream).drop(accepted, parked=False)
    return shards, accepted


def test_a_delivered_shard_is_kept_and_its_bytes_are_the_logs_no_longer_the_backlogs(spool):
    shards, (created_ns,) = fill(spool, 1, deliver=False)
    size = spool.log.path("c", created_ns).stat().st_size
    assert (spool.usage.of("c"), spool.log.bytes) == (size, 0)
    shards.queue("a").drop([created_ns], parked=False)
    assert (spool.usage.of("c"), spool.log.bytes) == (size, 0)
    shards.queue("b").drop([created_ns], parked=False)
    assert (spool.usage.of("c"), spool.log.bytes) == (0, size)
    assert spool.recent.get(created_ns) is None
    assert spool.log.shards("c") == [created_ns]


def test_a_shard_that_waits_again_is_backlog_again(spool):
    shards, (created_ns,) = fill(spool, 1)
    size = spool.log.bytes
    assert shards.queue("a").lend([created_ns]) == [created_ns]
    assert (spool.usage.of("c"), spool.log.bytes) == (size, 0)
    shards.queue("a").drop([created_ns], parked=False)
    assert (spool.usage.of("c"), spool.log.bytes) == (0, size)


def test_a_shard_delivered_late_goes_too_while_ever_more_come_behind_it(spool):
    shards, (first,) = fill(spool, 1, deliver=False)
    (second,) = fill(spool, 1)[1]
    for stream in ("a", "b"):
        shards.queue(stream).drop([first], parked=False)
    delivered_ns = spool.log.path("c", first).stat().st_ctime_ns
    spool.log.prune(int(second + 1 + DAY_S * 1e9))
    (third,) = fill(spool, 1)[1]
    assert third > delivered_ns
    for _ in range(2):
        spool.log.prune(int(third + 1 + DAY_S * 1e9))
        third = fill(spool, 1)[1][0]
    assert first not in spool.log.shards("c")


def test_keep_0_keeps_nothing(spool):
    fill(spool, 3, keep_s=0.0)
    assert len(spool.log) == 0
    assert not spool.layout.log("c").exists()


def test_accepting_with_a_log_flushes_no_more(tmp_path, monkeypatch):
    spool = make_spool(tmp_path, durable=True)
    log_of(spool)
    shards = CollectorSpool(spool, "c", ("a",), keep_s=None)
    flushes = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushes.append(fd), real(fd)))
    for n in range(5):
        shards.accept(rows(n), None)
    assert len(flushes) == 10


def test_past_their_time_the_delivered_go_and_those_that_wait_stay(spool):
    fill(spool, 4)
    waiting = fill(spool, 2, deliver=False)[1]
    newest_ns = spool.log.path("c", waiting[-1]).stat().st_ctime_ns
    spool.log.prune(newest_ns)
    assert len(spool.log) == 6
    spool.log.prune(newest_ns + int(2 * DAY_S * 1e9))
    assert spool.log.shards("c") == waiting
    assert spool.log.bytes == 0
    assert len(spool.log) == 2


def test_one_that_was_delivered_late_is_kept_its_time_from_then(spool):
    shards, (created_ns,) = fill(spool, 1, deliver=False)
    for stream in ("a", "b"):
        shards.queue(stream).drop([created_ns], parked=False)
    delivered_ns = spool.log.path("c", created_ns).stat().st_ctime_ns
    spool.log.prune(delivered_ns - 1 + int(DAY_S * 1e9))
    assert len(spool.log) == 1
    for _ in range(2):  # what was looked at in vain is looked at again once all the others were
        spool.log.prune(delivered_ns + 1 + int(DAY_S * 1e9))
    assert len(spool.log) == 0


def test_beyond_its_bytes_the_oldest_go_first_whosever_they_are(tmp_path):
    spool = make_spool(tmp_path)
    log_of(spool)
    one = fill(spool, 3, collector="one")[1]
    other = fill(spool, 3, collector="two")[1]
    size = spool.log.path("one", one[0]).stat().st_size
    small = log_of(spool, max_bytes=2 * size)
    small.prune()
    assert small.shards("one") == []
    assert small.shards("two") == other[1:]
    assert small.bytes <= 2 * size


def test_beyond_its_number_of_shards_the_oldest_go_first(tmp_path):
    spool = make_spool(tmp_path)
    log_of(spool)
    accepted = fill(spool, 5)[1]
    few = log_of(spool, max_shards=2)
    few.prune()
    assert few.shards("c") == accepted[3:]


def test_what_waits_is_never_pruned_whatever_the_limits(tmp_path):
    spool = make_spool(tmp_path)
    log_of(spool)
    accepted = fill(spool, 5, deliver=False)[1]
    none = log_of(spool, max_bytes=1, max_shards=1, keep_s=0.001)
    for _ in range(3):
        none.prune(4 * LATER_NS)
    assert none.shards("c") == accepted


def test_where_the_disk_runs_short_the_log_gives_way_before_collecting_pauses(tmp_path, monkeypatch):
    spool = make_spool(tmp_path, min_free_bytes=1)
    log_of(spool)
    shards, _ = fill(spool, 5)
    kept = spool.log.bytes
    free = os.statvfs(tmp_path)
    missing = kept - 100  # as many bytes as all but one shard give back

    class Disk:
        f_frsize = 1

        @property
        def f_bavail(self):
            return kept - spool.log.bytes - missing + 1

    monkeypatch.setattr(os, "statvfs", lambda path: Disk() if path == tmp_path else free)
    with pytest.raises(Exception, match="min_free_bytes"):
        shards.accept(rows(*range(10_000)), None)
    assert spool.log.bytes == 0


def test_a_log_that_cannot_be_written_stops_no_batch(spool, monkeypatch, caplog):
    real = os.link

    def link(source, target):
        if "/log/" in str(target):
            raise OSError(errno.EMLINK, "Too many links")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    shards, accepted = fill(spool, 2, deliver=False)
    assert shards.queue("a").waiting() == accepted
    assert len(spool.log) == 0
    assert "aren't kept collector=c cause=Too many links" in caplog.text


def test_a_batch_found_accepted_at_the_start_is_kept_too(tmp_path, monkeypatch):
    spool = make_spool(tmp_path)
    log_of(spool)
    _, (created_ns,) = fill(spool, 1, deliver=False)
    spool.log.path("c", created_ns).unlink()
    assert make_spool(tmp_path).log.shards("c") == [created_ns]


def test_names_grow_beyond_what_is_kept(tmp_path):
    spool = make_spool(tmp_path)
    log_of(spool)
    fill(spool, 1)
    ahead = 4 * LATER_NS
    os.rename(next(spool.layout.log("c").iterdir()), spool.log.path("c", ahead))
    assert make_spool(tmp_path).clock.next() > ahead

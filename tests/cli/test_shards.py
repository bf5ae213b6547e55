"""``api2db shards``: everything in STORE can be listed, read, checked, tried again and given up."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from api2db.cli.main import main
from tests.log_kit import Bench, rows, shards_in
from tests.project_kit import eventually

COLLECTOR = """
    from api2db import collector

    @collector(every=3600, to=["database", "warehouse"])
    def numbers():
        return []
"""
TOML = '[places.warehouse]\ntype = "local"\npath = "warehouse"\n'


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path, numbers=COLLECTOR, toml=TOML)
    yield bench
    bench.close()


def listed(bench, *words):
    done = CliRunner().invoke(main, ["-C", str(bench.folder), "shards", "ls", "--json", *words])
    assert done.exit_code == 0, done.output
    return [(one["where"], one["stream"], one["rows"]) for one in json.loads(done.output)]


def parked(bench, *batches):
    """Batches that the folder of files doesn't take."""
    (bench.folder / "warehouse").write_text("a file where the folder should be")
    bench.collect("numbers", *batches, deliver=False)
    with bench.open("numbers") as (part, _):
        for delivery in part.deliveries:
            if delivery.stream == "local.parquet":
                while delivery.park_oldest():
                    continue


def test_shards_are_listed_wherever_they_lie(bench):
    parked(bench, rows(1, 2), rows(3))
    waiting = [("queue", "sql.sqlite", 2), ("queue", "sql.sqlite", 1)]
    failed = [("failed", "local.parquet", 2), ("failed", "local.parquet", 1)]
    assert listed(bench) == [*waiting, *failed, ("log", None, 2), ("log", None, 1)]
    assert listed(bench, "numbers/local.parquet") == failed
    assert listed(bench, "--in", "queue") == waiting
    text = bench.command("shards", "ls", typed="")["text"]
    assert text.splitlines()[0].split() == ["where", "collector", "stream", "created", "(UTC)", "rows", "bytes",
                                            "batch", "id", "reason"]  # fmt: skip


def test_a_shard_is_shown_by_its_batch_its_name_or_its_path(bench):
    bench.collect("numbers", rows(1, 2, value=7))
    (path,) = shards_in(bench.store / "log" / "numbers")
    ((batch_id,),) = bench.journal("SELECT batch_id FROM batches")
    for name in (batch_id, path.stem, path.name, str(path)):
        said = bench.command("shards", "show", name, "--rows", "1")
        assert said["rows"] == [{"id": 1, "value": 7}]
        assert said["about"]["api2db.batch_id"] == batch_id
    assert "no shard" in bench.command("shards", "show", "nothing", status=1)["text"]


def test_a_damaged_shard_and_one_that_is_not_what_its_name_says_are_found(bench):
    bench.collect("numbers", rows(1), rows(2), rows(3))
    assert bench.command("shards", "verify") == {"checked": 3, "wrong": []}
    first, second, _ = shards_in(bench.store / "log" / "numbers")
    data = bytearray(first.read_bytes())
    data[40] ^= 1
    first.write_bytes(data)
    second.rename(second.with_name("17.parquet"))
    said = bench.command("shards", "verify", status=1)
    assert said["checked"] == 3
    assert sorted(what.partition(":")[0] for _, what in said["wrong"]) == ["damaged", "foreign"]


def test_what_is_in_quarantine_is_verified_too(bench):
    bench.collect("numbers", rows(1))
    quarantine = bench.store / "quarantine" / "numbers"
    files = [quarantine / "sql.sqlite" / f"{'a' * 32}.parquet", quarantine / "held" / "b.jsonl",
             quarantine / "source" / "c.json"]  # fmt: skip
    for path in files:
        path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1], "_quarantine_reason": ["odd"]}), files[0])
    files[1].write_text('{"reason": "odd", "row": {"id": 1}}\n')
    files[2].write_text('{"reason": "odd", "received_ns": 1, "payload": []}\n')
    assert bench.command("shards", "verify") == {"checked": 4, "wrong": []}
    for path in files:
        path.write_bytes(b"")
    said = bench.command("shards", "verify", status=1)
    assert [path for path, what in said["wrong"] if what.startswith("damaged: ")] == sorted(map(str, files), key=str)


def test_what_failed_is_tried_at_once_and_what_fails_again_stays(bench):
    parked(bench, rows(1), rows(2))
    said = bench.command("shards", "retry", "numbers/local.parquet", status=1)
    assert "2 shards wait" in said["lines"][-1]
    (bench.folder / "warehouse").unlink()
    bench.command("shards", "retry", "numbers")
    assert len(shards_in(bench.folder / "warehouse")) == 2
    assert bench.waiting() == []


def test_a_running_daemon_tries_what_failed_when_it_is_asked(bench):
    parked(bench, rows(1), rows(2))
    process = bench.start()
    bench.ready(process)
    stopped = "SELECT state FROM streams WHERE stream = 'local.parquet'"
    eventually(lambda: bench.journal(stopped) == [("stopped",)])
    (bench.folder / "warehouse").unlink()
    bench.command("replay", "numbers", "--from", "failed")
    eventually(lambda: not bench.waiting())
    assert len(shards_in(bench.folder / "warehouse")) == 2
    assert bench.stop(process) == 0


def test_what_is_given_up_is_said_before_and_counted_as_purged(bench):
    parked(bench, rows(1, 2), rows(3))
    asked = bench.command("shards", "purge", "numbers/local.parquet", typed="n\n", status=1)["text"]
    assert "2 shards, 3 rows would be given up" in asked
    assert len(bench.waiting()) == 4
    assert bench.command("shards", "purge", "numbers/local.parquet", "--yes")["rows"] == 3
    assert len(bench.waiting()) == 2
    purged = "SELECT stream, count(*) FROM deliveries WHERE outcome = 'purged' GROUP BY stream"
    assert bench.journal(purged) == [("local.parquet", 2)]
    # Given up stays given up: a replay doesn't bring it back, unless the batch is named.
    (bench.folder / "warehouse").unlink()
    assert bench.command("replay", "numbers/local.parquet")["numbers/local.parquet"]["batches"] == 0


def test_a_store_of_a_newer_version_is_left_alone_and_said_so(bench):
    bench.collect("numbers", rows(1))
    (bench.folder / "STORE" / "format").write_text("99\n")
    told = CliRunner().invoke(main, ["-C", str(bench.folder), "shards", "ls"])
    assert told.exit_code == 1
    assert "was written by a newer api2db" in told.output


def without(bench):
    """The collector delivers to the folder of files no longer, where its batches failed."""
    parked(bench, rows(1, 2), rows(3))
    (bench.folder / "warehouse").unlink()
    bench.write("numbers", COLLECTOR.replace('"database", "warehouse"', '"database"'))
    bench.collect("numbers", rows(4))


def test_what_waits_for_a_stream_that_was_taken_away_is_given_up_and_holds_back_the_log_no_longer(bench):
    without(bench)
    kept = shards_in(bench.store / "log" / "numbers")
    assert [path.stat().st_nlink for path in kept] == [2, 2, 1]
    refused = bench.command("shards", "purge", "numbers/local.parquet", status=1)["text"]
    assert "shards purge --removed" in refused
    asked = bench.command("shards", "purge", "numbers", "--removed", typed="n\n", status=1)["text"]
    assert "numbers/local.parquet: no collector has this stream now; 2 shards, 3 rows" in asked
    assert len(bench.waiting()) == 2
    assert bench.command("shards", "purge", "numbers", "--removed", "--yes")["rows"] == 3
    assert bench.waiting() == []
    assert [path.stat().st_nlink for path in kept] == [1, 1, 1]
    audited = {one["stream"]: one for one in bench.command("audit")["collectors"][0]["streams"]}
    assert (audited["local.parquet"]["accepted"], audited["local.parquet"]["purged"]) == (3, 3)
    assert audited["sql.sqlite"]["loaded"] == 4


def test_a_running_daemon_gives_up_what_waits_for_a_stream_taken_away_and_keeps_that_of_collectors_it_cannot_run(bench):
    without(bench)
    bench.write("off", COLLECTOR.replace("numbers", "off").replace("3600", "0"))
    bench.write("lost", COLLECTOR.replace("numbers", "lost"))
    bench.collect("lost", rows(1), deliver=False)
    (bench.folder / "collectors" / "lost.py").unlink()
    bench.write("typo", "def broken(:")
    process = bench.start()
    bench.ready(process)
    assert bench.command("shards", "purge", "numbers/local.parquet", "--removed", "--yes")["rows"] == 3
    assert "declared" in bench.command("shards", "purge", "off", "--removed", "--yes", status=1)["text"]
    assert "typo.py" in bench.command("shards", "purge", "lost", "--removed", "--yes", status=1)["text"]
    assert bench.stop(process) == 0
    (bench.folder / "collectors" / "typo.py").unlink()
    assert bench.command("shards", "purge", "lost", "--removed", "--yes")["rows"] == 2  # in each of its two streams
    assert bench.waiting() == []

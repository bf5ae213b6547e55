"""``api2db reset`` and ``backfill`` say what they change, ask, and have the next poll begin there."""

from __future__ import annotations

import json

import pytest

from api2db.errors import SourceError
from tests.log_kit import Bench, rows
from tests.project_kit import eventually
from tests.spool_kit import rows as table

COLLECTOR = """
    from pathlib import Path
    from api2db import Cursor, collector

    @collector(every=0.05{more})
    def numbers(since=Cursor("{column}", start=0)):
        with open("asked", "a") as asked:
            asked.write(f"{{since}}\\n")
        return [{{"id": n, "value": 0}} for n in range(since + 1, 6)]
"""


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path, numbers=COLLECTOR.format(column="id", more=""))
    yield bench
    bench.close()


def cursor(bench):
    return json.loads((bench.store / "state" / "numbers.json").read_text())["cursor"]


def at(bench, value):
    bench.collect("numbers", rows(1))
    with bench.open("numbers") as (part, _):
        part.shards.move_cursor(json.dumps(value))


def test_it_says_what_the_cursor_was_and_will_be_and_asks(bench):
    at(bench, 5)
    said = bench.command("reset", "numbers", "--to", "2", typed="n\n", status=1)["text"]
    assert "the cursor is 5, and would be 2" in said
    assert "come once more in sql.sqlite: nothing merges them" in said
    assert cursor(bench) == "5"
    assert bench.command("reset", "numbers", "--to", "2", "--yes")["before"] == "5"
    assert cursor(bench) == "2"
    bench.command("reset", "numbers", "--yes")
    assert cursor(bench) is None


def test_where_rows_are_merged_it_says_so(bench):
    bench.write("numbers", COLLECTOR.format(column="id", more=", key='id'"))
    at(bench, 5)
    said = "\n".join(bench.command("reset", "numbers", "--yes")["lines"])
    assert "they are merged in sql.sqlite" in said
    assert "once more" not in said


@pytest.mark.parametrize(
    ("reached", "since", "moved"),
    [
        (7, "3", 3),
        ("2026-02-01T10:00:00.000000+00:00", "2026-01-01", "2026-01-01T00:00:00.000000+00:00"),
        ("2026-02-01T10:00:00.000000", "2026-01-01T01:00Z", "2026-01-01T01:00:00.000000"),
        ("2026-02-01", "2026-01-01", "2026-01-01"),
    ],
)
def test_a_backfill_begins_at_a_moment_of_the_cursors_own_kind(bench, reached, since, moved):
    at(bench, reached)
    bench.command("backfill", "numbers", "--since", since, "--yes")
    assert json.loads(cursor(bench)) == moved


def test_a_moment_that_the_cursor_cannot_have_is_refused(bench):
    at(bench, 7)
    assert "this cursor is a number" in bench.command("backfill", "numbers", "--since", "2h", "--yes", status=1)["text"]
    assert cursor(bench) == "7"


def test_a_running_daemon_moves_it_and_polls_from_there(bench):
    process = bench.start()
    bench.ready(process)
    asked = bench.folder / "asked"
    eventually(lambda: asked.exists() and asked.read_text().endswith("5\n"))
    bench.command("reset", "numbers", "--to", "3", "--yes")
    eventually(lambda: "3\n" in asked.read_text())
    eventually(lambda: len(bench.sqlite("SELECT id FROM numbers")) == 7)
    assert bench.stop(process) == 0
    assert sorted(bench.sqlite("SELECT id FROM numbers")) == [(1,), (2,), (3,), (4,), (4,), (5,), (5,)]


def test_a_poll_under_way_does_not_move_a_cursor_that_was_reset(bench):
    with bench.open("numbers") as (part, _):
        resets = part.shards.resets
        part.shards.accept(table(1), "1", resets=resets)
        part.shards.reset_cursor("0")
        with pytest.raises(SourceError, match="was reset while it was polled"):
            part.shards.accept(table(2), "2", resets=resets)
        with pytest.raises(SourceError, match="was reset while it was polled"):
            part.shards.move_cursor("2", resets=resets)
        assert part.shards.cursor == "0"

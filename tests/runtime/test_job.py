"""What a source may return, and what becomes of what it may not."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from api2db import ApiForm, Collector, Cursor, Feature, Page, collector, due_time
from api2db.errors import ConfigError
from api2db.journal.journal import Journal
from api2db.runtime.job import Job
from api2db.runtime.run import Run
from api2db.spool.collector import CollectorSpool
from tests.spool_kit import make_spool


class Polls:
    """One collector's job over a real spool and journal; ``poll`` runs it here, without threads."""

    def __init__(self, root, declared):
        spool = make_spool(root)
        self.shards = CollectorSpool(spool, declared.name, ("s",))
        self.journal = Journal(spool.layout.journal)
        self.root = root
        self.job = Job(
            declared,
            spool=spool,
            shards=self.shards,
            streams=("s",),
            journal=self.journal,
            accepted=lambda batch: None,
            timeout_s=60,
        )

    def poll(self):
        """Outcome and cause of one poll."""
        self.job.run = Run(0, 0.0, 0.0)
        self.job.poll(threading.Event())
        self.job.run = None
        query = "SELECT outcome, cause FROM runs ORDER BY rowid DESC LIMIT 1"
        return self.journal._file.connection.execute(query).fetchone()

    @property
    def batches(self):
        return [self.shards.queue("s").read(at, parked=False).table for at in self.shards.queue("s").waiting()]

    @property
    def rows(self):
        return [table.to_pylist() for table in self.batches]


@pytest.fixture
def polls(tmp_path):
    made = []

    def make(source, **options):
        made.append(Polls(tmp_path, Collector("c", 1, source, options.pop("form", None), None, **options)))
        return made[-1]

    yield make
    for each in made:
        each.journal.close()


RECORDS = [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "returned",
    [
        RECORDS,
        tuple(RECORDS),
        pd.DataFrame(RECORDS),
        pa.Table.from_pylist(RECORDS),
        pa.RecordBatch.from_pylist(RECORDS),
    ],
    ids=["list", "tuple", "frame", "table", "record batch"],
)
def test_a_list_a_frame_or_an_arrow_table_becomes_one_batch(polls, returned):
    made = polls(lambda: returned)
    assert made.poll() == ("ok", None)
    assert made.rows == [RECORDS]


@pytest.mark.parametrize("returned", [None, [], pd.DataFrame(), iter(())])
def test_nothing_this_time_is_a_poll_that_went_well(polls, returned):
    made = polls(lambda: returned)
    assert made.poll() == ("ok", None)
    assert made.batches == []


def test_each_item_of_a_generator_is_a_batch_and_is_safe_before_the_next_is_asked_for(polls):
    seen = []

    def source():
        for number in range(3):
            seen.append(len(made.batches))
            yield [{"n": number}]

    made = polls(source)
    made.poll()
    assert seen == [0, 1, 2]
    assert made.rows == [[{"n": 0}], [{"n": 1}], [{"n": 2}]]


def test_a_page_hands_its_cursor_to_the_next_poll_and_one_without_rows_moves_it_only(polls):
    given = []

    def source(cursor):
        given.append(cursor)
        number = len(given)
        yield Page([{"n": number}] if number < 3 else None, {"after": number})

    made = polls(source)
    for _ in range(4):
        made.poll()
    assert given == [None, {"after": 1}, {"after": 2}, {"after": 3}]
    assert len(made.batches) == 2


def test_a_failed_item_leaves_what_was_accepted_and_the_cursor_behind_it(polls):
    def source(cursor):
        yield Page([{"n": 1}], 1)
        raise OSError("connection reset")

    made = polls(source)
    outcome, cause = made.poll()
    assert outcome == "failed"
    assert "OSError: connection reset" in cause
    assert "test_job.py" in cause
    assert made.rows == [[{"n": 1}]]
    assert made.shards.cursor == "1"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (42, "returned int"),
        ("text", "returned str"),
        (b"\x00\xff", "returned bytes"),
        ([1, 2], "item 0 is int"),
        ([{"n": 1}, None], "item 1 is NoneType"),
        (object(), "returned object"),
        (Page([{"n": 1}], object()), "cursor must be a JSON value"),
    ],
)
def test_rubbish_is_a_failed_run_that_says_what_it_was(polls, returned, words):
    outcome, cause = polls(lambda: returned).poll()
    assert outcome == "failed"
    assert words in cause


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error", [ValueError("lone \ud800"), Unprintable(), OverflowError(), asyncio.CancelledError(), GeneratorExit()]
)
def test_any_error_of_a_source_is_a_failed_run_and_the_next_ones_are_written_down(polls, error):
    def source():
        if errors:
            raise errors.pop()
        return RECORDS

    errors = [error]
    made = polls(source)
    outcome, cause = made.poll()
    assert outcome == "failed"
    assert type(error).__name__ in cause
    assert made.poll() == ("ok", None)


def test_a_key_in_an_address_is_not_told(polls, caplog):
    def source():
        raise OSError(
            "GET https://me:hunter2@host/v1?api_key=SECRETKEY&n=1 failed\nwith Authorization: Bearer abcdef123"
        )

    _, cause = polls(source).poll()
    for secret in ("SECRETKEY", "hunter2", "abcdef123"):
        assert secret not in cause
    assert "\n" not in cause
    assert "n=1" in cause


def test_no_more_than_a_hundred_payloads_are_kept_of_a_broken_source(polls, tmp_path):
    sent = iter(range(1000))
    made = polls(lambda: [{"n": 1}, next(sent)])
    for _ in range(110):
        made.poll()
    assert len(list((tmp_path / "quarantine" / "c" / "source").iterdir())) == 100


def test_a_run_that_has_ended_is_not_abandoned_afterwards(polls):
    made = polls(lambda: RECORDS)
    made.job.run = Run(0, 0.0, 0.0)
    made.job.poll(threading.Event())
    assert not made.job.abandon()


def test_rubbish_is_kept_as_it_arrived_once_however_often_it_is_repeated(polls, tmp_path):
    made = polls(lambda: [{"n": 1}, "\ud800"])
    for _ in range(3):
        made.poll()
    (kept,) = (tmp_path / "quarantine" / "c" / "source").iterdir()
    told = json.loads(kept.read_text())
    assert told["payload"] == [{"n": 1}, "\ud800"]
    assert "item 1 is str" in told["reason"]


def test_a_parameter_with_a_default_of_its_own_keeps_it(polls):
    def source(city="rome", *, unit="C"):
        return [{"city": city, "unit": unit}]

    made = polls(source)
    assert made.poll() == ("ok", None)
    assert made.rows == [[{"city": "rome", "unit": "C"}]]


def test_the_cursor_goes_to_its_own_parameter_wherever_it_stands(polls):
    def source(city="rome", since=Cursor("n", start=5)):
        return [{"city": city, "n": since + 1}]

    made = polls(source, cursor=Cursor("n", start=5))
    made.poll()
    made.poll()
    assert made.rows == [[{"city": "rome", "n": 6}], [{"city": "rome", "n": 7}]]


def test_a_cursor_of_the_rows_moves_with_the_batch(polls):
    given = []

    def source(since):
        given.append(since)
        return [{"id": len(given) * 10, "x": 1}]

    made = polls(source, cursor=Cursor("id", start=0, lag=3))
    for _ in range(3):
        made.poll()
    assert given == [0, 7, 17]


def test_a_cursor_column_that_is_not_there_fails_the_run_and_accepts_nothing(polls):
    made = polls(lambda since: RECORDS, cursor=Cursor("updated"))
    outcome, cause = made.poll()
    assert outcome == "failed"
    assert "'updated'" in cause
    assert made.batches == []


def test_the_form_shapes_each_response_and_counts_its_steps(polls):
    form = ApiForm(name="c", data_features=[Feature("n", lambda row: row["n"], int), Feature("x", "deep.x", float)])
    made = polls(lambda: [{"n": "7", "deep": {"x": 1}}, {"n": "no"}], form=lambda: form)
    assert made.poll() == ("ok", None)
    assert made.rows == [[{"n": 7, "x": 1.0}, {"n": None, "x": None}]]
    (steps,) = made.journal._file.connection.execute("SELECT steps FROM collectors").fetchone()
    (features,) = json.loads(steps)
    assert (features["rows_in"], features["rows_out"]) == (2, 2)
    assert features["nulled"] >= 1


def test_at_its_limit_a_collector_pauses_without_asking_the_api(polls, monkeypatch):
    asked = []
    made = polls(lambda: asked.append(1))
    monkeypatch.setattr(type(made.shards._spool.usage), "refusal", lambda *_: "its backlog is at the limit")
    outcome, cause = made.poll()
    assert outcome == "paused"
    assert "at the limit" in cause
    assert asked == []


def test_an_abandoned_polls_late_result_is_dropped(polls):
    made = polls(lambda: iter([[{"n": 1}], [{"n": 2}]]))
    run = made.job.run = Run(0, 0.0, 0.0)
    stuck = iter([[{"n": 1}], [{"n": 2}]])

    def source():
        yield next(stuck)
        assert made.job.abandon()
        yield next(stuck)

    made.job.collector.import_target = source
    made.job.poll(threading.Event())
    assert run.abandoned
    assert made.rows == [[{"n": 1}]]
    assert not made.job.abandon()


def test_a_decorated_function_stays_callable_and_names_its_collector():
    @collector(every="5m", key="id", version="at", shape={"id": "id"})
    def prices(since=Cursor("at", start=1)):
        return since

    assert isinstance(prices, Collector)
    assert (prices.name, prices.seconds, prices.key, prices.version) == ("prices", 300, ("id",), "at")
    assert prices.cursor == Cursor("at", start=1)
    assert prices(5) == 5


@pytest.mark.parametrize(
    "options",
    [{"every": "soon"}, {"every": -1}, {"every": 1, "version": "v"}, {"every": 1, "form": ApiForm("a"), "shape": {}}],
)
def test_a_mistaken_declaration_is_refused_where_it_is_made(options):
    with pytest.raises(ConfigError):
        collector(**options)(lambda: None)


def test_other_rows_than_the_last_polls_are_something_new_and_the_same_or_none_are_not(polls):
    brought = iter([[], [1, 2], [1, 2], [], [1, 2], [2, 1], None, [2, 1, 3]])

    def source():
        numbers = next(brought)
        if numbers is None:
            raise RuntimeError("no answer")
        for number in numbers:
            yield [{"n": number}]

    found = []
    made = polls(source)
    made.job.watches_changes = True
    made.job.ended = lambda end: found.append((end.outcome, end.changed))
    for _ in range(8):
        made.poll()
    new, old = ("ok", True), ("ok", False)
    assert found == [old, new, old, old, old, new, ("failed", False), new]


def test_a_function_learns_which_due_time_it_is_polled_for_in_its_schedules_zone(tmp_path):
    asked = []
    source = Collector("c", None, lambda: asked.append(due_time()), None, None, at="06:00", zone="Europe/Berlin")
    made = Polls(tmp_path, source)
    due = datetime.datetime(2026, 7, 1, 6, tzinfo=ZoneInfo("Europe/Berlin"))
    made.job.due_s = int(due.timestamp())
    made.poll()
    made.journal.close()
    assert [str(each) for each in asked] == ["2026-07-01 06:00:00+02:00"]
    assert due_time().tzinfo is datetime.UTC  # outside a poll

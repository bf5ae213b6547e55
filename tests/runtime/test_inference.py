"""Types that are found move with their batch, survive every restart, and cost nothing while they stay as they are."""

from __future__ import annotations

import json
import logging

import pandas as pd
import pyarrow as pa
import pytest

from api2db import ApiForm, Cursor, Feature, Page
from api2db.collector import Collector
from api2db.runtime.status import read_status
from api2db.shard import decode_header
from tests.runtime.test_job import Polls


@pytest.fixture
def polls(tmp_path):
    made = []

    def make(*answers, form=None, cursor=None):
        """A daemon that starts on what is there, and polls an answer after the other."""
        left = list(answers)
        made.append(Polls(tmp_path, Collector("c", 1, lambda: left.pop(0), form, None, cursor=cursor)))
        for _ in answers:
            assert made[-1].poll() == ("ok", None)
        return made[-1]

    yield make
    for each in made:
        each.journal.close()


def types(made):
    return [table.schema.field("v").type for table in made.batches]


def held(made):
    """Every row that is held, with its reason, by file."""
    folder = made.root / "quarantine" / "c" / "held"
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in folder.glob("*")]


def test_integers_after_fractions_arrive_as_fractions(polls):
    assert types(polls([{"v": 1.5}], [{"v": 2}], [{"v": None}])) == [pa.float64()] * 3


def test_items_of_one_poll_agree(polls):
    assert types(polls(iter([[{"v": "a"}], [{"v": 1}], [{"v": None}]]))) == [pa.string()] * 3


def test_types_survive_a_restart(polls):
    first = polls([{"v": 1.5, "w": True}])
    first.shards.settle()
    assert json.loads((first.root / "state" / "c.json").read_bytes())["types"] == {"v": "float", "w": "bool"}
    assert types(polls([{"v": 2}])) == [pa.float64()] * 2


def test_types_of_a_batch_that_was_not_settled_are_found_again_in_its_shard(polls):
    first = polls([{"v": 1}], [{"v": 1.5}], [{"v": 2}])
    state = first.root / "state" / "c.json"
    assert not state.exists()  # as after a kill: nothing was written behind the renames
    assert types(polls([{"v": 3}]))[2:] == [pa.float64()] * 2
    assert json.loads(state.read_bytes())["types"] == {"v": "float"}


def test_a_shard_tells_types_only_where_they_are_new(polls):
    made = polls([{"v": 1}], [{"v": 2}], [{"v": 2.5}])
    paths = [made.shards.queue("s").path(at, parked=False) for at in made.shards.queue("s").waiting()]
    assert [decode_header(path.read_bytes()).types for path in paths] == [{"v": "int"}, None, {"v": "float"}]


def test_a_batch_that_is_not_accepted_teaches_nothing(polls):
    made = polls([{"v": 1}])
    made.shards._spool.usage.refusal = lambda *_: "full"
    made.job.collector.import_target = lambda: [{"v": 0.5}]
    assert made.poll()[0] == "paused"
    assert made.shards.state.types == {"v": "int"}


def test_an_odd_row_is_held_as_it_arrived_and_the_others_are_accepted(polls, caplog):
    odd = {"v": "n/a", "nested": {"a": [1]}, "big": 2**70}
    with caplog.at_level(logging.ERROR):
        made = polls([{"v": 1}], [{"v": 2}, odd])
    assert made.rows == [[{"v": 1}], [{"v": 2}]]
    ((row,),) = held(made)
    assert row["row"] == odd
    assert row["reason"] == 'column "v" (int) cannot take text ("n/a"): it isn\'t a number'
    (message,) = [record.getMessage() for record in caplog.records]
    assert "rows held" in message
    assert str(made.root / "quarantine" / "c" / "held") in message
    assert "n/a" not in message


def test_the_same_odd_rows_are_held_once_however_often_they_come(polls):
    polls([{"v": 1}], [{"v": "n/a"}], [{"v": "n/a"}]).shards.settle()
    made = polls([{"v": "n/a"}], [{"v": "other"}])
    assert sorted(row["row"]["v"] for file in held(made) for row in file) == ["n/a", "other"]


def test_the_status_tells_of_rows_that_are_held_until_someone_took_them_away(polls):
    made = polls([{"v": 1}], [{"v": 2}, {"v": "n/a"}])
    status = read_status(made.shards._layout)
    assert status.collectors[0].held_files == 1
    assert status.collectors[0].steps[0] == {
        "step": "held", "rows_in": 2, "rows_out": 1, "nulled": 0, "replaced": 0, "by_column": []
    }  # fmt: skip
    assert any("STORE/quarantine/c/held" in trouble for trouble in status.troubles)
    next((made.root / "quarantine" / "c" / "held").iterdir()).unlink()
    assert not any("held" in trouble for trouble in read_status(made.shards._layout).troubles)


def test_held_rows_count_towards_the_collectors_limit(polls):
    made = polls([{"v": 1}])
    before = made.shards._spool.usage.of("c")
    polls([{"v": "n/a"}])
    made.job.collector.import_target = lambda: [{"v": "other"}]
    made.poll()
    assert made.shards._spool.usage.of("c") > before


def test_a_page_of_nothing_but_odd_rows_is_held_and_the_cursor_moves(polls):
    made = polls([{"v": 1}], iter([Page([{"v": "n/a"}], {"page": 2})]))
    assert made.shards.cursor == '{"page": 2}'
    assert len(made.batches) == 1
    assert len(held(made)) == 1


def test_a_cursor_by_column_goes_by_the_rows_accepted(polls):
    made = polls([{"v": 1, "id": 1}], [{"v": 2, "id": 2}, {"v": "n/a", "id": 3}], cursor=Cursor("id", start=0))
    assert json.loads(made.shards.cursor) == 2


def test_rows_that_can_not_be_held_keep_their_batch_from_being_accepted(polls):
    made = polls([{"v": 1}])
    (made.root / "quarantine").mkdir()
    (made.root / "quarantine" / "c").write_text("not a folder")
    made.job.collector.import_target = lambda: iter([Page([{"v": 2}, {"v": "n/a"}], 2)])
    outcome, cause = made.poll()
    assert outcome == "failed"
    assert "rows can't be kept" in cause
    assert made.rows == [[{"v": 1}]]
    assert made.shards.cursor is None


def test_forms_frames_and_arrow_tables_have_types_of_their_own(polls):
    def form():
        return ApiForm("c", None, [Feature("v", "v")])

    made = polls([{"v": 1}], [{"v": "a"}], form=form)
    made = polls(pd.DataFrame({"v": [1.5]}), pa.table({"v": ["x"]}))
    assert types(made) == [pa.int64(), pa.string(), pa.float64(), pa.string()]
    assert made.shards.state.types == {}
    assert held(made) == []


def test_a_state_file_from_before_types_were_kept_is_read(polls):
    first = polls([{"v": 1}])
    first.shards.settle()
    state = first.root / "state" / "c.json"
    old = json.loads(state.read_bytes())
    del old["types"]
    state.write_text(json.dumps(old))
    assert types(polls([{"v": 2.5}])) == [pa.int64(), pa.float64()]

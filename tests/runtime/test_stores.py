"""Stores: every file of a folder is loaded once, duplicates dropped, and then it goes where it was told to."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from api2db.collector import Collector
from api2db.composing.folder import locked
from api2db.composing.rows import BATCH_ROWS
from api2db.errors import ConfigError
from api2db.formats import FORMATS
from api2db.runtime.status import read_status
from api2db.runtime.store_job import StoreCollector
from api2db.store import Store, Store2Local
from api2db.store.places import with_stores
from api2db.stream.file_converter import FileConverter
from tests.store_kit import Shop, names_in, rows_in, sql_store, write_file, write_files

NAME = "weather.store.sql.sqlite"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shop(project):
    """``shop(stores…)``: the shop, closed after the test; one is closed before the next is opened."""
    made = []

    def make(*stores):
        if made:
            made.pop().close()
        made.append(Shop(project, *stores))
        return made[0]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("fmt", list(FORMATS))
def test_the_files_of_a_folder_are_loaded_and_then_deleted(shop, project, fmt):
    write_files(project / "in", 12, fmt)
    assert shop(sql_store(fmt=fmt)).run() == ("ok", None)
    assert rows_in(project, "SELECT id, text FROM weather ORDER BY id") == [(n, f"row {n}") for n in range(120)]
    assert names_in(project / "in") == []


@pytest.mark.parametrize("fmt", list(FORMATS))
def test_files_are_moved_and_a_file_of_all_their_rows_is_made_as_documented(shop, project, fmt):
    write_files(project / "in", 3, fmt)
    write_files(project / "same", 3, fmt)
    store = sql_store(fmt=fmt, move_shards_path="done/deep", move_composed_path="composed")
    assert names_in(project / "done") == ["deep"], "the folders are made"
    assert shop(store).run() == ("ok", None)
    assert names_in(project / "done" / "deep") == [f"{n}.{fmt}" for n in range(3)]
    frame = FileConverter.static_compose_df_from_dir("same", fmt, move_composed_path="expected")
    made, expected = ((project / where / f"0_2.{fmt}").read_bytes() for where in ("composed", "expected"))
    pd.testing.assert_frame_equal(FORMATS[fmt].decode(made), frame)
    if fmt in ("csv", "json"):
        assert made == expected


@pytest.mark.parametrize("fmt", list(FORMATS))
def test_a_file_of_files_of_several_kinds_is_that_of_a_frame_of_them_all(shop, project, fmt):
    frames = [
        pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": ["x", 'say "7", please\n']}),
        pd.DataFrame({"a": pd.array([0.5], "Float64"), "c": [[1, {"d": None}]]}),
        pd.DataFrame({"a": [None], "b": [None]}),
    ]
    for folder in ("in", "same"):
        for number, frame in enumerate(frames):
            write_file(project / folder / f"{number}.{fmt}", frame)
    shop(sql_store(fmt=fmt, move_composed_path="composed")).run()
    frame = FileConverter.static_compose_df_from_dir("same", fmt, move_composed_path="expected")
    made = FORMATS[fmt].decode((project / "composed" / f"0_2.{fmt}").read_bytes())
    expected = FORMATS[fmt].decode((project / "expected" / f"0_2.{fmt}").read_bytes())
    pd.testing.assert_frame_equal(made, expected)
    assert len(made) == len(frame) == 4


def test_duplicates_are_dropped_over_all_files_and_all_columns_but_those_excluded(shop, project):
    def write(name, ids, at):
        frame = pd.DataFrame({"id": ids, "note": [None if n % 2 else "even" for n in ids], "at": at})
        write_file(project / "in" / name, frame)

    write("1.parquet", [1, 2, 2, 3], 0)
    write("2.parquet", [3, 4, 1], 1)
    shop(sql_store(drop_duplicate_exclude=["at"])).run()
    assert rows_in(project, "SELECT id, at FROM weather ORDER BY id") == [(1, 0), (2, 0), (3, 0), (4, 1)]
    write("3.parquet", [1, 1], 2)
    shop(sql_store(drop_duplicate_exclude=["at"])).run()
    assert rows_in(project, "SELECT count(*) FROM weather") == [(5,)], "of two runs none is another's duplicate"


def test_rows_are_compared_with_those_before_also_where_a_run_goes_on_with_another(shop, project):
    ids = np.arange(BATCH_ROWS + 10)
    write_file(project / "in" / "1.parquet", pd.DataFrame({"id": ids}))
    write_file(project / "in" / "2.parquet", pd.DataFrame({"id": ids[:100] - 50}))
    assert shop(sql_store()).run(stop=True) == ("stopped", None)
    assert names_in(project / "in") == ["1.parquet", "2.parquet"]
    assert rows_in(project, "SELECT count(*) FROM weather") == [(BATCH_ROWS,)]
    write_file(project / "in" / "0.parquet", pd.DataFrame({"id": [0, 7_000_000]}))
    assert shop(sql_store()).run() == ("ok", None)
    assert rows_in(project, "SELECT count(*), min(id) FROM weather") == [(len(ids) + 50, -50)]
    assert names_in(project / "in") == ["0.parquet"], "one that came later has its turn later"


def test_the_audit_accounts_for_every_row_of_a_store(shop, project):
    write_files(project / "in", 4)
    at_work = shop(sql_store())
    at_work.run(deliver=False)
    (waiting,) = at_work.audit().streams
    assert (waiting.accepted, waiting.waiting, waiting.loaded, waiting.holds) == (40, 40, 0, True)
    at_work.run()
    (loaded,) = at_work.audit().streams
    assert (loaded.accepted, loaded.waiting, loaded.loaded, loaded.checked) == (40, 0, 40, "ledger")


def test_a_file_that_changes_after_its_first_rows_were_loaded_is_kept_for_a_person(shop, project):
    large = pd.DataFrame({"id": np.arange(BATCH_ROWS + 10)})
    write_file(project / "in" / "1.parquet", large)
    shop(sql_store()).run(stop=True)
    write_file(project / "in" / "1.parquet", large * 2)
    outcome, cause = shop(sql_store()).run()
    assert outcome == "failed"
    assert f"written to after its first {BATCH_ROWS} rows were loaded" in cause
    assert "1.parquet" in names_in(project / "STORE" / "quarantine" / NAME / "files")
    assert rows_in(project, "SELECT count(*) FROM weather") == [(BATCH_ROWS,)]


@pytest.mark.parametrize(("fmt", "data"), [("parquet", b"PAR1 torn"), ("json", b'[{"id"'), ("csv", b"")])
def test_a_file_that_cannot_be_read_is_set_aside_with_the_reason_and_the_rest_loads(shop, project, fmt, data):
    write_files(project / "in", 3, fmt)
    write_file(project / "in" / f"1.{fmt}", data)
    at_work = shop(sql_store(fmt=fmt))
    outcome, cause = at_work.run()
    assert outcome == "failed"
    assert f"1.{fmt} can't be read" in cause
    assert at_work.ids() == [*range(10), *range(20, 30)]
    kept = project / "STORE" / "quarantine" / NAME / "files"
    assert names_in(kept) == [f"1.{fmt}", f"1.{fmt}.reason"]
    about = json.loads((kept / f"1.{fmt}.reason").read_text())
    assert about["file"] == str(project / "in" / f"1.{fmt}")
    assert about["reason"]
    assert names_in(project / "in") == []
    assert at_work.run() == ("ok", None)
    (trouble,) = read_status(at_work.layout).troubles
    assert f"STORE/quarantine/{NAME}/files/" in trouble, "it is told until somebody has looked"


def test_files_still_being_written_hidden_and_of_other_formats_are_left(shop, project):
    write_files(project / "in", 1)
    for name in (".0.parquet.tmp", "x.parquet.tmp", "notes.txt", "young.parquet"):
        (project / "in" / name).write_bytes(b"")
    os.utime(project / "in" / "notes.txt", (1, 1))
    at_work = shop(sql_store())
    assert at_work.run() == ("ok", None)
    assert names_in(project / "in") == [".0.parquet.tmp", "notes.txt", "x.parquet.tmp", "young.parquet"]
    assert at_work.ids() == list(range(10))


def test_a_file_that_is_taken_away_or_written_anew_meanwhile_is_not_deleted(shop, project):
    ids = np.arange(BATCH_ROWS + 10)
    write_file(project / "in" / "0.parquet", pd.DataFrame({"id": ids}))
    write_files(project / "in", 3, first=1)
    shop(sql_store()).run(stop=True)
    (project / "in" / "1.parquet").unlink()
    (project / "in" / "2.parquet").write_bytes(FORMATS["parquet"].encode(pd.DataFrame({"id": [-1, -2]})))
    at_work = shop(sql_store())
    assert at_work.run() == ("ok", None)
    assert names_in(project / "in") == ["2.parquet"]
    os.utime(project / "in" / "2.parquet", (1, 1))
    assert at_work.run() == ("ok", None)
    assert at_work.ids() == sorted([-2, -1, *range(30, 40), *ids])


def test_an_empty_folder_and_one_that_is_not_there_yet_are_nothing_to_do(shop, project):
    assert shop(sql_store()).run() == ("ok", None)
    assert names_in(project / "in") == []


def test_while_a_script_composes_the_folder_the_store_waits_for_its_next_run(shop, project):
    write_files(project / "in", 2)
    at_work = shop(sql_store())
    with locked(project / "in"):
        outcome, cause = at_work.run()
    assert (outcome, "is being composed already" in cause) == ("failed", True)
    assert at_work.run() == ("ok", None)
    assert at_work.ids() == list(range(20))


def test_at_its_limit_a_store_pauses_keeps_its_files_and_goes_on_when_there_is_room(shop, project):
    write_files(project / "in", 2)
    at_work = shop(sql_store())
    usage = at_work.kept.spool.usage
    usage.add(NAME, usage._max_collector)
    outcome, _ = at_work.run()
    assert (outcome, len(names_in(project / "in"))) == ("paused", 2)
    usage.add(NAME, -usage._max_collector)
    assert at_work.run() == ("ok", None)
    assert at_work.ids() == list(range(20))


def test_a_store_that_replaces_leaves_the_newest_files_alone_in_the_table(shop, project):
    write_files(project / "in", 3)
    store = sql_store(if_exists="replace")
    at_work = shop(store)
    at_work.run()
    at_work.run()
    assert at_work.ids() == list(range(30)), "a run without files replaces nothing"
    write_files(project / "in", 1, first=7)
    at_work.run()
    assert at_work.ids() == list(range(70, 80))


def test_a_store_that_may_not_find_a_table_leaves_its_rows_waiting(shop, project):
    with closing(sqlite3.connect(project / "weather.db")) as db:
        db.execute("CREATE TABLE weather (id INTEGER)")
    write_files(project / "in", 1)
    at_work = shop(sql_store(if_exists="fail"))
    at_work.run()
    (told,) = read_status(at_work.layout).collectors
    assert [(stream.state, stream.waiting) for stream in told.streams] == [("stopped", 1)]
    assert names_in(project / "in") == [], "they are accepted"


def test_files_are_composed_into_one_local_file_without_doubling_what_is_in_it(shop, project):
    store = Store2Local("weather", "1h", "in", to_path="out/all.csv", to_fmt="csv", mode="update")
    write_files(project / "in", 2)
    at_work = shop(store)
    at_work.run()
    write_files(project / "in", 2, first=1)
    at_work.run()
    found = FORMATS["csv"].decode((project / "out" / "all.csv").read_bytes())
    assert list(found["id"]) == list(range(30))


def test_a_store_is_started_by_the_daemon_and_never_by_itself(project):
    store = sql_store()
    for start in (store.start, store.stream_start):
        with pytest.raises(AttributeError, match="stores"):
            start()
    assert (store.is_store_instance, store.stream.is_store_instance) == (True, True)


def test_two_stores_never_compose_the_same_folder_whoever_they_belong_to(project):
    write_files(project / "in", 1)
    os.symlink(project / "in", project / "too")
    owners = [
        Collector("one", 60, lambda: None, None, None, lambda: [sql_store()]),
        Collector("two", 60, lambda: None, None, None, lambda: [sql_store(path="too")]),
    ]
    first, second = _stores(owners, project)
    assert isinstance(first, StoreCollector)
    with pytest.raises(ValueError, match=r"one\.store\.sql\.sqlite composes .* already"):
        second.streams()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": 5}, "path=5: give a folder"),
        ({"path": ""}, "path='': give a folder"),
        ({"move_composed_path": 5}, "move_composed_path=5: give a folder"),
        ({"path": "m1", "move_shards_path": "./m1/"}, "move_shards_path is the folder that it composes"),
        ({"path": "m1", "move_composed_path": "m1"}, "move_composed_path is the folder that it composes"),
        ({"chunk_size": -1}, "chunk_size=-1 is a number of rows"),
        ({"chunk_size": "many"}, "chunk_size='many' is a number of rows"),
    ],
)
def test_a_store_that_can_not_work_is_refused_at_once_and_makes_no_folder(project, options, says):
    for kind in (sql_store, lambda **given: Store("weather", 60, **given)):
        with pytest.raises(ConfigError, match=f"^store weather: .*{says}"):
            kind(**options)
    assert list(project.iterdir()) == []


def test_a_store_has_the_type_of_its_stream(project):
    assert sql_store().stream_type == "sql.sqlite"
    assert Store2Local("weather", 60, to_path="out", to_fmt="csv").stream_type == "local.csv"
    assert Store("weather", 60).stream_type == "store"


@pytest.mark.parametrize("letter", ["a", "é", "日"])
def test_a_composed_file_of_files_with_long_names_has_a_shorter_one(shop, project, letter):
    stems = [number + letter * (200 // len(letter.encode())) for number in "123"]
    made = []
    for at, folder in enumerate(("in", "in", "same")):
        for number, stem in enumerate(stems[: 3 - at % 2]):
            write_file(project / folder / f"{stem}.parquet", pd.DataFrame({"id": [number]}))
        if folder == "same":
            frame = FileConverter.static_compose_df_from_dir("same", "parquet", move_composed_path="composed")
            assert len(frame) == 3
        else:
            assert shop(sql_store(move_composed_path="composed")).run() == ("ok", None)
        made.append(names_in(project / "composed"))
        assert names_in(project / folder) == []
    first, second, third = made
    assert len(first) == 1
    assert len(second) == 2, "of other files it has another name"
    assert len(third) == 3
    for name in third:
        assert len(name.encode()) <= 255
        assert name.startswith(f"1{letter}")
        assert any(f"_{number}{letter}" in name for number in "23")


def test_a_store_whose_files_would_come_back_to_it_is_refused(project):
    owner = Collector("one", 60, lambda: None, None, None, lambda: [sql_store(move_composed_path="in")])
    (broken,) = _stores([owner], project)
    with pytest.raises(ValueError, match="move_composed_path is the folder that it composes"):
        broken.streams()


@pytest.mark.parametrize("stores", [lambda: 1 / 0, lambda: ["no store"], lambda: [Store("x", 60)]])
def test_stores_that_cannot_be_made_stop_themselves_and_not_their_collector(project, stores):
    owner = Collector("one", 60, lambda: None, None, None, stores)
    (broken,) = _stores([owner], project)
    assert broken.name == "one.store"
    with pytest.raises(ValueError, match=r"division|no store|no place"):
        broken.streams()


def test_stores_of_one_type_keep_their_names_whatever_their_order_is(shop, project):
    write_files(project / "a", 1)
    one, two = sql_store(path="a"), sql_store(path="b", if_exists="append")
    at_work = shop(one, two)
    names = [each.name for each in at_work.collectors]
    assert names[0] == NAME
    assert names[1].startswith(f"{NAME}-")
    at_work.run()
    swapped = shop(two, one)
    assert [each.name for each in swapped.collectors] == names[::-1]


def test_a_project_that_is_moved_amidst_a_run_goes_on_with_it(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    write_file(here / "in" / "1.parquet", pd.DataFrame({"id": np.arange(BATCH_ROWS + 10)}))
    first = Shop(here, sql_store())
    first.run(stop=True)
    first.close()
    here.rename(there)
    monkeypatch.chdir(there)
    second = Shop(there, sql_store())
    assert [each.name for each in second.collectors] == [NAME]
    second.run()
    second.close()
    assert rows_in(there, "SELECT count(*), count(DISTINCT id) FROM weather") == [(BATCH_ROWS + 10,) * 2]


def test_the_steps_of_a_run_tell_how_many_duplicates_were_dropped(shop, project):
    write_files(project / "in", 1)
    write_files(project / "in", 1)
    write_file(project / "in" / "again.parquet", (project / "in" / "0.parquet").read_bytes())
    at_work = shop(sql_store())
    at_work.run()
    (told,) = [each for each in read_status(at_work.layout).collectors if each.collector == NAME]
    (step,) = [step for step in told.steps if step["step"] == "drop_duplicates"]
    assert (step["rows_in"], step["rows_out"], told.rows) == (20, 10, 10)


def _stores(owners, project):
    from api2db import settings

    (project / "api2db.toml").write_text("min_free_bytes = 0\n")
    return [each for each in with_stores(owners, settings.load(project)) if each not in owners]


def test_columns_that_come_later_and_others_types_are_as_a_stream_has_them(shop, project):
    tables = [
        pa.table({"id": [1]}),
        pa.table({"id": pa.nulls(1), "more": ["x"]}),
        pa.table({"id": pa.array([3], pa.int32())}),
    ]
    for number, table in enumerate(tables):
        write_file(project / "in" / f"{number}.parquet", FORMATS["parquet"].encode_table(table))
    at_work = shop(sql_store())
    assert at_work.run() == ("ok", None)
    assert rows_in(project, "SELECT id, more FROM weather ORDER BY id") == [(None, "x"), (1, None), (3, None)]

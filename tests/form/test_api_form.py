"""ApiForm: responses through every phase, the account of rows, and what it says when it can't."""

import datetime as dt
import os
import pickle
import subprocess
import sys
from itertools import pairwise

import pandas as pd
import pyarrow as pa
import pytest

from api2db.errors import ShapeError
from api2db.form import Api2Pandas, ApiForm, Feature, form_from_shape
from api2db.form.bad_row_swap import BadRowSwap
from api2db.form.column import is_json
from api2db.form.merge_static import MergeStatic
from api2db.form.post import ColumnAdd, ColumnApply, ColumnsCalculate, DateCast, DropNa, Post
from api2db.form.pre import FeatureFlatten, GlobalExtract, ListExtract, Pre

DATA = {
    "date": "2021-04-19",
    "rows": [
        {"id": 1, "name": "Foo", "mag": 1.5, "day": "2021-01-02", "tags": [{"t": "a"}, {"t": "b"}]},
        {"id": "2", "name": "nil", "mag": None, "day": "never", "tags": {"t": "c"}},
        {"id": "x", "name": "Bar", "mag": "2", "day": "2021-01-03"},
    ],
}


def full_form():
    return ApiForm(
        "f",
        [
            GlobalExtract("published", lambda x: x["date"], str),
            ListExtract(lambda x: x["rows"]),
            FeatureFlatten("tags"),
        ],
        [
            Feature("id", lambda x: x["id"], int),
            Feature("name", lambda x: x["name"], str),
            Feature("mag", lambda x: x["mag"], float),
            Feature("big", lambda x: x["mag"] > 1, bool),
            Feature("tag", lambda x: x["tags"]["t"], str),
            Feature("day", lambda x: x["day"], str),
        ],
        [
            ColumnApply("tag", str.upper, str),
            ColumnAdd("source", lambda: "test", str),
            ColumnsCalculate(["mag2"], lambda df: pd.DataFrame({"mag2": df["mag"] * 2}), [float]),
            DateCast("day", "%Y-%m-%d"),
            DropNa(["name"]),
        ],
    )


def test_a_response_goes_through_every_phase():
    shaped = full_form().shape([DATA])
    day = dt.datetime(2021, 1, 2)
    common = {"id": 1, "name": "Foo", "mag": 1.5, "big": True, "day": day, "published": "2021-04-19", "source": "test"}
    assert shaped.table.to_pylist() == [
        {**common, "tag": "A", "mag2": 3.0},
        {**common, "tag": "B", "mag2": 3.0},
    ]
    assert [(s.step, s.rows_in, s.rows_out, s.nulled) for s in shaped.steps] == [
        ("GlobalExtract(published)", 1, 1, 0),
        ("ListExtract", 1, 3, 0),
        ("FeatureFlatten(tags)", 3, 3, 0),
        ("features", 3, 3, 2),
        ("ColumnApply(tag)", 3, 3, 0),
        ("ColumnAdd(source)", 3, 3, 0),
        ("ColumnsCalculate(mag2)", 3, 3, 0),
        ("DateCast(day)", 3, 3, 1),
        ("DropNa(name)", 3, 2, 0),
    ]


def test_a_global_value_that_does_not_fit_is_null_and_counted():
    form = ApiForm("f", [GlobalExtract("g", lambda x: x["g"], int)], [Feature("a", "a")])
    shaped = form.shape([{"a": 1, "g": "x"}, {"a": 2, "g": "7"}, {"a": 3}, {"a": 4, "g": 2**70}])
    assert shaped.table.column("g").to_pylist() == [None, 7, None, None]
    assert [step.nulled for step in shaped.steps] == [1, 1]


def test_responses_are_shaped_one_by_one_and_end_in_one_table():
    shaped = full_form().shape([DATA, {"date": "2021-04-20", "rows": DATA["rows"][:1]}, {"rows": None}, None])
    assert shaped.table.column("published").to_pylist() == ["2021-04-19"] * 2 + ["2021-04-20"] * 2
    assert all(before.rows_out == after.rows_in for before, after in pairwise(shaped.steps))
    assert shaped.steps[-1].rows_out == shaped.table.num_rows == 4


def test_api2pandas_gives_the_frame_with_the_documented_dtypes():
    frame = Api2Pandas(full_form).extract(DATA)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "id": "Int64",
        "name": "string",
        "mag": "Float64",
        "big": "bool",
        "tag": "string",
        "day": "datetime64[us]",
        "published": "string",
        "source": "string",
        "mag2": "Float64",
    }
    assert frame.index.tolist() == [0, 1]


def test_api2pandas_gives_none_when_pre_processing_leaves_nothing():
    assert Api2Pandas(full_form).extract({"other": 1}) is None
    assert Api2Pandas(full_form).extract(None) is None


def test_a_page_without_rows_still_has_its_columns():
    frame = Api2Pandas(full_form).extract({"rows": []})
    assert len(frame) == 0
    assert str(frame.dtypes["id"]) == "Int64"
    assert full_form().shape([{"rows": []}]).table.schema.names == [*frame.columns]


@pytest.mark.parametrize("responses", [[], [None], [{"rows": None}]])
def test_nothing_gives_a_table_without_rows(responses):
    shaped = full_form().shape(responses)
    assert shaped.table.num_rows == 0
    assert all(step.rows_out == 0 for step in shaped.steps[2:])


def test_without_pre_processors_an_object_is_a_row_and_a_list_its_items():
    form = form_from_shape("f", {"a": "a"})
    assert form.shape([{"a": 1}, [{"a": 2}, {"a": 3}], None, {"a": 4}]).table.num_rows == 4
    assert form.shape([[{"a": 2}, {"a": 3}]]).steps[0].rows_in == 2


def test_an_object_left_by_a_pre_processor_is_one_row():
    class Inner(Pre):
        def lam_wrap(self, lam_arg):
            return lam_arg["inner"]

    form = ApiForm("f", [Inner()], [Feature("a", "a", int)])
    assert form.shape([{"inner": {"a": 1}}, {"inner": None}]).table.to_pylist() == [{"a": 1}]


def test_without_features_the_columns_are_found():
    form = ApiForm("f", [ListExtract(lambda x: x["rows"]), GlobalExtract("n", len, int)])
    table = form.shape([{"rows": [{"a": 1}, {"a": 2.5, "b": "x"}]}]).table
    assert table.to_pylist() == [{"a": 1.0, "b": None, "n": 2}, {"a": 2.5, "b": "x", "n": 2}]


def test_rows_of_a_shape_are_the_list_at_a_path():
    form = form_from_shape("q", {"mag": "properties.mag", "at": "properties.time:ms"}, rows="features")
    page = {"features": [{"properties": {"mag": 2, "time": 1000}}, {"properties": {"mag": 1.5, "time": None}}]}
    shaped = form.shape([page, page])
    assert shaped.table.column("mag").to_pylist() == [2.0, 1.5] * 2
    assert shaped.table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert form_from_shape("q", None, rows="features").shape([page]).table.column_names == ["properties"]


def test_the_last_feature_of_a_key_counts():
    form = ApiForm("f", data_features=[Feature("a", "x", int), Feature("b", "x", int), Feature("a", "y", str)])
    assert form.shape([{"x": 1, "y": "z"}]).table.to_pylist() == [{"a": "z", "b": 1}]


def test_hostile_keys_become_unique_columns_and_are_counted():
    form = ApiForm("f", data_features=[Feature("", "x", int), Feature("a\0", "x", int), Feature(1, "x", int)])
    shaped = form.shape([{"x": 1}])
    assert shaped.table.column_names == ["column_1", "a�", "1"]
    assert (shaped.steps[-1].step, shaped.steps[-1].replaced) == ("names", 3)


def test_steps_can_be_added_one_by_one():
    form = ApiForm("f")
    form.add_pre(ListExtract(lambda x: x["r"]))
    form.add_feature(Feature("a", lambda x: x["a"], int))
    form.add_post(ColumnApply("a", lambda a: a + 1, int))
    assert form.shape([{"r": [{"a": 1}]}]).table.to_pylist() == [{"a": 2}]
    assert form.pandas_typecast() == {"a": "Int64"}
    assert [form.typecast(t) for t in (int, float, bool, str, dict)] == ["Int64", "Float64", "bool", "string", "string"]


def test_types_of_a_form_outlive_its_post_processors():
    features = [Feature("j", "j", dict), Feature("d", "d", dt.date), Feature("n", "n", dt.date), Feature("k", "j", str)]
    form = ApiForm("f", data_features=features, post_process=[DropNa(["k"])])
    schema = form.shape([{"j": {"a": 1}, "d": "2026-01-01"}]).table.schema
    assert is_json(schema.field("j"))
    assert not is_json(schema.field("k"))
    assert schema.field("d").type == schema.field("n").type == pa.date32()


def test_a_column_a_step_rewrote_is_json_only_while_it_is_json():
    form = ApiForm("f", data_features=[Feature("j", "j", dict)], post_process=[ColumnApply("j", lambda _: "{", str)])
    assert not is_json(form.shape([{"j": {}}]).table.schema.field("j"))


def test_types_that_differ_between_responses_meet():
    form = ApiForm("f", data_features=[Feature("a", "a")], post_process=[DropNa(["a"])])
    assert form.shape([[{"a": 1}], [{"a": 2.5}]]).table.column("a").to_pylist() == [1.0, 2.5]
    shaped = form.shape([[{"a": 1}], [{"a": "x"}]])
    assert shaped.table.column("a").to_pylist() == ["1", "x"]
    assert shaped.steps[-1].replaced == 1


def test_bad_rows_are_dropped_and_counted():
    form = ApiForm("f", [BadRowSwap("a", "b", lambda row: row["a"] > 9)], [Feature("a", "a", int)])
    shaped = form.shape([[{"a": 1}, {"a": 10, "b": 2}, {"a": 11}, {}]])
    assert shaped.table.column("a").to_pylist() == [1, 2]
    assert (shaped.steps[0].step, shaped.steps[0].rows_in, shaped.steps[0].rows_out) == ("BadRowSwap(a, b)", 4, 2)


class Raises(Pre):
    def lam_wrap(self, lam_arg):
        raise ValueError("secret content of a row")


class NotAFrame(Post):
    def lam_wrap(self, lam_arg):
        return None


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (ApiForm("f", [Raises()]), r"step Raises failed on response 1: ValueError$"),
        (
            ApiForm("f", [ListExtract(list)], [Feature("a", "a")], [DropNa(["nope"])]),
            r"step DropNa\(nope\) failed on response 1: KeyError: .*nope",
        ),
        (ApiForm("f", [ListExtract(list)], [Feature("a", "a")], [NotAFrame()]), "NotAFrame returned NoneType"),
        (ApiForm("f", data_features=[Feature("a", "a")]), "response 1 is str"),
        (
            ApiForm("f", [ListExtract(list)], [Feature("a", "a", int)], [MergeStatic("a", "/nowhere/static.pickle")]),
            r"MergeStatic\(a\).*FileNotFoundError.*static\.pickle",
        ),
        (
            ApiForm("f", [ListExtract(list)], [Feature("a", "a")], [ColumnAdd("b", lambda: [1, 2, 3], int)]),
            r"ColumnAdd\(b\) gave 3 values for 1 rows",
        ),
    ],
)
def test_what_can_not_be_shaped_says_which_step_and_why_without_the_data(form, message):
    responses = [None, "text" if "str" in message else [{"a": 1}]]
    with pytest.raises(ShapeError, match=message) as raised:
        form.shape(responses)
    assert "secret" not in str(raised.value)


def test_a_form_knows_which_static_files_it_waits_for(tmp_path):
    path = tmp_path / "static.pickle"
    form = ApiForm("f", data_features=[Feature("id", "id", int)], post_process=[MergeStatic("id", str(path))])
    assert form.missing_dependencies() == [str(path)]
    assert not Api2Pandas(lambda: form).dependencies_satisfied()
    path.write_bytes(pickle.dumps(pd.DataFrame({"id": [1], "n": ["one"]})))
    assert form.dependencies_satisfied()
    shaped = form.shape([{"id": 1}, {"id": 2}])
    assert shaped.table.to_pylist() == [{"id": 1, "n": "one"}, {"id": 2, "n": None}]


@pytest.mark.parametrize("cache", [True, False])
def test_the_lab_shows_how_far_a_form_is_written(tmp_path, monkeypatch, capsys, cache):
    monkeypatch.chdir(tmp_path)
    calls = []

    def import_target():
        calls.append(1)
        return [DATA]

    pre = [ListExtract(lambda x: x["rows"])]
    features = [Feature("id", lambda x: x["id"], int)]
    assert not ApiForm("lab", None, None, None).experiment(cache, import_target)
    assert not ApiForm("lab", pre, None, None).experiment(cache, import_target)
    assert not ApiForm("lab", [], None, None).experiment(cache, import_target)
    assert not ApiForm("lab", pre, features, None).experiment(cache, import_target)
    assert ApiForm("lab", pre, features, [DropNa(["id"])]).experiment(cache, import_target)
    assert "Int64" in capsys.readouterr().out
    assert len(calls) == (1 if cache else 5)
    assert {p.name for p in tmp_path.iterdir()} - {"lab_cache.pickle"} == {
        "data_without_preprocess.json",
        "data_after_preprocess.json",
        "data_after_feature_extraction.json",
    }
    assert not ApiForm("lab", pre, features, []).experiment(False, lambda: None)


WITHOUT_ZONES = """
from api2db.form import Api2Pandas, Feature, form_from_shape
form = form_from_shape("f", {"at": "at:iso"})
form.add_post(__import__("api2db.form.post", fromlist=["DropNa"]).DropNa(["at"]))
print(form.shape([{"at": "2026-01-02T03:04:05Z"}]).table.schema.field("at").type)
print(Api2Pandas(lambda: form).extract({"at": "2026-01-02T03:04:05Z"}).dtypes["at"])
print(Feature("at", "at:iso")({"at": "2026-01-02T03:04:05Z"}))
"""


def test_instants_need_no_zone_database():
    environment = {**os.environ, "PYTHONTZPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ZONES], capture_output=True, text=True, env=environment, timeout=60, check=True
    )
    assert done.stdout.split("\n")[:3] == [
        "timestamp[us, tz=UTC]",
        "datetime64[us, UTC]",
        "2026-01-02 03:04:05+00:00",
    ]

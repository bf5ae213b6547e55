"""Post-processors, each on its own as documented."""

import pickle

import pandas as pd
import pytest

from api2db.ingest.post_process import ColumnAdd, ColumnApply, ColumnsCalculate, DateCast, DropNa, MergeStatic, Post


def frame(**columns):
    return pd.DataFrame(columns).convert_dtypes()


def test_column_add_calls_its_function_once_a_frame():
    calls = []
    result = ColumnAdd("at", lambda: calls.append(1) or "now", str)(frame(a=[1, 2]))
    assert result["at"].tolist() == ["now", "now"]
    assert str(result["at"].dtype) == "string"
    assert len(calls) == 1


def test_column_add_takes_a_list_with_a_value_for_each_row():
    assert ColumnAdd("n", lambda: [7, "x"], int).counted(frame(a=[1, 2]))[1] == 1
    assert ColumnAdd("n", lambda: [7, 8], int)(frame(a=[1, 2]))["n"].tolist() == [7, 8]


def test_column_apply_replaces_each_value_and_leaves_null_what_can_not_be():
    before = frame(a=[" x ", None, "y"])
    after, nulled = ColumnApply("a", lambda text: text.strip().upper(), str).counted(before)
    assert after["a"].tolist() == ["X", pd.NA, "Y"]
    assert nulled == 0
    after, nulled = ColumnApply("a", lambda text: 1 / (text == "y"), float).counted(before)
    assert (after["a"].isna().tolist(), nulled) == ([True, True, False], 1)
    assert before["a"].tolist() == [" x ", pd.NA, "y"]


def test_column_apply_keeps_words_a_function_wrote():
    assert ColumnApply("a", lambda _: "none", str)(frame(a=[1]))["a"].tolist() == ["none"]


@pytest.mark.parametrize(
    ("dtype", "name"), [(int, "Int64"), (float, "Float64"), (bool, "bool"), (str, "string"), (object, "string")]
)
def test_added_columns_have_the_documented_dtypes(dtype, name):
    assert str(ColumnAdd("n", lambda: 1, dtype)(frame(a=[1]))["n"].dtype) == name


def test_columns_calculate_adds_and_replaces():
    def foobar(df):
        df["Foo+Bar"] = df["Foo"] + df["Bar"]
        df["Foo"] = df["Foo"] * df["Bar"]
        df["Bar"] = 0
        return df[["Foo", "Foo+Bar"]]

    result = ColumnsCalculate(["Foo+Bar", "Foo"], foobar, [int, float])(frame(Foo=[1, 2, 3], Bar=[2, 4, 8]))
    assert result["Foo+Bar"].tolist() == [3, 6, 11]
    assert result["Foo"].tolist() == [2.0, 8.0, 24.0]
    assert result["Bar"].tolist() == [2, 4, 8]
    assert [str(dtype) for dtype in result.dtypes] == ["Float64", "Int64", "Int64"]


def test_columns_calculate_matches_rows_by_index_where_it_can_and_by_position_otherwise():
    step = ColumnsCalculate(["b"], lambda df: pd.DataFrame({"b": df["a"] * 10}).sort_values("b"), [int])
    assert step(frame(a=[3, 1, 2]))["b"].tolist() == [30, 10, 20]
    other = ColumnsCalculate(["b"], lambda df: pd.DataFrame({"b": [1, 2]}, index=[8, 9]), [int])
    assert other(frame(a=[3, 1]))["b"].tolist() == [1, 2]


def test_date_cast_reads_a_format_and_counts_what_is_not_in_it():
    after, nulled = DateCast("d", "%d/%m/%Y").counted(frame(d=["31/12/2025", "12/31/2025", None]))
    assert after["d"].tolist()[0] == pd.Timestamp("2025-12-31")
    assert (after["d"].isna().tolist(), nulled) == ([False, True, True], 1)


def test_date_cast_takes_texts_of_different_zones_as_instants():
    after = DateCast("d", "%Y-%m-%dT%H:%M%z")(frame(d=["2026-01-01T00:00+0100", "2026-01-01T00:00+0200"]))
    assert after["d"].tolist() == [pd.Timestamp("2025-12-31T23:00Z"), pd.Timestamp("2025-12-31T22:00Z")]


def test_drop_na_drops_rows_with_a_null_in_any_of_its_columns():
    data = frame(a=[1, None, 3], b=["x", "y", None], c=[None, None, None])
    assert DropNa(["a", "b"])(data)["a"].tolist() == [1]
    assert DropNa("a").label == "DropNa(a)"


def test_merge_static_keeps_every_row_and_adds_what_matches(tmp_path):
    path = tmp_path / "static.pickle"
    step = MergeStatic("id", str(path))
    assert not step.is_satisfied()
    path.write_bytes(pickle.dumps(pd.DataFrame({"id": [1, 2], "name": ["one", "two"]})))
    assert step.is_satisfied()
    merged = step(frame(id=[2, 3]))
    assert merged["id"].tolist() == [2, 3]
    assert merged["name"].isna().tolist() == [False, True]


def test_a_users_post_is_a_step_too():
    class Head(Post):
        def lam_wrap(self, lam_arg):
            return lam_arg.head(1)

    assert len(Head()(frame(a=[1, 2]))) == 1
    assert Head().typecast(int) == "Int64"

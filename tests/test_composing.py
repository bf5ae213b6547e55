"""Which rows there were: a table on disk that answers as a set in memory does."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api2db.composing.seen import Seen

ROWS = st.lists(st.tuples(st.integers(-3, 3) | st.none(), st.sampled_from(["", "a", "b", None])), max_size=30)


def table(rows) -> pa.Table:
    return pa.table(
        {"n": pa.array([n for n, _ in rows], pa.int64()), "t": pa.array([text for _, text in rows], pa.string())}
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(ROWS, max_size=4))
def test_rows_are_fresh_once_as_in_a_set(tmp_path_factory, batches):
    seen, known = Seen(tmp_path_factory.getbasetemp()), set()
    for rows in batches:
        expected = []
        for row in rows:
            expected.append(row not in known)
            known.add(row)
        assert seen.fresh(table(rows)).tolist() == expected
    seen.close()


def test_more_rows_than_the_first_table_has_room_for_are_all_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("api2db.composing.seen.FIRST_SLOTS", 64)
    seen = Seen(tmp_path)
    for start in range(0, 5000, 500):
        assert seen.fresh(pa.table({"n": list(range(start, start + 500))})).all()
    assert not seen.fresh(pa.table({"n": list(range(5000))})).any()
    assert list(tmp_path.iterdir()) == [], "its file goes with the process"
    seen.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array([1.0])),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([1], pa.int8()), pa.array([Decimal("1.00")])),
        (pa.array([float("nan")]), pa.array([-float("nan")], pa.float32())),
        (pa.array([None], pa.string()), pa.array([None], pa.int64())),
        (pa.array([2**63], pa.uint64()), pa.array([2**63], pa.uint64())),
        (pa.array([7], pa.timestamp("us")), pa.array([7], pa.timestamp("us"))),
    ],
)  # fmt: skip
def test_equal_values_are_duplicates_whatever_type_their_file_has(tmp_path, one, other):
    seen = Seen(tmp_path)
    assert seen.fresh(pa.table({"a": one, "b": pa.array([5])})).tolist() == [True]
    assert seen.fresh(pa.table({"b": pa.array([5]), "a": other})).tolist() == [False]
    seen.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array(["1"])),
        (pa.array([1]), pa.array([True])),
        (pa.array([0]), pa.array([None], pa.int64())),
        (pa.array([""]), pa.array([None], pa.string())),
        (pa.array([b"a"]), pa.array(["a"])),
        (pa.array([-1]), pa.array([2**64 - 1], pa.uint64())),
        (pa.array([0.5]), pa.array([0.25])),
        (pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("us", "UTC"))),
    ],
)
def test_values_that_differ_are_no_duplicates(tmp_path, one, other):
    seen = Seen(tmp_path)
    assert seen.fresh(pa.table({"a": one})).tolist() == [True]
    assert seen.fresh(pa.table({"a": other})).tolist() == [True]
    assert seen.fresh(pa.table({"b": one})).tolist() == [one.null_count == 0], "nor those of another column"
    seen.close()

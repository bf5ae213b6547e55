"""Whatever an API sends: no crash, every row accounted for, the fast way the same as the slow one."""

from itertools import pairwise

import msgspec
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from api2db.form import ApiForm, Feature, InferredForm, form_from_shape, from_arrow
from api2db.form.canonical import CANONICAL
from api2db.form.column import is_json
from api2db.form.kinds import SUFFIXES

KEYS = st.sampled_from(["a", "b", "a.b", "0", "", "\ud800"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["12", "1.5", "none", "NaN", "true", "2026-01-02", "2026-01-02T03:04:05Z", "1e99", "\ud800", "a\0"]
    )
    | st.text(st.characters(), max_size=5)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=6)
PATHS = ["a", "b", "a.b", "a.0", "b.a.b", "0", "b.-1"]


def is_canonical(field):
    kind = field.type
    return (
        kind in CANONICAL
        or (pa.types.is_decimal128(kind) and 0 <= kind.scale <= kind.precision)
        or kind in (pa.timestamp("us"), pa.timestamp("us", tz="UTC"))
    )


def check(shaped, rows):
    shaped.table.validate(full=True)
    assert all(map(is_canonical, shaped.table.schema))
    assert len(set(shaped.table.column_names)) == shaped.table.num_columns
    assert shaped.steps[0].rows_in == rows
    assert shaped.steps[-1].rows_out == shaped.table.num_rows
    assert all(before.rows_out == after.rows_in for before, after in pairwise(shaped.steps))
    assert all(sum(n for _, n in step.by_column) in (0, step.nulled + step.replaced) for step in shaped.steps)
    for field, column in zip(shaped.table.schema, shaped.table.columns, strict=True):
        for text in column.to_pylist() if is_json(field) else []:
            assert text is None or decode_strictly(text) is not Ellipsis


def decode_strictly(text):
    """JSON as a database reads it: NaN and lone surrogates are errors."""
    return msgspec.json.decode(text)


@given(RECORDS)
def test_records_of_any_shape_become_a_table_of_as_many_rows(records):
    shaped = InferredForm().shape(records)
    check(shaped, len(records))
    assert shaped.table.num_rows == (len(records) if any(records) else 0)
    again = from_arrow(shaped.table)
    assert again.table.equals(shaped.table, check_metadata=True)


@settings(max_examples=200)
@given(RECORDS, st.sampled_from(PATHS), st.sampled_from(["", *(f":{kind}" for kind in SUFFIXES)]))
def test_a_path_reads_a_page_as_it_reads_each_record(records, path, suffix):
    feature = Feature("v", path + suffix)
    shaped = ApiForm("t", data_features=[feature]).shape(records)
    check(shaped, len(records))
    assert shaped.table.num_rows == len(records)
    if suffix not in ("", ":iso", ":decimal"):
        # Those types depend on the other values of the column.
        assert shaped.table.column(0).to_pylist() == [feature(record) for record in records]


@settings(max_examples=200)
@given(RECORDS, st.sampled_from(["a", "b"]), st.sampled_from([int, float, bool, str, dict, list, None]))
def test_a_path_and_a_function_that_say_the_same_give_the_same(records, key, dtype):
    by_path = ApiForm("t", data_features=[Feature("v", key, dtype, nan_bool=None)]).shape(records)
    by_function = ApiForm("t", data_features=[Feature("v", lambda row: row[key], dtype, nan_bool=None)]).shape(records)
    assert by_path == by_function


@given(RECORDS, st.sampled_from([int, float, bool, str]))
def test_a_column_read_at_once_is_the_column_read_value_by_value(records, dtype):
    """A value no fast way can take makes the whole column take the slow one."""
    feature = Feature("v", "a", dtype, nan_int=-1, nan_float=-1, nan_str="?")
    shaped = ApiForm("t", data_features=[feature]).shape([*records, {"a": [[]]}])
    fast = ApiForm("t", data_features=[feature]).shape(records)
    assert fast.table.column(0).to_pylist() == shaped.table.column(0).to_pylist()[:-1]
    assert fast.steps[0].replaced == shaped.steps[0].replaced


@given(RECORDS, RECORDS)
def test_pages_shaped_together_have_all_rows_of_each(first, second):
    form = form_from_shape("t", {"a": "a", "b": "b:str"}, rows="r")
    shaped = form.shape([{"r": first}, {"r": second}])
    check(shaped, 2)
    assert shaped.table.num_rows == len(first) + len(second)

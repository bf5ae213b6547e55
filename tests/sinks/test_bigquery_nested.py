"""Nested values in BigQuery as STRUCT and ARRAY: the type that is found, what fits it, and what doesn't."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.cloud.bigquery import SchemaField

from api2db.schema import JSON_METADATA
from api2db.sinks.bigquery.nested import Misfit, arrow_of_nested, declare_nested, is_loadable, value_of
from tests.bigquery import Emulator
from tests.sinks.bigquery_kit import Table

DOC = {
    "n": 1,
    "tags": ["x", "y"],
    "parts": [{"size": 1.5, "ok": True}, {"size": 2, "ok": None}],
    "inside": {"side": "z"},
}


def documents(first: int, *values: Any, **others: Any) -> pa.Table:
    """Rows numbered from ``first``, each with a document; ``others``: columns of JSON that are the same in all rows."""
    columns = {"doc": values, **{name: [value] * len(values) for name, value in others.items()}}
    fields = [pa.field("id", pa.int64()), *(pa.field(name, pa.string(), metadata=JSON_METADATA) for name in columns)]
    texts = [pa.array([None if v is None else json.dumps(v) for v in each], pa.string()) for each in columns.values()]
    return pa.table([pa.array(range(first, first + len(values)), pa.int64()), *texts], schema=pa.schema(fields))


@pytest.mark.parametrize("others", [{}, {"odd": [1, "x"]}], ids=["parquet", "JSON"])
def test_nested_values_become_struct_and_array_and_what_is_unlike_them_goes_to_quarantine(
    bigquery: Emulator, tmp_path: Path, others: dict[str, Any]
) -> None:
    table = Table(bigquery, tmp_path, nested="struct")
    table.load(documents(1, DOC, None, {"tags": []}, **others))
    kinds = table.types()
    assert kinds["doc"] == (
        "STRUCT<n INT64, tags ARRAY<STRING>, parts ARRAY<STRUCT<size FLOAT64, ok BOOL>>, inside STRUCT<side STRING>>"
    )
    assert kinds.get("odd") == ("JSON" if others else None)
    bad = [{"n": "one"}, {"more": 1}, {"tags": ["x", None]}, {"parts": [{"ok": 1}]}, [1]]
    (receipt,) = table.load(documents(4, {"n": 2**62 + 1, "more": None}, *bad, **others))
    assert (receipt.rows, receipt.quarantined) == (1, 5)
    found = dict(table.rows("id", "doc"))
    assert found[1] == {**DOC, "parts": [{"size": 1.5, "ok": True}, {"size": 2.0, "ok": None}]}
    assert not (found[2] or {}).get("n")
    assert (found[3]["tags"], found[4]["n"]) == ([], 2**62 + 1)
    assert [reason.rpartition("): ")[2] for reason in table.quarantine.reasons] == [
        "n doesn't fit INTEGER",
        'it has "more", which its STRUCT has not',
        "tags has a null in its list, which BigQuery doesn't store",
        "parts[0].ok doesn't fit BOOLEAN",
        "it isn't an object",
    ]


@pytest.mark.parametrize(
    "values",
    [[{"a": 1}, {"a": "x"}], [[[1]]], [{"a": 1}, [1]], [1], ["x", {"a": 1}], [{"a": 2**70}], [[1, "x"]]],
    ids=str,
)
def test_values_without_a_common_type_are_left_to_json(values: list[Any]) -> None:
    with pytest.raises(ValueError, match="no common type"):
        declare_nested("doc", map(json.dumps, values))


@pytest.mark.parametrize("values", [[], [[]], [{}], [{"a": None}], [{"a": {}}, {"b": [None]}]], ids=str)
def test_a_column_of_nothing_is_not_made_yet(values: list[Any]) -> None:
    assert declare_nested("doc", map(json.dumps, values)) is None


def test_what_a_load_file_holds_is_what_pyarrow_makes_of_it() -> None:
    column = declare_nested("doc", [None, json.dumps(DOC), json.dumps({"n": 1.5, "A b": 1, "a_b": 2})])
    assert column is not None
    assert [field.field_type for field in column.fields[:4]] == ["FLOAT", "STRING", "RECORD", "RECORD"]
    assert len({field.name.lower() for field in column.fields}) == len(column.fields) == 6
    value = value_of(json.dumps({"n": 1, "A b": 3}), column)
    (read,) = pa.array([value], arrow_of_nested(column)).to_pylist()
    assert (read["n"], sorted(each for each in read.values() if each)) == (1.0, [1.0, 3])


def test_columns_of_your_own_keep_their_digits_lengths_and_requirements() -> None:
    inside = (
        SchemaField("amount", "NUMERIC", precision=5, scale=2),
        SchemaField("code", "STRING", "REQUIRED", max_length=3),
    )
    column = SchemaField("doc", "RECORD", fields=inside)
    assert value_of('{"amount": 123.45, "code": "abc"}', column) == {"amount": Decimal("123.45"), "code": "abc"}
    for text, why in (
        ('{"amount": 1234.5, "code": "a"}', "amount doesn't fit NUMERIC"),
        ('{"amount": 0.125, "code": "a"}', "amount doesn't fit NUMERIC"),
        ('{"code": "abcd"}', "code doesn't fit STRING"),
        ("{}", "code must have a value"),
        ("{", "it isn't JSON"),
    ):
        with pytest.raises(Misfit, match=why):
            value_of(text, column)
    assert is_loadable(column)
    assert not is_loadable(SchemaField("doc", "RECORD", fields=(SchemaField("at", "GEOGRAPHY"),)))

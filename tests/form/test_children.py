"""Lists inside records as children: found or shaped, held with their row, kept through a shard."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from api2db import ApiForm, Children, Feature, collector
from api2db.batch import Batch, new_batch_id
from api2db.childrows import as_json, split
from api2db.errors import ConfigError, ShapeError, SourceError
from api2db.form import InferredForm, form_from_shape
from api2db.form.tables import from_arrow
from api2db.formats import FORMATS
from api2db.ingest import ColumnAdd
from api2db.schema import Kind, canonical
from api2db.shard import decode, encode
from api2db.sinks.group import group
from api2db.sources import payload

NESTED = {"lines": Children("order.lines", children={"taxes": Children("tax")}), "tags": Children("tags")}
RECORD = {
    "id": 1,
    "order": {"note": "x", "lines": [{"sku": "a", "at": {"x": 1.5}, "tax": [{"r": 1}, {"r": 2}]}, None, {"sku": "b"}]},
    "tags": ["new", "gift"],
}
RECORDS: list[dict[str, Any]] = [RECORD, {"id": 2, "order": {"lines": []}, "tags": None}, {"id": 3}]


def test_children_are_found_with_their_types_and_their_positions() -> None:
    shaped = InferredForm({}, NESTED).shape(RECORDS)
    own, (lines, tags) = split(shaped.table)
    assert own.to_pylist() == [
        {"id": 1, "order_note": "x"},
        {"id": 2, "order_note": None},
        {"id": 3, "order_note": None},
    ]
    rows, (taxes,) = split(lines.table)
    assert rows.to_pylist() == [{"sku": "a", "at_x": 1.5}, {"sku": "b", "at_x": None}]
    assert (lines.parents.to_pylist(), lines.positions.to_pylist()) == ([0, 0], [0, 2])
    assert taxes.table.to_pylist() == [{"r": 1}, {"r": 2}]
    assert tags.table.to_pylist() == [{"value": "new"}, {"value": "gift"}]
    assert shaped.types == {
        "id": "int", "order_note": "str", "lines[].sku": "str", "lines[].at_x": "float", "lines[].taxes[].r": "int",
        "tags[].value": "str",
    }  # fmt: skip


def test_a_child_that_is_not_of_its_type_holds_its_row_as_it_arrived() -> None:
    known = InferredForm({}, NESTED).shape(RECORDS).types
    assert known is not None
    bad = [{"id": 4, "order": {"lines": [{"tax": [{"r": "much"}]}]}}, {"id": 5, "tags": "no list"}, {"id": 6}]
    shaped = InferredForm(known, NESTED).shape(bad)
    assert [(held.row, held.reason) for held in shaped.held] == [
        (bad[0], 'column "lines[].taxes[].r" (int) cannot take text ("much"): it isn\'t a number'),
        (bad[1], 'column "tags[]" (children) cannot take text ("no list"): it isn\'t a list'),
    ]
    assert shaped.table.column("id").to_pylist() == [6]
    assert shaped.types == known


@pytest.mark.parametrize("records", [RECORDS, [{"id": 1, "tags": [{}, {}]}], [{"id": 1}]])
def test_a_shard_keeps_children_as_they_are(records: list[dict[str, Any]]) -> None:
    table = InferredForm({}, NESTED).shape(records).table
    _, again = decode(encode(Batch(table, new_batch_id(), 1), "c", ("s",), None))
    assert again.table.equals(table)
    assert [(rows.about, rows.table.num_rows) for rows in split(again.table)[1]] == [
        (rows.about, rows.table.num_rows) for rows in split(table)[1]
    ]


@pytest.mark.parametrize(("path", "inside"), [("lines.nodes", "nodes"), ("lines.edges", "edges"), ("lines", "nodes")])
def test_a_nested_connection_that_has_more_than_came_is_an_error_and_not_cut(path: str, inside: str) -> None:
    def rows(*, has_more: bool) -> list[dict[str, Any]]:
        lines = {inside: [{"sku": "a"}], "pageInfo": {"hasNextPage": has_more, "endCursor": "x"}}
        return [{"id": 0}, {"id": 1, "lines": lines}]

    for form in (InferredForm({}, {"lines": Children(path)}), form_from_shape("c", {"lines": Children(path)})):
        with pytest.raises(ShapeError, match="'lines': the list of row 1 has more items than came with it"):
            form.shape(rows(has_more=True))
        form.shape(rows(has_more=False))


def test_a_shape_has_children_by_either_way_and_an_api_form_by_one() -> None:
    line = Children("order.lines", shape={"sku": "sku:str", "x": lambda line: line["at"]["x"]})
    expected = [[{"sku": "a", "x": 1.5}, None, {"sku": "b", "x": None}], [], None]
    within = form_from_shape("o", {"id": "id", "lines": line})
    beside = form_from_shape("o", {"id": "id"}).with_children({"lines": line})
    features = ApiForm("o", data_features=[Feature("id", lambda row: row["id"], int)]).with_children({"lines": line})
    for form in (within, beside, features):
        assert form.shape(RECORDS).table.column("lines").to_pylist() == expected


def test_children_that_say_the_same_are_equal() -> None:
    def made(sku: str) -> Children:
        return Children("lines", shape={"sku": sku}, key="sku", children={"tags": Children("tags")})

    assert len({made("sku"), made("sku"), made("sku:str"), Children("lines")}) == 3


def test_children_that_cannot_be_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'lines' is a column of the shape and a name of children"):
        collector(every=1, shape={"lines": "id"}, children={"lines": Children("l")})(list)
    with pytest.raises(ConfigError, match="its key 'n' isn't in its shape"):
        Children("l", shape={"sku": "sku"}, key="n")
    with pytest.raises(ConfigError, match='must be Children\\("path"\\), not str'):
        collector(every=1, children={"lines": "l"})(list)  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="post_process don't go together"):
        ApiForm("o", post_process=[ColumnAdd("a", lambda: 1, int)]).with_children(NESTED)
    with pytest.raises(ConfigError, match="post_process don't go together"):
        ApiForm("o").with_children(NESTED).add_post(ColumnAdd("a", lambda: 1, int))
    for table in (pd.DataFrame({"id": [1]}), InferredForm().shape([{"id": 1}])):
        with pytest.raises(SourceError, match=r"no children can be found \(lines, tags\)"):
            payload.shape(table, InferredForm({}, NESTED))


def test_places_without_tables_of_their_own_have_children_as_json() -> None:
    (one,) = group([Batch(InferredForm({}, NESTED).shape(RECORDS).table, new_batch_id(), 1)])
    assert [(field.name, field.kind) for field in one.fields][2:] == [("lines", Kind.JSON), ("tags", Kind.JSON)]


def test_files_have_children_in_their_row() -> None:
    table = InferredForm({}, NESTED).shape(RECORDS).table
    lines = [
        {"sku": "a", "at_x": 1.5, "taxes": [{"r": 1}, {"r": 2}]}, None, {"sku": "b", "at_x": None, "taxes": None},
    ]  # fmt: skip
    found = FORMATS["json"].decode(bytes(FORMATS["json"].encode_table(table)))
    assert found["lines"].tolist()[:2] == [lines, []]
    nested = FORMATS["parquet"].decode(bytes(FORMATS["parquet"].encode_table(table)))
    assert nested["lines"].tolist()[0][0]["sku"] == "a"
    assert as_json(table).column("tags").to_pylist() == ['[{"value":"new"},{"value":"gift"}]', None, None]


@pytest.mark.parametrize("fmt", FORMATS)
def test_what_json_has_no_number_for_is_null_in_children_and_stops_no_file(fmt: str) -> None:
    lines = [{"f": float("inf"), "big": 2**70}, {"f": float("nan"), "at": "2026-01-01T00:00:00Z"}]
    form = ApiForm("o", data_features=[Feature("id", lambda d: d["id"], int)]).with_children({"lines": Children("l")})
    table = form.shape([{"id": 1, "l": lines}]).table
    (text,) = as_json(table).column("lines").to_pylist()
    assert json.loads(text, parse_constant=pytest.fail)[0]["f"] is None
    found = FORMATS[fmt].decode(bytes(FORMATS[fmt].encode_table(table)))
    assert found["id"].tolist() == [1]


def test_nested_values_are_json_that_any_reader_takes_as_the_form_writes_it() -> None:
    instant = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    value = {"f": [float("-inf"), float("nan"), 0.5], "at": instant, "took": datetime.timedelta(1), "b": b"xx"}
    table = pa.table({"x": [value]})
    (text,) = canonical(table).column("x").to_pylist()
    assert text == '{"f":[null,null,0.5],"at":"2026-01-01T00:00:00Z","took":"P1D","b":"eHg="}'
    assert text == from_arrow(table).table.column("x")[0].as_py()

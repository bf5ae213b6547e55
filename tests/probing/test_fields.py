"""What is told of records: kinds, keys, times."""

from __future__ import annotations

import pytest

from api2db.errors import ConfigError
from api2db.form import form_from_shape
from api2db.probing.fields import Sureness, born_of, columns_of, key_of, plain_name, version_of
from api2db.probing.naming import checked_name, collector_name
from api2db.probing.selection import selection_of


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("n", [1, 2, None], "int"),
        ("n", [1, 2.5], "float"),
        ("ok", [True, False], "bool"),
        ("time", [1_700_000_000_123, 1_600_000_000_000], "ms"),
        ("created", [1_700_000_000, 1_600_000_000], "s"),
        ("population", [1_700_000_000, 1_600_000_000], "int"),
        ("at", ["2026-01-01T10:00:00Z", "2026-01-02T10:00:00+02:00"], "iso"),
        ("day", ["2026-01-01", "2026-12-31"], "date"),
        ("text", ["2026-01-01T10:00", "soon"], "str"),
        ("tags", [["a"], []], "list"),
        ("lines", [[{"sku": 1}], []], "objects"),
        ("nothing", [None, None], "null"),
        ("mixed", [1, "a"], "json"),
    ],
)
def test_the_kind_of_a_column_is_that_of_all_its_values(name: str, values: list[object], kind: str) -> None:
    (column,) = columns_of([{name: value} for value in values])
    assert column.kind == kind


def test_an_object_of_half_of_the_records_is_its_columns_and_json_where_the_others_have_something_else() -> None:
    records = [{"a": {"b": 1}, "c": [1], "d": None}, {"a": None, "c": {"k": 1}, "d": {}}]
    kinds = {column.path: column.kind for column in columns_of([*records, {"a": {}}])}
    assert kinds == {"a.b": "int", "c": "json", "c.k": "int", "d": "json"}


def test_names_are_each_there_once_and_paths_are_read_by_a_form() -> None:
    records = [{"a.b": 1, "x": {"id": 2, "type": "t"}, "y": {"id": 3}, "type": "u", "Some Name": 4, "at": [1, 2]}]
    columns = columns_of(records)
    names = [column.name for column in columns]
    assert names == ["a_b", "id", "type", "y_id", "type_2", "some_name", "at_0", "at_1"]
    row = form_from_shape("t", {column.name: column.path for column in columns}).shape(records).table.to_pylist()
    assert row == [dict(zip(names, [1, 2, "t", 3, "u", 4, 1, 2], strict=True))]


def test_the_key_is_the_one_column_whose_values_are_all_different() -> None:
    records = [{"name": "a" if n % 2 else "b", "order_id": n, "total": n * 1.5} for n in range(20)]
    key = key_of(columns_of(records), len(records))
    assert key is not None
    assert (key.column.name, key.sureness) == ("order_id", Sureness.SURE)
    assert key_of(columns_of([{"n": 1}, {"n": 1}]), 2) is None


def test_times_are_a_key_by_the_name_of_one_and_else_only_proposed() -> None:
    days = {f"2026-01-{day:02d}": {"usd": day / 7} for day in range(1, 29)}
    series = [{"time": f"{day}T10:00:00Z", "updated": f"{day}T11:00:00Z", "temp": day[-1]} for day in days]
    numbered = [{"updated": day + 1_700_000_000_000, "id": day + 1_793_491_200_000} for day in range(28)]
    found = [
        key_of(columns_of(records), 28)
        for records in (selection_of(days).records(days), series, series[:1] * 28, numbered)
    ]
    assert [key and (key.column.declared, key.sureness) for key in found] == [
        ("_key:date", Sureness.SURE),
        ("time:iso", Sureness.GUESS),
        None,
        ("id:ms", Sureness.SURE),
    ]


def test_the_key_of_a_map_of_objects_is_sure() -> None:
    records = selection_of({f"a{n}": {"name": f"n{n}", "m": 2} for n in range(12)}).records(
        {f"a{n}": {"name": f"n{n}", "m": 2} for n in range(12)}
    )
    key = key_of(columns_of(records), len(records))
    assert key is not None
    assert (key.column.path, key.sureness) == ("_key", Sureness.SURE)


def test_of_two_times_the_version_is_the_one_of_the_change() -> None:
    records = [{"created_at": "2026-01-01T00:00:00Z", "lastModified": "2026-01-02T00:00:00Z", "at": "later"}]
    columns = columns_of(records)
    version, born = version_of(columns, 1), born_of(columns, 1)
    assert version is not None
    assert born is not None
    assert (version.column.name, born.column.name) == ("last_modified", "created_at")


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ([{"a": 1}], '""'),
        ({"data": {"items": [{"a": 1}]}}, '"data.items"'),
        ({"many": [{"a": 1}, {"a": 2}], "few": [{"b": 1}]}, '"many"'),
        ([["time", "mag", "id"], ["t", 1, 2]], "HeaderRow()"),
        ({"hourly": {"time": ["a", "b"], "temp": [1, 2]}}, 'Parallel("hourly")'),
        ({"items": {key: {"n": 1, "m": 2} for key in "abc"}}, '"items.*"'),
        ([[1700000000000, "1.5"], [1700000060000, "1.6"]], 'HeaderRow(columns=["column_1", "column_2"])'),
        ({"a.b": [[1, 2], [3, 4]]}, 'HeaderRow("a\\\\.b", columns=["column_1", "column_2"])'),
        ({"bbox": [[1, 2], [3, 4]], "items": [{"a": 1}]}, '"items"'),
        ([{"page": 1, "pages": 5}, [{"id": "a"}, {"id": "b"}]], '"1"'),
        ({"id": 7, "name": "one"}, '""'),
    ],
)
def test_the_records_are_found_however_they_are_laid_out(body: object, written: str) -> None:
    selection = selection_of(body)
    assert selection.written == written
    assert all(isinstance(record, dict) for record in selection.records(body))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/orders.json?limit=1", "orders"),
        ("/360-items", "items_360"),
        ("/v2/2024_report_7", "report_7_2024"),
        ("/v1/", "c_127"),
        ("/%D0%B4%D0%B0/12", "c_127"),
        ("/new%20orders", "new_orders"),
        ("/class", "class_"),
        ("/database", "database_data"),
        ("/a" + 300 * "b", "a" + 59 * "b"),
    ],
)
def test_a_collector_is_named_so_that_it_runs(path: str, name: str) -> None:
    assert collector_name(f"http://127.0.0.1:80{path}") == name
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "better"),
    [("_mine", "mine"), ("my-orders", "my_orders"), ("2nd", "nd_2"), ("api", "api_data"), ("for", "for_")],
)
def test_a_name_under_which_nothing_would_run_is_refused_with_a_better_one(name: str, better: str) -> None:
    with pytest.raises(ConfigError, match=f"try '{better}'"):
        checked_name(name)
    assert checked_name(better) == better


def test_a_name_is_one_that_python_takes() -> None:
    assert [plain_name(text) for text in ("magType", "Some-Name", "2nd", "ü!", "ID")] == [
        "mag_type",
        "some_name",
        "_2nd",
        "value",
        "id",
    ]

"""Children: lists inside rows as tables of their own, in the same transaction, replaced and refused with their row."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api2db import Children
from api2db.batch import Batch, Receipt
from api2db.errors import FatalError, RetryableError
from api2db.form import InferredForm, form_from_shape
from api2db.sinks.generic import Generic
from api2db.sinks.sql import SqlSink
from tests.contract.conftest import new_place
from tests.contract.places import Place, Quarantine, batch, load

LINES = {"lines": Children("line_items", shape={"sku": "sku:str", "qty": "qty:int"})}
TAXED = {"lines": Children("line_items", children={"taxes": Children("tax_lines")})}

MakeInto = Callable[..., SqlSink]


@pytest.fixture(params=["sqlite", "duckdb", "postgresql", "mariadb", "generic"])
def place(request: pytest.FixtureRequest, tmp_path: Any) -> Place:
    """The generic sink's is PostgreSQL."""
    place = new_place(request, "postgresql" if request.param == "generic" else request.param, tmp_path)
    place.name = request.param
    return place


@pytest.fixture
def into(place: Place) -> Iterator[MakeInto]:
    made: list[SqlSink] = []

    def make(**options: Any) -> SqlSink:
        dialect = Generic(place.url) if place.name == "generic" else None
        made.append(SqlSink(stream="s/sql", url=place.url, table="orders", dialect=dialect, **options))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


def order(number: int, version: int, *lines: tuple[str, int]) -> dict[str, Any]:
    return {"id": number, "v": version, "line_items": [{"sku": sku, "qty": qty} for sku, qty in lines]}


def orders(*records: Mapping[str, Any], children: Mapping[str, Children] = LINES) -> Batch:
    """A batch as a collector with children accepts it."""
    return batch(InferredForm({}, children).shape(records).table)


def loaded(sink: SqlSink, *batches: Batch) -> None:
    """Load the batches, of which no row is refused."""
    assert not load(sink, *batches).reasons


def lines(place: Place) -> list[tuple[Any, ...]]:
    return place.query("SELECT orders_id, _position, sku, qty FROM orders_lines ORDER BY 1, 2")


def loose(place: Place, link: str = "orders_id", key: str = "id") -> int:
    """Children whose parent isn't there."""
    sql = f"SELECT count(*) FROM orders_lines c WHERE NOT EXISTS (SELECT 1 FROM orders p WHERE p.{key} = c.{link})"
    return int(place.query(sql)[0][0])


def test_children_that_are_appended_are_linked_to_their_row_by_its_own_name(place: Place, into: MakeInto) -> None:
    sink = into()
    first, again = orders(order(1, 1, ("a", 2), ("b", 3)), order(2, 1)), orders(order(1, 1, ("a", 2)))
    assert sink.load([first, again], Quarantine()) == [Receipt(first.batch_id, 2), Receipt(again.batch_id, 1)]
    assert sink.load([first], Quarantine()) == [Receipt(first.batch_id, 2, duplicate=True)]
    joined = "SELECT p.id, c._position, c.sku, c.qty FROM orders p JOIN orders_lines c ON c._row = p._row"
    assert sorted(place.query(joined)) == [(1, 0, "a", 2), (1, 0, "a", 2), (1, 1, "b", 3)]
    rows = [f"{first.batch_id}:0", f"{first.batch_id}:1", f"{again.batch_id}:0"]
    assert sorted(row for (row,) in place.query("SELECT _row FROM orders")) == sorted(rows)
    assert place.query("SELECT count(*) FROM orders_lines") == [(3,)]


def test_a_newer_version_leaves_no_line_of_before_and_an_older_one_brings_none(place: Place, into: MakeInto) -> None:
    sink = into(key="id", version="v")
    loaded(sink, orders(order(1, 5, ("a", 1), ("b", 2), ("c", 3)), order(2, 5, ("x", 1))))
    loaded(sink, orders(order(1, 6, ("b", 9)), order(2, 4, ("old", 1), ("old", 2))), orders(order(3, 1)))
    assert lines(place) == [(1, 0, "b", 9), (2, 0, "x", 1)]
    loaded(sink, orders(order(2, 6), order(3, 1, ("tie", 1)), order(3, 0, ("older", 1))))
    assert lines(place) == [(1, 0, "b", 9), (3, 0, "tie", 1)]
    assert loose(place) == 0


@pytest.mark.parametrize("place", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_of_two_rows_with_one_key_in_a_batch_only_the_one_that_wins_brings_its_children(
    place: Place, into: MakeInto
) -> None:
    load(into(key="id"), orders(order(1, 1, ("a", 1), ("b", 1)), order(1, 1, ("c", 1)), order(2, 1, ("d", 1))))
    assert lines(place) == [(1, 0, "c", 1), (2, 0, "d", 1)]


@pytest.mark.parametrize("place", ["sqlite", "duckdb", "generic"], indirect=True)
def test_a_list_that_is_null_or_missing_is_one_without_children(place: Place, into: MakeInto) -> None:
    sink = into(key="id")
    load(sink, orders(order(1, 1, ("a", 1)), order(2, 1, ("b", 1)), order(3, 1, ("c", 1))))
    load(sink, orders({"id": 1, "v": 2, "line_items": None}, {"id": 2, "v": 2}, order(3, 2)))
    assert lines(place) == []
    assert place.query("SELECT id, v FROM orders ORDER BY id") == [(1, 2), (2, 2), (3, 2)]


def test_a_replacement_replaces_children_too(place: Place, into: MakeInto) -> None:
    sink = into(if_exists="replace", key="id")
    load(sink, orders(order(1, 1, ("a", 1), ("b", 1)), order(2, 1, ("c", 1))))
    if place.name not in ("sqlite", "duckdb"):  # which can't add a foreign key to a table
        place.query("ALTER TABLE orders_lines ADD FOREIGN KEY (orders_id) REFERENCES orders (id)")
    load(sink, orders(order(2, 1, ("d", 1))), orders(order(3, 1)))
    assert lines(place) == [(2, 0, "d", 1)]
    kept = load(sink, orders({"id": None, "v": 1, "line_items": [{"sku": "e", "qty": 1}]}))
    assert len(kept.reasons) == 1
    assert lines(place) == [(2, 0, "d", 1)]  # not one row could be loaded: what was there stays


def test_a_child_that_does_not_fit_takes_its_row_and_all_its_children_to_quarantine(
    place: Place, into: MakeInto
) -> None:
    place.query("CREATE TABLE orders_lines (orders_id bigint, _position bigint, sku varchar(3), qty bigint NOT NULL)")
    sink = into(key="id")
    bad = orders(order(1, 1, ("a", 1)), order(2, 1, ("b", 1), ("c", None)), order(3, 1, ("d", 1)))  # type: ignore[arg-type]
    quarantine = Quarantine()
    assert sink.load([bad], quarantine) == [Receipt(bad.batch_id, 2, quarantined=1)]
    assert lines(place) == [(1, 0, "a", 1), (3, 0, "d", 1)]
    assert [row["id"] for row in quarantine.rows] == [2]
    assert [line["sku"] for line in quarantine.rows[0]["lines"]] == ["b", "c"]
    assert quarantine.reasons[0].startswith('orders_lines, item 1: column "qty"')
    # What was in quarantine is mended and comes again, as a batch of its own.
    load(sink, orders(order(2, 1, ("b", 1), ("c", 2))))
    assert lines(place) == [(1, 0, "a", 1), (2, 0, "b", 1), (2, 1, "c", 2), (3, 0, "d", 1)]


@pytest.mark.parametrize("key", ["id", ()], ids=["merged", "appended"])
def test_a_child_that_only_the_database_refuses_takes_its_row_to_quarantine(
    place: Place, into: MakeInto, key: str
) -> None:
    place.query(
        "CREATE TABLE orders_lines (orders_id bigint, _row varchar(50), _position bigint, sku varchar(3), qty bigint,"
        " CHECK (qty > 0))"
    )
    place.query("CREATE TABLE orders (id bigint PRIMARY KEY, v bigint, _row varchar(50), CHECK (v < 100))")
    bad = orders(
        order(1, 1, ("a", 1)), order(2, 1, ("b", 1), ("c", -1)), order(3, 1, ("d", -1)), order(4, 100, ("e", 1)),
        order(5, 1, ("f", 1), ("g", 2)),
    )  # fmt: skip
    quarantine = Quarantine()
    assert into(key=key).load([bad], quarantine) == [Receipt(bad.batch_id, 2, quarantined=3)]
    assert place.query("SELECT sku, qty FROM orders_lines ORDER BY sku") == [("a", 1), ("f", 1), ("g", 2)]
    assert place.query("SELECT id FROM orders ORDER BY id") == [(1,), (5,)]
    assert sorted(row["id"] for row in quarantine.rows) == [2, 3, 4]
    assert "orders_lines, item 1" in quarantine.reasons[0]


@pytest.mark.parametrize("place", ["sqlite", "mariadb"], indirect=True)
def test_rows_without_a_key_go_to_quarantine_with_their_children(place: Place, into: MakeInto) -> None:
    keyless = orders({"v": 1, "line_items": [{"sku": "a", "qty": 1}]})
    kept = load(into(key="id"), keyless, orders(order(1, 1, ("b", 1)), {"id": None, "line_items": [{"sku": "c"}]}))
    assert sorted(line["sku"] for row in kept.rows for line in row["lines"]) == ["a", "c"]
    assert all('column "id"' in reason and "item" not in reason for reason in kept.reasons)
    assert lines(place) == [(1, 0, "b", 1)]


def test_children_of_children_are_linked_to_both(place: Place, into: MakeInto) -> None:
    sink = into(key="id")

    def taxed(number: int, *rates: Sequence[float]) -> dict[str, Any]:
        items = [{"sku": f"s{at}", "tax_lines": [{"rate": rate} for rate in each]} for at, each in enumerate(rates)]
        return {"id": number, "line_items": items}

    load(sink, orders(taxed(1, [0.5, 0.25], [], [0.75]), taxed(2, [1.5]), children=TAXED))
    load(sink, orders(taxed(1, [], [0.125]), children=TAXED))
    rows = place.query("SELECT orders_id, lines_position, _position, rate FROM orders_lines_taxes ORDER BY 1, 2, 3")
    assert rows == [(1, 1, 0, 0.125), (2, 0, 0, 1.5)]
    assert place.query("SELECT orders_id, _position, sku FROM orders_lines ORDER BY 1, 2") == [
        (1, 0, "s0"), (1, 1, "s1"), (2, 0, "s0"),
    ]  # fmt: skip


def test_a_column_that_comes_later_is_added_to_the_childrens_table(place: Place, into: MakeInto) -> None:
    sink = into(key="id")
    children = {"lines": Children("lines")}
    load(sink, orders({"id": 1, "lines": []}, {"id": 2, "lines": None}, children=children))
    with pytest.raises(Exception, match="orders_lines"):
        place.query("SELECT * FROM orders_lines")  # nothing is known of it yet
    load(sink, orders({"id": 1, "lines": [{"a": 1}]}, children=children))
    load(sink, orders({"id": 2, "lines": [{"a": 2, "b": "x"}, {"a": 1.5}]}, children=children))
    rows = place.query("SELECT orders_id, _position, a, b FROM orders_lines ORDER BY 1, 2")
    if place.name == "generic":  # whose integers stay what they are: the row is in quarantine
        rows += [(2, 0, 2, "x"), (2, 1, 1.5, None)]
    assert rows == [(1, 0, 1, None), (2, 0, 2, "x"), (2, 1, 1.5, None)]


def test_key_of_children_is_unique_within_their_row(place: Place, into: MakeInto) -> None:
    children = {"lines": Children("line_items", key="sku", table="order_lines", children={"tags": Children("tags")})}
    sink = into(key="id")
    one = {"id": 1, "line_items": [{"sku": "a", "tags": ["x", "y"]}, {"sku": "b"}]}
    twice = {"id": 2, "line_items": [{"sku": "a"}, {"sku": "a"}]}
    kept = load(sink, orders(one, twice, children=children))
    assert [row["id"] for row in kept.rows] == [2]
    assert place.query("SELECT orders_id, sku, _position FROM order_lines ORDER BY 2") == [(1, "a", 0), (1, "b", 1)]
    tags = place.query("SELECT orders_id, lines_sku, _position, value FROM order_lines_tags ORDER BY 3")
    assert tags == [(1, "a", 0, "x"), (1, "a", 1, "y")]


@pytest.mark.parametrize("place", ["sqlite", "mariadb"], indirect=True)
def test_a_table_of_children_that_was_there_is_spared_by_fail(place: Place, into: MakeInto) -> None:
    place.query("CREATE TABLE orders_lines (qty integer)")
    with pytest.raises(FatalError, match="orders_lines was there before"):
        load(into(if_exists="fail"), orders(order(1, 1, ("a", 1))))


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_children_that_would_go_into_their_rows_own_table_stop_the_stream(place: Place, into: MakeInto) -> None:
    children = {"lines": Children("line_items", table="orders")}
    with pytest.raises(FatalError, match="a table of their own"):
        load(into(), orders(order(1, 1, ("a", 1)), children=children))


@pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
def test_two_daemons_merge_into_the_same_rows_and_each_row_has_its_own_children(place: Place) -> None:
    versions = iter(random.Random(1).sample(range(1_000), 160))
    records = [order(at % 7, version, *[("x", version)] * (version % 4)) for at, version in enumerate(versions)]
    loads = [orders(*records[at : at + 20]) for at in range(0, 160, 20)]

    def deliver(name: str, mine: list[Batch]) -> None:
        with closing(SqlSink(stream=name, url=place.url, table="orders", key="id", version="v")) as sink:
            for one in mine:
                while True:
                    try:
                        loaded(sink, one)
                        break
                    except RetryableError:
                        pass  # a deadlock: repeated, as the daemon does

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(deliver, "a/sql", loads[::2]), pool.submit(deliver, "b/sql", loads[1::2])]:
            done.result(60)
    newest = {one["id"]: one for one in sorted(records, key=lambda one: int(one["v"]))}
    assert lines(place) == [
        (number, at, "x", one["v"]) for number, one in sorted(newest.items()) for at in range(one["v"] % 4)
    ]


ITEMS = st.lists(
    st.fixed_dictionaries(
        {"n": st.integers(-9, 9)}, optional={"text": st.sampled_from(["", "x", "'", "é"]), "more": st.none()}
    )
    | st.none(),
    max_size=3,
)
RECORDS = st.lists(
    st.fixed_dictionaries({"id": st.integers(1, 4), "v": st.integers(1, 3)}, optional={"items": ITEMS | st.none()}),
    min_size=1,
    max_size=5,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(loads=st.lists(RECORDS, min_size=1, max_size=3))
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_tables_joined_again_equal_the_newest_records(
    place: Place, into: MakeInto, loads: list[list[dict[str, Any]]]
) -> None:
    form = form_from_shape("orders", {"id": "id:int", "v": "v:int"}).with_children(
        {"lines": Children("items", shape={"n": "n:int", "text": "text:str"})}
    )
    for table in ("orders", "orders_lines"):
        place.query(f"DROP TABLE IF EXISTS {table}")
    sink = into(key="id", version="v")
    newest: dict[int, dict[str, Any]] = {}
    for records in loads:
        loaded(sink, batch(form.shape(records).table))
        for record in records:
            if record["v"] >= newest.get(record["id"], record)["v"]:
                newest[record["id"]] = record
    sink.close()
    joined = place.query(
        "SELECT p.id, p.v, c._position, c.n, c.text FROM orders p LEFT JOIN orders_lines c ON c.orders_id = p.id"
    )
    expected = [
        (number, record["v"], at, item["n"], item.get("text"))
        for number, record in newest.items()
        for at, item in enumerate(record.get("items") or [])
        if item is not None
    ]
    childless = [
        (number, record["v"], None, None, None)
        for number, record in newest.items()
        if not any(item is not None for item in record.get("items") or [])
    ]
    assert sorted(joined, key=repr) == sorted(expected + childless, key=repr)
    assert loose(place) == 0

"""Bad rows cost themselves: one of many is found in few statements, however many there are in one transaction."""

from __future__ import annotations

import pytest

from api2db.batch import Receipt
from tests.contract.conftest import MakeSink
from tests.contract.places import Place, PostgresPlace, Quarantine, batch, load

ROWS = 1_000


@pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
def test_a_batch_of_nothing_but_bad_rows_costs_a_few_transactions_and_stops_nothing(
    place: Place, make_sink: MakeSink
) -> None:
    place.query("CREATE TABLE t (id bigint, CHECK (id >= 0))")
    sink = make_sink(table="t")
    load(sink, batch({"id": [0]}))
    before = transactions(place)
    bad = batch({"id": range(-ROWS, 0)})
    quarantine = Quarantine()
    assert sink.load([bad], quarantine) == [Receipt(bad.batch_id, 0, quarantined=ROWS)]
    # The load that is refused, the one that looks for the rows, and what asking and the server itself cost.
    assert 0 < transactions(place) - before <= 25
    assert len(set(quarantine.reasons)) == 1
    load(sink, batch({"id": [1]}))
    assert place.query("SELECT id FROM t ORDER BY id") == [(0,), (1,)]


def test_of_a_merge_whose_every_other_row_is_refused_the_others_are_in_with_the_newest_winning(
    place: Place, make_sink: MakeSink
) -> None:
    place.query("CREATE TABLE t (id bigint PRIMARY KEY, v bigint, part varchar(20), CHECK (part <> 'bad'))")
    sink = make_sink(table="t", key="id", version="v")
    load(sink, batch({"id": [0, 2, 4], "v": [500, 1, 1], "part": ["old"] * 3}))
    parts = ["bad" if n % 2 else "first" for n in range(200)]
    bad = batch({"id": [*range(200), 8, 8, 8], "v": [1] * 200 + [0, 2, 2], "part": [*parts, "older", "tie", "later"]})
    quarantine = Quarantine()
    assert sink.load([bad], quarantine) == [Receipt(bad.batch_id, 103, quarantined=100)]
    assert sorted(row["id"] for row in quarantine.rows) == list(range(1, 200, 2))
    expected = dict.fromkeys(range(0, 200, 2), (1, "first")) | {0: (500, "old"), 8: (2, "later")}
    assert {row[0]: row[1:] for row in place.query("SELECT id, v, part FROM t")} == expected


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)  # PostgreSQL counts no COPY
def test_rows_a_merge_refuses_are_sent_once_however_often_they_are_tried(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id bigint PRIMARY KEY, v bigint, CHECK (v >= 0))")
    sink = make_sink(table="t", key="id")
    load(sink, batch({"id": [-1], "v": [0]}))
    before = loads(place)
    sink.load([batch({"id": range(64), "v": [-1, 1] * 32})], Quarantine())
    # The load that is refused, and the one that fills the stage, from which the rows are tried.
    assert loads(place) - before == 2


def loads(place: Place) -> int:
    """How many statements have sent rows to the server."""
    return int(place.query("SHOW GLOBAL STATUS LIKE 'Com_load'")[0][1])


def transactions(place: Place) -> int:
    """How many transactions have ended on the server; of PostgreSQL in this database."""
    if isinstance(place, PostgresPlace):
        place.query("SELECT pg_stat_force_next_flush()")
        sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return int(place.query(sql)[0][0])
    names = "'Com_commit', 'Com_rollback'"
    return sum(int(value) for _, value in place.query(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})"))

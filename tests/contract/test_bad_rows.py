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


def transactions(place: Place) -> int:
    """How many transactions have ended on the server; of PostgreSQL in this database."""
    if isinstance(place, PostgresPlace):
        place.query("SELECT pg_stat_force_next_flush()")
        sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return int(place.query(sql)[0][0])
    names = "'Com_commit', 'Com_rollback'"
    return sum(int(value) for _, value in place.query(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})"))

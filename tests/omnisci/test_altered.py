"""A table in HeavyDB's peer that someone drops or alters, and what becomes of the rows that come."""

from __future__ import annotations

import pytest

from tests.contract.places import Quarantine, batch
from tests.omnisci.kit import Peer

TABLE = "rain_stream"


def change(peer: Peer, *statements: str) -> None:
    """Behind the peer's back, in its catalog too."""
    for statement in statements:
        peer.query_and_commit(statement)


@pytest.mark.parametrize("rename", [False, True], ids=["dropped", "renamed"])
def test_a_table_that_someone_drops_or_renames_in_heavydb_is_made_anew(peer: Peer, rename: bool) -> None:
    sink, first = peer.sink(), batch({"id": [1]})
    sink.load([first], Quarantine())
    if rename:
        change(peer, f"ALTER TABLE {TABLE} RENAME TO kept", "UPDATE _columns SET t = 'kept'")
    else:
        change(peer, f"DROP TABLE {TABLE}", "DELETE FROM _columns")
    (receipt,) = sink.load([batch({"id": [2], "name": ["b"]})], Quarantine())
    assert receipt.rows == 1
    assert peer.query(f"SELECT id_t, name_t FROM {TABLE}") == [(2, "b")]
    # The table is its own ledger: what it had went with it, and the audit says so.
    assert first.batch_id not in dict(sink.receipts())
    if rename:
        assert peer.query("SELECT id_t FROM kept") == [(1,)]
    sink.close()


def test_a_column_dropped_in_heavydb_is_made_anew_and_one_of_another_type_takes_what_fits(
    peer: Peer,
) -> None:
    sink, quarantine = peer.sink(), Quarantine()
    sink.load([batch({"id": [1], "name": ["a"], "v": [0.5]})], quarantine)
    change(peer, f"ALTER TABLE {TABLE} DROP COLUMN name_t", "DELETE FROM _columns WHERE c = 'name_t'")
    change(peer, f"UPDATE {TABLE} SET v_t = NULL", "UPDATE _columns SET type = 'INTEGER' WHERE c = 'v_t'")
    one = batch({"id": [2, 3], "name": ["b", "c"], "v": [22.0, 3.25]})
    (receipt,) = sink.load([one], quarantine)
    assert (receipt.rows, receipt.quarantined) == (1, 1)
    assert peer.query(f"SELECT id_t, name_t, v_t FROM {TABLE} ORDER BY id_t") == [(1, None, None), (2, "b", 22)]
    assert [row["v"] for row in quarantine.rows] == [3.25]
    assert "3.25" in quarantine.reasons[0]
    sink.close()


def test_a_table_set_back_in_heavydb_takes_again_what_it_lacks(peer: Peer) -> None:
    sink, first, second = peer.sink(), batch({"id": [1]}), batch({"id": [2]})
    sink.load([first, second], Quarantine())
    change(peer, f"DELETE FROM {TABLE} WHERE id_t = 2")
    assert [receipt.duplicate for receipt in sink.load([first, second], Quarantine())] == [True, False]
    assert peer.query(f"SELECT id_t FROM {TABLE} ORDER BY id_t") == [(1,), (2,)]
    sink.close()

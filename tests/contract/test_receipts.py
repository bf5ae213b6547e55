"""What a place says of its ledger, which audits read."""

from __future__ import annotations

import pytest

from api2db import ledger
from tests.contract.conftest import MakeSink
from tests.contract.places import Place, every_place
from tests.contract.test_load import batch, load


@every_place
def test_receipts_come_by_batch_id_page_after_page_of_this_stream_alone(
    place: Place, make_sink: MakeSink, monkeypatch
) -> None:
    monkeypatch.setattr(ledger, "_RECEIPTS_PER_PAGE", 2)
    sink, other = make_sink(table="t"), make_sink(table="t", stream="another/sql")
    batches = [batch({"id": list(range(number))}) for number in range(1, 6)]
    for one in batches:
        load(sink, one)
    load(other, batch({"id": [1]}))
    assert list(sink.receipts()) == sorted((one.batch_id, one.table.num_rows) for one in batches)


@every_place
def test_a_ledger_that_forgets_remembers_since_when_for_each_store(place: Place, make_sink: MakeSink) -> None:
    sink, other = make_sink(table="t", store_id="a" * 32, if_exists="fail"), make_sink(table="t", store_id="b" * 32)
    old, older, young = (batch({"id": [number]}) for number in range(3))
    for one in (old, older, young):
        load(sink, one)
    assert sink.horizon() == 0
    sink.forget([old.batch_id, "0" * 32], 1_700_000_000_000_000_000)
    sink.forget([older.batch_id], 1_800_000_000_000_000_000)
    sink.forget([], 1)
    assert dict(sink.receipts()) == {young.batch_id: 1}
    assert (sink.horizon(), other.horizon(), sink.count()) == (1_800_000_000_000_000_000, 0, 1)
    sink.forget([young.batch_id], 1_800_000_000_000_000_001)
    sink.connect()
    assert sink.horizon_ns == 1_800_000_000_000_000_001
    load(sink, batch({"id": [3]}))  # the table is still known to be its own
    assert place.query("SELECT count(*) FROM t") == [(4,)]


@every_place
def test_asking_makes_no_ledger_and_leaves_no_transaction_open(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    assert list(sink.receipts()) == []
    assert sink.loaded(["0" * 32]) == {}
    with pytest.raises(Exception, match=ledger.NAME):
        place.query(f"SELECT 1 FROM {ledger.NAME}")
    reading = sink.receipts()
    load(sink, batch({"id": [1]}))
    reading.close()
    assert sink.count() == 1


@every_place
def test_rows_that_carry_their_batchs_id_can_be_recounted(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", batch_column='% of: "it"')
    one, two = batch({"id": [1, 2, 3]}), batch({"id": [4]})
    load(make_sink(table="t"), batch({"id": [0]}))
    load(sink, one, two)
    recounted = sink.recounted()
    assert recounted is not None
    assert dict(recounted) == {one.batch_id: 3, two.batch_id: 1}
    assert sink.counted_since() == one.created_ns
    assert sink.count() == 3
    assert make_sink(table="t").recounted() is None

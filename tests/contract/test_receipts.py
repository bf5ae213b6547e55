"""What a place says of its ledger, which audits read."""

from __future__ import annotations

import pytest

from api2db import ledger
from tests.contract.conftest import MakeSink
from tests.contract.places import Place
from tests.contract.test_load import batch, load


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

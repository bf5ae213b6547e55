"""docs/types.md says which column HeavyDB gets for each type, and what becomes of values it has no room for."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from api2db.form import from_arrow
from tests.contract.places import Quarantine, batch
from tests.omnisci.kit import Peer
from tests.project_kit import REPOSITORY

SECTION = (REPOSITORY / "docs" / "types.md").read_text().partition("## OmniSci (HeavyDB)")[2]
ROWS = dict(re.findall(r"^\| (.+?) \| `(.+?)` \|", SECTION, re.M))
OF = {
    "`bool`": [pa.array([True])],
    "`int8` to `int64`, `uint8` to `uint32`": [pa.array([1], kind) for kind in (pa.int8(), pa.int64(), pa.uint32())],
    "`uint64`": [pa.array([1], pa.uint64())],
    "`float32`, `float64`": [pa.array([0.5], pa.float32()), pa.array([0.5])],
    "decimals": [pa.array([1], pa.decimal128(20, 2)), pa.array([1], pa.decimal256(40, 2))],
    "`string`": [pa.array(["a"])],
    "JSON": [pa.array([[1, 2]]), pa.array([{"a": 1}])],
    "`binary`": [pa.array([b"a"])],
    "`date32`": [pa.array([1], pa.date32())],
    "`time64[us]`": [pa.array([1], pa.time64("us"))],
    "`timestamp[us]`": [pa.array([1], pa.timestamp("us"))],
    "`timestamp[us, UTC]`": [pa.array([1], pa.timestamp("us", "UTC"))],
    "`duration[us]`": [pa.array([1], pa.duration("us"))],
}
REFUSED = {
    "−2⁶³": pa.array([-(2**63)]),
    "±infinity": pa.array([float("-inf")]),
    "2.2250738585072014e-308": pa.array([2.2250738585072014e-308]),
    "more than 32,767 bytes": pa.array(["é" * 16_384]),
}


def test_each_type_has_the_column_the_page_says(peer: Peer) -> None:
    assert set(ROWS) == set(OF)
    columns = {f"c{at}_{number}": (label, array) for at, (label, arrays) in enumerate(OF.items())
               for number, array in enumerate(arrays)}  # fmt: skip
    sink = peer.sink()
    table = from_arrow(pa.table({name: array for name, (_, array) in columns.items()})).table
    (receipt,) = sink.load([batch(table)], Quarantine())
    assert receipt.rows == 1
    there = peer.types("rain_stream")
    assert {name: there[f"{name}_t"] for name in columns} == {name: ROWS[label] for name, (label, _) in columns.items()}
    sink.close()


@pytest.mark.parametrize("said", REFUSED)
def test_what_the_page_says_there_is_no_room_for_goes_to_quarantine(peer: Peer, said: str) -> None:
    assert said in SECTION
    sink, quarantine = peer.sink(), Quarantine()
    (receipt,) = sink.load([batch({"v": REFUSED[said]})], quarantine)
    assert (receipt.rows, receipt.quarantined) == (0, 1)
    sink.close()

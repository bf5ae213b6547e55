"""A shard proves its own bytes."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api2db import shard
from api2db.batch import Batch
from api2db.errors import TornShardError

TABLE = pa.table({"n": [1, None, 3], "text": ["a", "", None], "at": pa.array([1, 2, None], pa.timestamp("us", "UTC"))})
BATCH = Batch(TABLE, "0" * 31 + "1", 1_700_000_000_000_000_000)
DATA = shard.encode(BATCH, "weather", ("sql.sqlite", "local.parquet"), '"2026-01-01"')


def test_shard_gives_back_what_was_put_in():
    header, batch = shard.decode(DATA)
    assert batch.table.equals(TABLE)
    assert batch.table.schema.equals(TABLE.schema)
    assert header == shard.Header(
        BATCH.batch_id, "weather", BATCH.created_ns, 3, '"2026-01-01"', ("sql.sqlite", "local.parquet")
    )
    assert shard.decode_header(DATA) == header


def test_a_flipped_bit_anywhere_in_a_shard_is_found():
    for bit in range(len(DATA) * 8):
        torn = bytearray(DATA)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TornShardError):
            shard.decode(bytes(torn))


@given(st.integers(0, len(DATA) - 1))
def test_a_shard_cut_short_anywhere_is_found(length):
    with pytest.raises(TornShardError):
        shard.decode(DATA[:length])


@given(st.binary(max_size=300))
def test_a_foreign_file_is_not_taken_for_a_shard(data):
    with pytest.raises(TornShardError):
        shard.decode(data)


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50),
)
def test_cursor_and_column_names_of_any_text_survive(name, cursor, values):
    table = pa.table({name: pa.array(values, pa.int64())})
    data = shard.encode(Batch(table, "a" * 32, 5), "c", ("s",), cursor)
    header, batch = shard.decode(data)
    assert (header.cursor, batch.table.column_names) == (cursor, [name])
    assert batch.table.equals(table)

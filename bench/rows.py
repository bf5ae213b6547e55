"""The rows every workload uses: 11 columns, the same for everyone, the same each time."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow as pa

PAGE_ROWS = 10_000
# Ids have ten digits, so that a page of JSON becomes another page by writing six of them: 1PPPPPKKKK.
FIRST_ID = 1_000_000_000
FIRST_MS = 1_517_966_996_303

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("kind", pa.int16()),
        ("mag", pa.float64()),
        ("depth", pa.float64()),
        ("felt", pa.bool_()),
        ("place", pa.string()),
        ("net", pa.string()),
        ("title", pa.string()),
        ("updated", pa.timestamp("us", "UTC")),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
    ]
)
# The same as a collector declares it.
SHAPE = {
    "id": "id:int",
    "kind": "kind:int",
    "mag": "mag:float",
    "depth": "depth:float",
    "felt": "felt:bool",
    "place": "place:str",
    "net": "net:str",
    "title": "title:str",
    "updated": "updated:ms",
    "lat": "lat:float",
    "lon": "lon:float",
}


def records(count: int) -> list[dict[str, object]]:
    """Rows as an API answers them; ids from FIRST_ID."""
    chance = random.Random(1)
    return [
        {
            "id": FIRST_ID + i,
            "kind": i % 7,
            "mag": round(chance.random() * 9, 2),
            "depth": chance.random() * 100,
            "felt": i % 3 == 0,
            "place": f"{i % 40} km WNW of Somewhere Nice, California",
            "net": f"n{i % 9}",
            "title": f"M {i % 10}.{i % 7} - {i % 40} km WNW of Somewhere Nice, California",
            "updated": FIRST_MS + i,
            "lat": chance.random() * 90,
            "lon": chance.random() * 180,
        }
        for i in range(count)
    ]


def body(count: int) -> bytes:
    """One page of JSON."""
    return json.dumps(records(count), separators=(",", ":")).encode()


def tables(rows: int, batch_rows: int) -> list[pa.Table]:
    """Arrow tables of ``batch_rows``, ``rows`` in all: the page's rows again and again, ids going on."""
    page = pa.Table.from_pylist(records(min(rows, PAGE_ROWS)))
    page = page.set_column(8, "updated", page["updated"].cast(pa.timestamp("ms", "UTC"))).cast(SCHEMA)
    made = []
    for start in range(0, rows, batch_rows):
        count = min(batch_rows, rows - start)
        table = pa.concat_tables([page] * -(-count // page.num_rows)).slice(0, count).combine_chunks()
        ids = pa.array(np.arange(FIRST_ID + start, FIRST_ID + start + count))
        made.append(table.set_column(0, "id", ids))
    return made

"""Memory to BigQuery, in a process of its own: ``python -m bench.bigquery_load ours|frame URL KEYS DATASET ROWS``.

Both through the front of the tests' emulator, connecting included, from the credentials on. ``frame`` is what the
client library does with a DataFrame of the same rows.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

import click
import pyarrow as pa

from api2db.batch import Batch, new_batch_id
from api2db.sinks.base import Placement
from api2db.stream import Stream2Bigquery
from bench import load, rows
from tests.bigquery import PROJECT


def main(which: str, url: str, keys: str, dataset: str, count: int) -> None:
    seconds = {"ours": ours, "frame": frame}[which](url, keys, dataset, count)
    click.echo(json.dumps({"seconds": seconds}))


def ours(url: str, keys: str, dataset: str, count: int) -> float:
    """Through the sink: rows checked, frozen and flushed to disk, sent, entered in the ledger."""
    importlib.import_module("google.cloud.bigquery")  # as for the other, before the clock
    batches = [Batch(table, new_batch_id(), i) for i, table in enumerate(rows.tables(count, load.BATCH_ROWS))]
    stream = Stream2Bigquery("bench", keys, PROJECT, dataset, load.TABLE, load_every=0, api_endpoint=url)
    with tempfile.TemporaryDirectory(prefix="api2db-bench-") as folder:
        store = Path(folder)
        sink = stream.sink(Placement("bench/bigquery", store, store / "queue", store / "failed", store))
        start = time.perf_counter()
        sink.connect()
        for group in load.grouped(batches, sink.limits.rows, sink.limits.size):
            sink.load(group, load.refuse)
        seconds = time.perf_counter() - start
        sink.close()
    return seconds


def frame(url: str, keys: str, dataset: str, count: int) -> float:
    """One DataFrame, one call."""
    from google.cloud import bigquery
    from google.oauth2 import service_account

    given = pa.concat_tables(rows.tables(count, load.BATCH_ROWS)).to_pandas()
    start = time.perf_counter()
    credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
        keys, scopes=["https://www.googleapis.com/auth/bigquery"]
    )
    with bigquery.Client(PROJECT, credentials, client_options={"api_endpoint": url}) as client:
        client.create_dataset(dataset, exists_ok=True)
        client.load_table_from_dataframe(given, f"{PROJECT}.{dataset}.{load.TABLE}").result()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))

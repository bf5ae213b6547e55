"""Memory to BigQuery through ``BigQuerySink``, against the client library's own load of a DataFrame."""

from __future__ import annotations

from bench import load
from bench.context import Context, module, say
from bench.table import Line
from tests.bigquery import Emulator


def run(context: Context) -> list[Line]:
    ours, frames = [], []
    emulator = Emulator()
    try:
        emulator.start()
        for number in range(context.runs):
            ours.append(context.rows / timed(emulator, "ours", context.rows))
            frames.append(context.rows / timed(emulator, "frame", context.rows))
            say(f"bigquery {number + 1}: ours {ours[-1]:,.0f} rows/s, DataFrame {frames[-1]:,.0f}")
    finally:
        emulator.close()
    what = f"memory → BigQuery (emulator), {context.rows:,} rows"
    return [Line(what, ours, "rows/s", 0.8, at_least=True, peer=frames, peer_name="load_table_from_dataframe")]


def timed(emulator: Emulator, which: str, count: int) -> float:
    """Seconds; what is timed has happened."""
    dataset = emulator.dataset()
    measured = module("bench.bigquery_load", which, emulator.url, emulator.keys, dataset, count)
    sql = f"SELECT COUNT(*), COUNT(DISTINCT id), COUNT(updated) FROM {dataset}.{load.TABLE}"
    (counted,) = emulator.query(sql)
    if counted != (count,) * 3:
        raise AssertionError(f"{which}: {counted} of {count:,} rows")
    emulator.query(f"DROP TABLE {dataset}.{load.TABLE}")
    return float(measured["seconds"])

"""``python -m bench``: every workload, or those named, and one table."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import click

from bench.context import Context, say
from bench.peers.install import peer_python, versions
from bench.table import Line, render

WORKLOADS = (
    "postgres",
    "mariadb",
    "sqlite",
    "bigquery",
    "duckdb",
    "replace",
    "local",
    "compose",
    "stores",
    "pipeline",
    "sources",
    "accept",
    "latency",
    "idle",
)
_OURS = ("pyarrow", "msgspec", "psycopg", "pymysql", "duckdb", "sqlalchemy", "pandas")


@click.command()
@click.argument("workloads", nargs=-1, type=click.Choice(WORKLOADS))
@click.option("--runs", default=3, show_default=True, help="Rounds; the table shows the medians.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of each load.")
def main(workloads: tuple[str, ...], runs: int, rows: int) -> None:
    """Measure, beside what api2db is compared with."""
    folder = Path(tempfile.mkdtemp(prefix="api2db-bench-"))
    context = Context(runs, rows, folder, peer_python)
    lines: list[Line] = []
    others = os.getloadavg()[1]
    try:
        for name in workloads or WORKLOADS:
            say(f"{name} ...")
            lines += importlib.import_module(f"bench.workloads.{name}").run(context)
        server = context.postgres.psql("SHOW server_version")[0][0]
    finally:
        context.close()
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(render(lines))
    click.echo(f"\n{facts(runs, rows, server, others)}")


def facts(runs: int, rows: int, server: str, others: float) -> str:
    """The machine and what ran on it."""
    ours = ", ".join(f"{name} {version(name)}" for name in _OURS)
    peers = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        f"Median of {runs} rounds (lowest–highest), {rows:,} rows; {os.cpu_count()} cores, {platform.machine()},"
        f" Linux {platform.release().partition('-')[0]}, Python {platform.python_version()},"
        f" PostgreSQL {server}. Load average before the start: {others:.1f}.\nOurs: {ours}.\nPeers: {peers}."
    )


if __name__ == "__main__":
    main()

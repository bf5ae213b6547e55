"""``python -m bench.bigquery_kills``: kill the daemon at its requests to BigQuery, then count every row.

One daemon appends, merges and replaces, each in a table of the tests' emulator, while new rows appear. It is killed at
its first request, before that is passed on; at its first again, once it was answered and before the daemon hears of
it; then at its second, and so on, and from the start again. A round is some kills on one STORE; at its end source,
tables and journal must be equal, row by row. Rounds are kept in a file as they end, so a run that is interrupted goes
on where it was.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tests.bigquery import Emulator
from tests.faults.bigquery_kills import REQUESTS, Killed, record
from tests.http_api import HttpApi

STATE = Path(__file__).parents[1] / ".cache" / "bigquery-kills"
FIRST_ROWS = 40


@click.command()
@click.option("--kills", default=2 * REQUESTS, show_default=True, help="How often in all.")
@click.option("--round", "each", default=20, show_default=True, help="Kills on one STORE before rows are counted.")
@click.option("--first", default=0, show_default=True, help="The moment to begin with: runs side by side differ in it.")
@click.option("--state", default=STATE, type=click.Path(file_okay=False, path_type=Path), help="Where rounds are kept.")
@click.option("--afresh", is_flag=True, help="Forget the rounds there are.")
def main(kills: int, each: int, first: int, state: Path, afresh: bool) -> None:
    """Kill, restart, audit."""
    state.mkdir(parents=True, exist_ok=True)
    kept = state / f"from-{first}.jsonl"
    if afresh:
        kept.unlink(missing_ok=True)
    rounds = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    emulator = Emulator()
    try:
        emulator.start()
        while (done := sum(one["kills"] for one in rounds)) < kills:
            one = _round(emulator, first + done, min(each, kills - done))
            rounds.append(one)
            with kept.open("a") as file:
                file.write(json.dumps(one) + "\n")
            click.echo(
                f"round {len(rounds)}: {one['kills']} kills in {one['seconds']:.0f} s, {one['rows']:,} rows equal;"
                f" {done + one['kills']} of {kills}"
            )
    finally:
        emulator.close()
    click.echo(_summary(rounds))


def _round(emulator: Emulator, first: int, kills: int) -> dict[str, Any]:
    """Raises AssertionError at the first row that is lost or doubled; the folder is then kept."""
    folder = Path(tempfile.mkdtemp(prefix="api2db-bigquery-kills-"))
    started = time.monotonic()
    click.echo(f"moments {first} to {first + kills - 1}, in {folder}")
    with HttpApi([record(n) for n in range(1, FIRST_ROWS + 1)], since_field="id") as api:
        killed = Killed(folder, api, emulator)
        try:
            for moment in range(first, first + kills):
                killed.kill(moment)
            killed.deliver()
            killed.check()
        finally:
            killed.project.close()
        rows = api.count()
    shutil.rmtree(folder)
    return {
        "kills": kills,
        "rows": rows,
        "seconds": time.monotonic() - started,
        "regroupings": killed.regroupings,
        "hits": killed.hits,
    }


def _summary(rounds: Sequence[dict[str, Any]]) -> str:
    hits: Counter[str] = Counter()
    for one in rounds:
        hits.update(one["hits"])
    return "\n".join(
        [
            *(f"{times:>6}  {hit}" for hit, times in sorted(hits.items())),
            f"{sum(one['kills'] for one in rounds):,} kills in {sum(one['seconds'] for one in rounds):,.0f} s,"
            f" {len(rounds)} rounds; {sum(one['regroupings'] for one in rounds):,} left a frozen group while more"
            f" batches waited; {sum(one['rows'] for one in rounds):,} rows appended and merged: none lost, none"
            " doubled; each replaced table held one whole poll at every kill",
        ]
    )


if __name__ == "__main__":
    main()

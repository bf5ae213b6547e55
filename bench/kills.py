"""``python -m bench.kills``: kill the daemon as often as you like, then count every row.

One daemon loads SQLite, PostgreSQL, MariaDB and files at once, appended and merged, while new rows appear. It is killed
by SIGKILL while it runs, at the named points of a batch's path, before it is ready and while it stops. A round is some
kills on one STORE; at its end source, tables, files and journal must be equal, row by row. Rounds are kept in a file as
they end, so a run that is interrupted goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from sqlalchemy import make_url

from tests.contract.places import MariaDBPlace
from tests.faults.test_kills import Watched, attack, record
from tests.http_api import HttpApi
from tests.mariadb import OwnMariaDB
from tests.servers import OwnPostgres

STATE = Path(__file__).parents[1] / ".cache" / "kills"
FIRST_ROWS = 200


@click.command()
@click.option("--kills", default=300, show_default=True, help="How often in all; each counts for every place.")
@click.option("--round", "each", default=100, show_default=True, help="Kills on one STORE before rows are counted.")
@click.option("--seed", default="1", show_default=True, help="Of the kinds and moments.")
@click.option("--state", default=STATE, type=click.Path(file_okay=False, path_type=Path), help="Where rounds are kept.")
@click.option("--afresh", is_flag=True, help="Forget the rounds there are.")
def main(kills: int, each: int, seed: str, state: Path, afresh: bool) -> None:
    """Kill, restart, audit."""
    state.mkdir(parents=True, exist_ok=True)
    kept = state / f"seed-{seed}.jsonl"
    if afresh:
        kept.unlink(missing_ok=True)
    rounds = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    server, maria = OwnPostgres(), OwnMariaDB()
    try:
        server.start()
        maria.start()
        while (done := sum(one["kills"] for one in rounds)) < kills:
            one = _round(server, maria, min(each, kills - done), f"{seed}/{len(rounds)}")
            rounds.append(one)
            with kept.open("a") as file:
                file.write(json.dumps(one) + "\n")
            click.echo(
                f"round {len(rounds)}: {one['kills']} kills in {one['seconds']:.0f} s, {one['rows']:,} rows equal;"
                f" {done + one['kills']} of {kills}"
            )
    finally:
        server.close()
        maria.close()
    click.echo(_summary(rounds))
    if any(one["helped"] for one in rounds):
        raise SystemExit(1)


def _round(server: OwnPostgres, maria: OwnMariaDB, kills: int, seed: str) -> dict[str, Any]:
    """Raises AssertionError at the first row that is lost or doubled; the folder is then kept."""
    folder = Path(tempfile.mkdtemp(prefix="api2db-kills-"))
    started = time.monotonic()
    database, maria_database = server.create_database(), maria.create_database()
    place = MariaDBPlace(make_url(maria.url(maria_database)))
    click.echo(f"seed {seed}, in {folder}")
    with HttpApi([record(n) for n in range(1, FIRST_ROWS + 1)], since_field="id") as api:
        watched = Watched(folder, api, server, database, place)
        try:
            count, attacked = attack(watched, kills, seed)
            watched.run_until_delivered(count)
            watched.check(count)
        finally:
            watched.project.close()
    server.drop_database(database)
    maria.drop_database(maria_database)
    shutil.rmtree(folder)
    return {
        "seed": seed,
        "kills": attacked.kills,
        "rows": count,
        "seconds": time.monotonic() - started,
        "helped": attacked.helped,
        "ready_s": attacked.ready_s,
        "hits": {kind: tally.hits for kind, tally in attacked.tallies.items()},
    }


def _summary(rounds: Iterable[dict[str, Any]]) -> str:
    rounds = list(rounds)
    hits: Counter[tuple[str, str]] = Counter()
    for one in rounds:
        for kind, where in one["hits"].items():
            hits.update({(kind, hit): times for hit, times in where.items()})
    ready_s = [seconds for one in rounds for seconds in one["ready_s"]]
    lines = [f"{times:>6}  {kind}: {hit}" for (kind, hit), times in sorted(hits.items())]
    return "\n".join(
        [
            *lines,
            f"{sum(one['kills'] for one in rounds):,} kills for each of SQLite, PostgreSQL, MariaDB and files in"
            f" {sum(one['seconds'] for one in rounds):,.0f} s, {len(rounds)} rounds,"
            f" {sum(one['rows'] for one in rounds):,} rows: none lost, none doubled;"
            " accepted = loaded + quarantined, stream by stream",
            f"from start to ready, of {len(ready_s):,} starts: median {statistics.median(ready_s):.2f} s,"
            f" longest {max(ready_s):.2f} s; {sum(one['helped'] for one in rounds)} needed help",
        ]
    )


if __name__ == "__main__":
    main()

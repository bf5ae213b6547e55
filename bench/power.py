"""``python -m bench.power``: cut the power of the daemon's disk as often as you like, then count every row.

The daemon's STORE is on a file system that forgets whatever wasn't flushed: each unflushed page and name by itself. It
loads SQLite, shards and files that are updated and replaced there, and PostgreSQL and MariaDB elsewhere, which forget
nothing: tables that are appended to, merged and replaced. In the end source, tables and files must be equal, row by
row.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from api2db.failpoint import POINTS
from tests.mariadb import OwnMariaDB
from tests.power.daemon import Powered
from tests.power.machine import why_not
from tests.servers import OwnPostgres

UNREACHED = ("spool.parked", "local.copied", "local.moved", "quarantine.held")


@click.command()
@click.option("--cuts", default=100, show_default=True, help="How often.")
@click.option("--seed", default=None, type=int, help="Of moments and losses; printed, so that a run can be repeated.")
@click.option("--durability", default="fsync", show_default=True, type=click.Choice(["fsync", "process"]))
@click.option("--forget", default="", help="Flushes of paths matching this regular expression do nothing.")
def main(cuts: int, seed: int | None, durability: str, forget: str) -> None:
    """Cut, restart, audit."""
    reason = why_not()
    if reason:
        raise click.ClickException(f"can't mount a file system here: {reason}")
    seed = seed if seed is not None else random.randrange(2**32)
    click.echo(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="api2db-power-"))
    server, maria = OwnPostgres(), OwnMariaDB()
    started = time.monotonic()
    try:
        server.start()
        maria.start()
        powered = Powered(folder, server, server.create_database(), seed=seed, durability=durability, mariadb=maria)
        try:
            if forget:
                powered.machine.forget(forget)
            try:
                wrong = _run(powered, cuts)
            except AssertionError as error:
                wrong = [f"stuck: {str(error).splitlines()[0]}"]
        finally:
            powered.close()
    finally:
        maria.close()
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
    done = powered.machine.cuts
    click.echo(
        f"\n| cuts | rows | flushes | names not flushed | of them lost | files not flushed | of them changed |\n"
        f"|---|---|---|---|---|---|---|\n"
        f"| {len(done)} | {powered.source.count:,} | {sum(cut.flushes for cut in done):,}"
        f" | {sum(cut.changes for cut in done):,} | {sum(cut.changes_lost for cut in done):,}"
        f" | {sum(cut.files for cut in done):,} | {sum(cut.files_changed for cut in done):,} |\n"
    )
    click.echo(
        "\n".join(wrong)
        or "none lost, none doubled, no replacement by halves, in SQLite, files, PostgreSQL and MariaDB"
    )
    click.echo(f"{time.monotonic() - started:.0f} s")
    sys.exit(bool(wrong))


def _run(powered: Powered, cuts: int) -> list[str]:
    """Every fifth cut at a named point of the code, the others at flushes and moments of chance."""
    points = [point for point in POINTS if point not in UNREACHED]
    for number in range(cuts):
        if number % 5 == 4:
            powered.cut(point=f"{powered.rng.choice(points)}:{powered.rng.randint(1, 8)}")
        else:
            powered.cut()
        wrong = powered.half_boards()
        if wrong:
            return wrong
        if number % 10 == 9:
            wrong = powered.audit()
            click.echo(f"{number + 1} cuts, {powered.source.count:,} rows, {len(wrong)} wrong")
            if wrong:
                return wrong
    return powered.audit()


if __name__ == "__main__":
    main()

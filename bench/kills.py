"""``python -m bench.kills``: kill the daemon as often as you like, then count every row.

One daemon loads SQLite, PostgreSQL, MariaDB and files at once, appended and merged; it is killed by SIGKILL at random
moments while new rows appear. In the end source, tables, files and journal must be equal, row by row.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from pathlib import Path

import click
from sqlalchemy import make_url

from tests.contract.places import MariaDBPlace
from tests.faults.test_kills import Watched, kill_at_random, record
from tests.http_api import HttpApi
from tests.mariadb import OwnMariaDB
from tests.servers import OwnPostgres


@click.command()
@click.option("--kills", default=300, show_default=True, help="How often.")
@click.option("--seed", default=None, type=int, help="Of the moments; printed, so that a run can be repeated.")
def main(kills: int, seed: int | None) -> None:
    """Kill, restart, audit."""
    seed = seed if seed is not None else random.randrange(2**32)
    click.echo(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="api2db-kills-"))
    server = OwnPostgres()
    maria = OwnMariaDB()
    started = time.monotonic()
    try:
        server.start()
        maria.start()
        place = MariaDBPlace(make_url(maria.url(maria.create_database())))
        with HttpApi([record(n) for n in range(1, 201)], since_field="id") as api:
            watched = Watched(folder, api, server, server.create_database(), place)
            try:
                count = kill_at_random(watched, kills, random.Random(seed))
                watched.run_until_delivered(count)
                watched.check(count)
            finally:
                watched.project.close()
    finally:
        server.close()
        maria.close()
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(
        f"{kills} kills in {time.monotonic() - started:.0f} s, {count:,} rows: none lost, none doubled"
        " in SQLite, PostgreSQL, MariaDB and files; accepted = loaded + quarantined"
    )


if __name__ == "__main__":
    main()

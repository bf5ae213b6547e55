"""``make prove``: kill the daemon twenty times and its database once, then count every row. Offline."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import click

from api2db.audit import StreamAudit
from api2db.chaos import faults
from api2db.chaos.faults import Fault, schedule
from api2db.chaos.run import Order, Result, attack
from api2db.cli.here import Here
from tests.servers import OwnPostgres

PROJECT = Path(__file__).parents[1]
# In all ways there are, points of a batch's path most: where a kill could do harm.
WEIGHTS = {faults.KILL: 3, faults.KILL_AT: 4, faults.KILL_STARTING: 1, faults.KILL_STOPPING: 1}
OUTAGE = Fault(faults.SERVER, 0.3, lasts_s=2.0)


@click.command()
@click.option("--kills", default=20, show_default=True, help="How many.")
@click.option("--seed", default=1, show_default=True, help="Of the schedule.")
def main(kills: int, seed: int) -> None:
    """Kill, restart, count."""
    click.echo(
        "An API on this machine serves a recorded week of earthquakes, with every event's revisions. api2db polls\n"
        "it and loads it into a PostgreSQL server made for this, and into parquet files. It is killed by SIGKILL\n"
        "again and again and started anew each time, and once the database server is killed too. Then every row\n"
        "is counted.\n"
    )
    server = OwnPostgres()
    try:
        server.start()
        click.echo("PostgreSQL runs. Polling begins, and killing.")
        order = Order(faults=None, kills=kills, seed=seed, database=server.url(), demo=True)
        result = attack(Here(PROJECT, {}), order, click.echo, plan=_plan(kills, seed), server=server)
    finally:
        server.close()
    click.echo(_text(result))
    if not result.holds:
        raise SystemExit(1)


def _plan(kills: int, seed: int) -> Iterator[Fault]:
    """Kills without end, and the database's in the midst of them."""
    strikes = schedule(seed, WEIGHTS)
    yield from itertools.islice(strikes, kills // 2)
    yield OUTAGE
    yield from strikes


def _text(result: Result) -> str:
    feed = result.feed
    assert feed is not None
    rows: list[tuple[str, ...]] = [("", "served", "stored", "lost", "doubled")]
    versions = feed.versions_served, feed.versions_stored, feed.versions_missing, feed.versions_twice
    rows.append(("versions of events, each a row in a file", *(f"{n:,}" for n in versions)))
    lost = feed.events_missing + feed.events_outdated
    events = feed.events_served, feed.events_stored, lost, feed.events_twice
    rows.append(("events, each a row in PostgreSQL", *(f"{n:,}" for n in events)))
    lines = [f"{title:<42}" + "".join(f"{cell:>9}" for cell in cells) for title, *cells in rows]
    lines.append("In PostgreSQL each event is in the newest version that was served; an older one would count as lost.")
    if feed.cut_off:
        lines.append(
            f"{feed.cut_off:,} other versions were only in answers that were cut off: they were asked for again."
        )
    books = "balances" if result.audited else "DOES NOT BALANCE"
    ready = max(result.ready_s, default=0.0)
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"api2db audit: {books}",
            *(f"  {one.stream}: {_equation(one)}" for one in (result.audit.streams if result.audit else [])),
            f"{result.kills} kills, 1 database outage, {result.helped} starts needed help;"
            f" ready again at most {ready:.1f} s after a start. {result.seconds:.0f} s.",
            "",
            "PROVED: nothing lost, nothing doubled." if result.holds else "NOT PROVED: see above.",
            f'Other moments: make prove ARGS="--seed {result.seed + 1}". Your own collectors: api2db chaos.',
        ]
    )


def _equation(stream: StreamAudit) -> str:
    parts = [f"{stream.loaded:,} loaded", *(f"{n:,} {word}" for word, n in (
        ("waiting", stream.waiting), ("parked", stream.parked), ("quarantined", stream.quarantined),
        ("superseded", stream.superseded)) if n)]  # fmt: skip
    return f"{stream.accepted:,} rows accepted = {' + '.join(parts)}"


if __name__ == "__main__":
    main()

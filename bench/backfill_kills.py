"""``python -m bench.backfill_kills``: kill the daemon in the midst of a backfill, count every row and every request.

One daemon reads a source of many pages over HTTP into SQLite and files, through ``RestSource`` with an ``Incremental``.
It is killed by SIGKILL again and again, at any moment and at the named points of a page's path. In the end table, files
and source must be equal, row by row, and no page may have been asked for more than once more a kill. What there is, is
kept, so a run that is interrupted goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import click

from tests.faults.test_backfill_kills import Backfill, Feed

STATE = Path(__file__).parents[1] / ".cache" / "backfill_kills"


@click.command()
@click.option("--pages", default=10_000, show_default=True, help="Pages of the source.")
@click.option("--rows", default=20, show_default=True, help="Rows of each.")
@click.option("--kills", default=50, show_default=True, help="How often it is killed, evenly over the pages.")
@click.option("--seed", default="1", show_default=True, help="Of the kinds and moments.")
@click.option("--state", default=STATE, type=click.Path(file_okay=False, path_type=Path), help="Where it is kept.")
@click.option("--afresh", is_flag=True, help="Forget what there is.")
def main(pages: int, rows: int, kills: int, seed: str, state: Path, afresh: bool) -> None:
    """Kill, restart, compare."""
    folder = state / f"{pages}x{rows}-{kills}-{seed}"
    if afresh:
        shutil.rmtree(folder, ignore_errors=True)
    kept = folder / "so-far.json"
    said: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"kills": 0, "hits": {}, "fetched": {}}
    feed = Feed(pages, rows, {int(page): times for page, times in said["fetched"].items()})
    backfill = Backfill(folder, feed, f"{seed}/{said['kills']}")
    backfill.hits.update(said["hits"])
    started = time.monotonic()
    try:
        for number in range(said["kills"], kills):
            backfill.kill((number + 1) * pages // (kills + 1))
            so_far = {"kills": number + 1, "hits": backfill.hits, "fetched": feed.fetched}
            kept.write_text(json.dumps(so_far))
            click.echo(f"kill {number + 1} at page {len(feed.fetched):,}, {feed.fetched.total():,} requests", err=True)
        backfill.finish()
        backfill.check(kills)
    finally:
        backfill.victim.close()
        feed.close()
    more = feed.fetched.total() - len(feed.fetched)
    most = max(feed.fetched.values())
    for hit, times in sorted(backfill.hits.items()):
        click.echo(f"{times:>6}  {hit}")
    click.echo(
        f"{kills} kills in a backfill of {pages:,} pages, {pages * rows:,} rows, {time.monotonic() - started:,.0f} s:"
        f" table and files equal the source; {more} pages were asked for once more in all, none more than {most} times"
    )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

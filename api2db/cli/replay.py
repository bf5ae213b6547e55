"""``api2db replay``: deliver again what a place lacks."""

from __future__ import annotations

import click

from api2db.cli.here import Here, here


@click.command()
@click.argument("where", required=False, metavar="[COLLECTOR[/STREAM]]")
@click.option("--since", metavar="TIME", help="Only what was accepted since: 2026-02-01T10:00Z, or how long ago, 2h.")
@click.option("--until", metavar="TIME", help="Only what was accepted before.")
@click.option("--batch", metavar="ID", help="Only this batch.")
@click.option("--again", is_flag=True, help="Also batches that the place has: take them out, and load them anew.")
@click.option("--from", "source", type=click.Choice(["log", "failed", "quarantine"]), default="log", show_default=True,
              help="Delivered shards that are kept, those that failed, or what is in quarantine.")  # fmt: skip
@click.option("--to", metavar="PLACE", help="Fill this place, whether or not the collector delivers there.")
@click.option("--dry-run", is_flag=True, help="Say what would be delivered, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def replay(
    here: Here,
    where: str | None,
    since: str | None,
    until: str | None,
    batch: str | None,
    again: bool,
    source: str,
    to: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Deliver again what a place lacks: each batch once, oldest first.

    From the log only what isn't in the place is delivered, so a database restored from a backup is whole again
    after one command. Beside a running daemon the daemon does it.
    """
    from api2db.cli.asking import ask, moment_ns, show, split

    collector, stream = split(where)
    arguments: dict[str, object] = {
        "collector": collector,
        "stream": stream,
        "since_ns": moment_ns(since),
        "until_ns": moment_ns(until),
        "batch": batch,
        "again": again,
        "source": source,
        "to": to,
        "dry_run": dry_run,
    }
    return show(ask(here, "replay", arguments), as_json)

"""``api2db shards``: what lies in STORE, whether it is whole, and what to do with what failed."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import click

from api2db.cli.here import Here, here

_PLACES = ["queue", "failed", "quarantine", "log"]


@click.group()
def shards() -> None:
    """The shards in STORE: those that wait, that failed, in quarantine, and those kept after delivery."""


@shards.command("ls")
@click.argument("which", required=False, metavar="[COLLECTOR[/STREAM]]")
@click.option("--in", "where", type=click.Choice(_PLACES), help="Only those there.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def list_shards(here: Here, which: str | None, where: str | None, as_json: bool) -> int:
    """List them, a line each."""
    from api2db.cli.asking import split
    from api2db.runtime.shelf import items

    found = list(items(here.layout, *split(which), where))
    if as_json:
        click.echo(json.dumps([_plain(vars(item)) for item in found], indent=2))
        return 0
    table = [["where", "collector", "stream", "created (UTC)", "rows", "bytes", "batch id", "reason"]]
    for item in found:
        rows = "?" if item.rows is None else f"{item.rows:,}"
        table.append([item.where, item.collector, item.stream or "", _time(item.created_ns), rows, f"{item.size:,}",
                      item.batch_id or item.path.name, item.reason or ""])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    return 0


@shards.command()
@click.argument("name", metavar="PATH-OR-NAME")
@click.option("--rows", default=5, show_default=True, metavar="N", help="How many rows.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def show(here: Here, name: str, rows: int, as_json: bool) -> int:
    """What one of them says of itself, and its first rows; named by path, file name or batch id."""
    from api2db.runtime.shelf import contents, find

    item = find(here.layout, name)
    about, first = contents(item, rows)
    if as_json:
        click.echo(json.dumps({"path": str(item.path), "about": about, "rows": first}, indent=2, default=str))
        return 0
    click.echo(item.path)
    for key, value in about.items():
        click.echo(f"  {key.removeprefix('api2db.')}: {value}")
    if item.reason:
        click.echo(f"  reason: {item.reason}")
    for row in first:
        click.echo(json.dumps(row, default=str, ensure_ascii=False))
    return 0


@shards.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def verify(here: Here, as_json: bool) -> int:
    """Check the digest of every shard; exit status 1 if one is damaged, or isn't what its name says."""
    from api2db.runtime.shelf import faults

    checked, wrong = faults(here.layout)
    if as_json:
        click.echo(json.dumps({"checked": checked, "wrong": [[str(path), what] for path, what in wrong]}, indent=2))
    else:
        for path, what in wrong:
            click.echo(f"{path}: {what}")
        click.echo(f"{checked} shards checked, {len(wrong)} of them damaged or foreign.")
    return int(bool(wrong))


@shards.command()
@click.argument("which", required=False, metavar="[COLLECTOR[/STREAM]]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def retry(here: Here, which: str | None, as_json: bool) -> int:
    """Try what failed, and streams that stopped, at once."""
    from api2db.cli.asking import ask, show, split

    collector, stream = split(which)
    return show(ask(here, "retry", {"collector": collector, "stream": stream}), as_json)


@shards.command()
@click.argument("which", metavar="COLLECTOR[/STREAM]")
@click.option(
    "--in", "where", type=click.Choice(["queue", "failed", "quarantine"]), help="Which of them.  [default: failed]"
)
@click.option("--removed", is_flag=True, help="What waits, or failed, for streams that no collector has now.")
@click.option("--lost", is_flag=True, help="Batches that are nowhere: somebody removed their shards.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --yes.")
@here
def purge(here: Here, which: str, where: str | None, removed: bool, lost: bool, yes: bool, as_json: bool) -> int:
    """Give up shards that failed to upload, or that wait, or what is in quarantine: its rows never arrive there.

    The audit counts them as purged from then on; rows whose file in quarantine was taken away, too.
    """
    from api2db.cli.asking import ask, confirmed, show, split

    collector, stream = split(which)
    arguments: dict[str, object] = {"collector": collector, "stream": stream, "place": where}
    arguments |= {"removed": removed, "lost": lost}
    if not yes:
        would = ask(here, "purge", {**arguments, "dry_run": True})
        if not would.lines:
            return show(would, as_json)
        click.echo("\n".join(would.lines))
        if not confirmed("Give them up?", yes=False):
            return 1
    return show(ask(here, "purge", arguments), as_json)


def _time(created_ns: int | None) -> str:
    return "" if created_ns is None else f"{dt.datetime.fromtimestamp(created_ns / 1e9, dt.UTC):%Y-%m-%d %H:%M:%S}"


def _plain(about: dict[str, object]) -> dict[str, object]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in about.items()}

"""``api2db rebuild``: shape what was taped anew."""

from __future__ import annotations

import click

from api2db.cli.here import Here, here


@click.command()
@click.argument("where", metavar="COLLECTOR[/STREAM]")
@click.option("--to", metavar="PLACE", help="Fill this place, which has nothing of the collector yet.")
@click.option("--since", metavar="TIME", help="Only polls begun since: 2026-02-01T10:00Z, or how long ago, 2h.")
@click.option("--until", metavar="TIME", help="Only polls begun before.")
@click.option("--dry-run", is_flag=True, help="Say which polls are on tape and where they would go; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def rebuild(
    here: Here, where: str, to: str | None, since: str | None, until: str | None, dry_run: bool, as_json: bool
) -> int:
    """Run taped polls anew, with the function and the form as they are now.

    Requests are answered from tape, and the API is never asked. What is merged by key and version is merged again;
    what is appended goes to a place of its own, by --to, each row once however often it is run.
    """
    from api2db.cli.asking import ask, moment_ns, show, split

    collector, stream = split(where)
    arguments: dict[str, object] = {
        "collector": collector,
        "stream": stream,
        "since_ns": moment_ns(since),
        "until_ns": moment_ns(until),
        "to": to,
        "dry_run": dry_run,
    }
    return show(ask(here, "rebuild", arguments), as_json)

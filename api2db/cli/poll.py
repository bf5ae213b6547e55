"""``api2db poll``: the running daemon polls a collector now."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import asdict, dataclass

import click

from api2db.cli.here import Here, here
from api2db.errors import StoreError
from api2db.layout import Layout, lock_owner

_LOOK_S = 0.1


@dataclass(frozen=True)
class Ended:
    """A poll that ended, as the journal has it."""

    outcome: str
    rows: int
    batches: int
    seconds: float
    cause: str | None


@click.command()
@click.argument("collector")
@click.option("--wait", is_flag=True, help="Wait for its end and say how it was; exit status 1 if it didn't end well.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def poll(here: Here, collector: str, wait: bool, as_json: bool) -> int:
    """Have the running daemon poll COLLECTOR now, whatever its schedule says."""
    from api2db.runtime import requests

    if lock_owner(here.layout) is None:
        raise StoreError(
            f"no daemon runs on {here.layout.root}: start it by python main.py; what a poll would bring shows"
            f" api2db try {collector}"
        )
    answer = requests.ask(here.layout, "poll", {"collector": collector})
    if not as_json:
        click.echo("\n".join(answer.lines))
    ended = _end(here.layout, collector, int(str(answer.facts["after"]))) if wait else None
    if as_json:
        click.echo(json.dumps({"collector": collector, "ended": None if ended is None else asdict(ended)}))
    elif ended is not None:
        click.echo(f"{collector}: {_told(ended)}")
    return int(ended is not None and ended.outcome != "ok")


def _end(layout: Layout, collector: str, after: int) -> Ended:
    """Wait for the first run behind ``after``. Raises StoreError if the daemon ends before."""
    pause = threading.Event()
    while True:
        runs = lock_owner(layout) is not None
        found = _run(layout, collector, after)
        if found is not None:
            return found
        if not runs:
            raise StoreError("the daemon ended before the poll did: what it had accepted is safe, and delivered later")
        pause.wait(_LOOK_S)


def _run(layout: Layout, collector: str, after: int) -> Ended | None:
    from api2db.journal.file import open_to_read

    query = (
        "SELECT outcome, rows, batches, duration_s, cause FROM runs WHERE collector = ? AND rowid > ?"
        " ORDER BY rowid LIMIT 1"
    )
    try:
        with closing(open_to_read(layout.journal)) as db:
            row = db.execute(query, (collector, after)).fetchone()
    except sqlite3.OperationalError:
        return None  # locked, or being set up anew: it is looked at again
    return None if row is None else Ended(*row)


def _told(ended: Ended) -> str:
    if ended.cause is not None:
        return f"{ended.outcome}: {ended.cause}"
    batches = f"{ended.batches:,} batch{'' if ended.batches == 1 else 'es'}"
    return f"{ended.outcome}, {ended.rows:,} row{'' if ended.rows == 1 else 's'} in {batches}, {ended.seconds:.1f} s"

"""``api2db reset`` and ``api2db backfill``: have a source read again from somewhere else."""

from __future__ import annotations

import datetime as dt
import json

import click

from api2db.cli.here import Here, here
from api2db.errors import ConfigError


@click.command()
@click.argument("collector")
@click.option("--to", "value", metavar="VALUE", help="Where to go on: JSON, or text. By default from the start.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --yes.")
@here
def reset(here: Here, collector: str, value: str | None, yes: bool, as_json: bool) -> int:
    """Move a collector's cursor: the next poll goes on from VALUE, or begins again."""
    return _move(here, collector, None if value is None else _json(value), yes=yes, as_json=as_json)


@click.command()
@click.argument("collector")
@click.option("--since", required=True, metavar="TIME", help="2026-02-01T10:00Z, how long ago (3d), or a number where"
              " the cursor's column holds numbers.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --yes.")
@here
def backfill(here: Here, collector: str, since: str, yes: bool, as_json: bool) -> int:
    """Read again what a source has since TIME, for collectors whose cursor is a column (``Cursor``)."""
    declared = next((one for one in here.declared[0] if one.name == collector), None)
    if declared is not None and declared.cursor is None:
        raise ConfigError(
            f"collector {collector} has no column for a cursor: its own cursor is set with api2db reset --to,"
            " and without any cursor each poll fetches what the source gives"
        )
    from api2db.state import read_state

    reached = read_state(here.layout.state(collector)).cursor
    return _move(here, collector, _since(since, reached), yes=yes, as_json=as_json)


def _move(here: Here, collector: str, to: str | None, *, yes: bool, as_json: bool) -> int:
    from api2db.cli.asking import ask, confirmed, show

    arguments: dict[str, object] = {"collector": collector, "to": to}
    if not yes:
        click.echo("\n".join(ask(here, "reset", {**arguments, "dry_run": True}).lines))
        if not confirmed("Move it?", yes=False):
            return 1
    return show(ask(here, "reset", arguments), as_json)


def _since(text: str, reached: str | None) -> str:
    """A cursor of the kind that was reached: a number, a date, a time with a zone or without one."""
    from api2db.cli.asking import moment_ns

    kind = None if reached is None else json.loads(reached)
    if isinstance(kind, (int, float)) and not isinstance(kind, bool):
        value = _json(text)
        if not isinstance(json.loads(value), (int, float)):
            raise ConfigError(f"--since {text!r}: this cursor is a number; the last one was {reached}")
        return value
    ns = moment_ns(text)
    assert ns is not None
    at = dt.datetime.fromtimestamp(ns / 1e9, dt.UTC)
    if isinstance(kind, str) and len(kind) == len("2026-02-01"):
        return json.dumps(str(at.date()))
    try:
        aware = not isinstance(kind, str) or dt.datetime.fromisoformat(kind).tzinfo is not None
    except ValueError:
        raise ConfigError(f"the cursor {reached} is no time: set it with api2db reset --to VALUE") from None
    shown = at.isoformat(timespec="microseconds")
    return json.dumps(shown if aware else shown.removesuffix("+00:00"))


def _json(text: str) -> str:
    """JSON as it is; anything else as text."""
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return json.dumps(text)

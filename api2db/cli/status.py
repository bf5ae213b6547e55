"""``api2db status``, and ``main.py --status``: how every collector and every delivery is doing."""

from __future__ import annotations

import click

from api2db.cli.here import Here, here
from api2db.layout import Layout

OK, UNHEALTHY, NOT_RUNNING = 0, 1, 3


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON: all fields, times as nanoseconds since 1970 UTC.")
@here
def status(project: Here, as_json: bool) -> int:
    """Say how everything is, and exit: 0 all well, 1 something needs attention, 3 the daemon isn't running.

    For projects whose main.py has no --status of its own.
    """
    return tell(project.layout, as_json)


def tell(layout: Layout, as_json: bool) -> int:
    """Print what STORE knows; the exit status."""
    from api2db.cli.status_text import as_text, to_json
    from api2db.runtime.status import read_status

    found = read_status(layout)
    click.echo(to_json(found) if as_json else as_text(found))
    if found.troubles:
        return UNHEALTHY
    return OK if found.pid is not None else NOT_RUNNING

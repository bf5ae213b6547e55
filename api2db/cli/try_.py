"""``api2db try``: one poll of a collector, shown and not kept."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator

import click

from api2db.cli.here import Here, here
from api2db.collector import Collector
from api2db.errors import ConfigError
from api2db.nearest import nearest


@click.command("try")
@click.argument("name", metavar="COLLECTOR")
@click.option(
    "--rows", default=3, show_default=True, metavar="N", type=click.IntRange(0), help="How many rows to show."
)
@click.option("--pages", default=1, show_default=True, metavar="N", type=click.IntRange(1), help="Stop a function that"
              " yields after so many items.")  # fmt: skip
@click.option("--since", metavar="VALUE", help="What the function is called with as its cursor: a time, how long ago"
              " (3d), JSON, or the word start. By default where the daemon is.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@here
def try_(here: Here, name: str, rows: int, pages: int, since: str | None, as_json: bool) -> int:
    """Poll COLLECTOR once and show what it asked, what came and what would be made of it.

    Nothing is stored but a token that OAuth gives, no cursor moves, no database is touched. Exit status 1
    if the poll failed.
    """
    from api2db.cli.try_text import as_json as to_json
    from api2db.cli.try_text import as_text
    from api2db.runtime.trial import attempt
    from api2db.stream.places import targets_of

    with _logs_to_stderr(), contextlib.redirect_stdout(sys.stderr):  # what the function prints isn't the answer
        collector = _declared(here, name)
        trial = attempt(
            collector,
            here.settings,
            lambda: targets_of(collector, here.settings),
            since=since,
            items=pages,
            rows=rows,
        )
    click.echo(json.dumps(to_json(trial), indent=2, default=str) if as_json else as_text(trial, _width()))
    return int(trial.error is not None)


def _declared(here: Here, name: str) -> Collector:
    """Raises ConfigError where there is none of that name, or its module can't be used."""
    declared, broken = here.declared
    for collector in declared:
        if collector.name == name:
            return collector
    for module in broken:
        if module.path.stem == name or not declared:
            ours = module.cause.startswith(ConfigError.__name__)
            raise ConfigError(f"{module.path} can't be used: {module.cause}" + ("" if ours else f"\n{module.details}"))
    others = "".join(f"; {module.path.name} can't be used: {module.cause}" for module in broken)
    raise ConfigError(f"there is no collector {name!r}{nearest(name, [each.name for each in declared])}{others}")


@contextlib.contextmanager
def _logs_to_stderr() -> Iterator[None]:
    """What the function logs by ``get_logger``, as the console shows it."""
    from api2db.app.log import LOGGER, Redacting

    logger, handler = logging.getLogger(LOGGER), logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns

"""``python main.py`` runs the project it lies in; ``api2db`` makes one and looks after it.

Each command of ``api2db`` is a module of its own beside this one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from api2db import settings as settings_file
from api2db._version import __version__
from api2db.cli.audit import audit
from api2db.cli.chaos import chaos
from api2db.cli.here import Here
from api2db.cli.init import init
from api2db.cli.new import new
from api2db.cli.notify import notify
from api2db.cli.poll import poll
from api2db.cli.rebuild import rebuild
from api2db.cli.replay import replay
from api2db.cli.reset import backfill, reset
from api2db.cli.shards import shards
from api2db.cli.status import OK, UNHEALTHY, status, tell
from api2db.cli.try_ import try_
from api2db.errors import Api2dbError
from api2db.layout import Layout
from api2db.settings import Settings

CANNOT_START = 2


def run(argv: Sequence[str] | None = None) -> int:
    """What ``main.py`` calls: the daemon, or its status. Returns the process's exit status."""
    project = Path(getattr(sys.modules["__main__"], "__file__", None) or "main.py").resolve().parent
    try:
        return int(_main_py.main(args=None if argv is None else list(argv), standalone_mode=False, obj=project) or 0)
    except click.ClickException as error:
        error.show()
        return CANNOT_START
    except click.Abort:
        return CANNOT_START
    except Api2dbError as error:
        click.echo(f"api2db can't start: {error}", err=True)
        return CANNOT_START


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--status", is_flag=True, help="Say how everything is, and exit: 0 all well, 1 something needs"
              " attention, 3 the daemon isn't running.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="With --status: as JSON.")
@click.option("--check", is_flag=True, help="Say whether the daemon lives, for health checks, and exit: 0 it does,"
              " 1 it doesn't.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A setting, over api2db.toml and the"
              " environment; may be given several times.")  # fmt: skip
@click.version_option(__version__)
@click.pass_obj
def _main_py(project: Path, status: bool, as_json: bool, check: bool, changes: tuple[str, ...]) -> int:
    """Run every enabled collector in collectors/ until told to stop (Ctrl-C, SIGTERM)."""
    settings = settings_file.load(project, _changed(changes))
    if status and check:
        raise click.UsageError("--check and --status are two questions: ask one at a time")
    if status:
        return tell(Layout(settings.store), as_json)
    if as_json:
        raise click.UsageError("--json goes with --status")
    if check:
        return _check(settings)
    return _run(settings)


def _changed(changes: Sequence[str]) -> dict[str, object]:
    overrides: dict[str, object] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes KEY=VALUE, not {change!r}")
        overrides[key] = value
    return overrides


def _run(settings: Settings) -> int:
    from api2db import demo  # what only the daemon needs loads only for it
    from api2db.app import log
    from api2db.app.run import Run
    from api2db.discovery import find_collectors

    log.configure(settings.logs, [], console=settings.console)
    with demo.running(settings) as replay:
        collectors, broken = find_collectors(settings.collectors)
        if not collectors and not broken:
            logging.getLogger(__name__).warning("no collectors found folder=%s", settings.collectors)
        status = Run(collectors, settings=settings, broken=broken).run()
        if replay is not None:
            click.echo(demo.result(replay, settings))
        return status


def _check(settings: Settings) -> int:
    from api2db.runtime.status import read_pulse

    pulse = read_pulse(Layout(settings.store))
    click.echo(pulse.trouble or f"The daemon lives, as process {pulse.pid}.")
    return UNHEALTHY if pulse.trouble else OK


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-C", "--project", "folder", default=".", metavar="FOLDER", help="The project's folder; by default this"
 " one.", type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A setting, as for main.py.")
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context, folder: Path, changes: tuple[str, ...]) -> None:
    """Look after an api2db project, or make one. The project itself is run by its own main.py."""
    context.obj = Here(folder.resolve(), _changed(changes))


main.add_command(init)
main.add_command(new)
main.add_command(audit)
main.add_command(chaos)
main.add_command(replay)
main.add_command(shards)
main.add_command(notify)
main.add_command(reset)
main.add_command(backfill)
main.add_command(status)
main.add_command(try_)
main.add_command(poll)
main.add_command(rebuild)

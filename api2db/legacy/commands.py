"""``pmake cadd crem clist pclear mlab rlab clab``: each looks after the project in the folder it is started in."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import click

from api2db.cli.here import Here
from api2db.errors import Api2dbError, ConfigError
from api2db.layout import lock_owner
from api2db.legacy.folder import LAB, LAB_FILE, Folder

P = ParamSpec("P")
_HELP = {"help_option_names": ["-h", "--help"]}


def _in_this_folder(body: Callable[Concatenate[Folder, P], int | None]) -> Callable[P, None]:
    """Make a function of this folder a command's body: it returns the exit status, our errors end it with 1."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = body(Folder(Path.cwd()), *args, **kwargs)
        except Api2dbError as error:
            raise click.ClickException(str(error)) from error
        click.get_current_context().exit(status or 0)

    return run


@click.command(context_settings=_HELP)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_in_this_folder
def pmake(folder: Folder, names: tuple[str, ...]) -> None:
    """Make a project in this folder, with a collector of each NAME. Nothing that is there is overwritten."""
    made = folder.make(names)
    click.echo("\n".join(made))
    click.echo("Set seconds in apis/, then start it: python main.py")


@click.command(context_settings=_HELP)
@click.argument("name")
@_in_this_folder
def cadd(folder: Folder, name: str) -> None:
    """Add the collector NAME to the project in this folder."""
    remark = folder.add(name)
    click.echo(f"apis/{name}.py is listed in apis/__init__.py" + (f": {remark}" if remark else ""))


@click.command(context_settings=_HELP)
@click.argument("name")
@_in_this_folder
def crem(folder: Folder, name: str) -> int:
    """Remove the collector NAME from the project in this folder, and delete its file. Asks twice.

    What it has collected stays.
    """
    folder.require(name)
    waits = _waiting(folder, name)
    if waits:
        click.echo(f"{waits} in STORE for {name}: they are not delivered without it.")
    if not _twice(f"Remove the collector {name}, and delete apis/{name}.py?", f"{name} will be gone. Are you sure?"):
        return 1
    folder.remove(name)
    click.echo(f"{name} is removed; what it has collected is where it was.")
    return 0


@click.command(context_settings=_HELP)
@click.option("--json", "as_json", is_flag=True, help="As a list in JSON.")
@_in_this_folder
def clist(folder: Folder, as_json: bool) -> None:
    """Print the collectors of the project in this folder, one a line."""
    names = folder.names()
    click.echo(json.dumps(names) if as_json else "\n".join(names), nl=as_json or bool(names))


@click.command(context_settings=_HELP)
@_in_this_folder
def pclear(folder: Folder) -> int:
    """Delete the project in this folder, all it has collected included. Asks twice."""
    names = folder.names()
    folder.check_clearable()
    owner = lock_owner(Here(folder.path, {}).layout)
    if owner is not None:
        raise ConfigError(f"it runs, as process {owner}: stop that first")
    waits = _waiting(folder, "*")
    if waits:
        click.echo(f"{waits} in STORE: they are lost with it.")
    about = f"This deletes, in {folder.path}: {', '.join(folder.parts())}. Clear the project?"
    if not _twice(
        about, f"Collectors ({', '.join(names) or 'none'}), credentials and data will be gone. Are you sure?"
    ):
        return 1
    folder.clear()
    click.echo("The project is cleared.")
    return 0


@click.command(context_settings=_HELP)
@_in_this_folder
def mlab(folder: Folder) -> None:
    """Make a lab in this project: laboratory/lab.py, to write a form in."""
    folder.make_lab()
    click.echo(f"Edit {LAB_FILE}, and run it: rlab")


@click.command(context_settings=_HELP)
@click.option("--fresh", is_flag=True, help="Call the API again, whatever CACHE says.")
@_in_this_folder
def rlab(folder: Folder, fresh: bool) -> int:
    """Run this project's lab: show the data as far as its form is written, and leave each phase as JSON beside it.

    Exit status: 0 the form is complete, 1 it isn't yet, or raised.
    """
    from api2db.legacy.lab import run_lab

    folder.require_lab()
    return 0 if run_lab(folder.path, folder.path / LAB_FILE, fresh=fresh) else 1


@click.command(context_settings=_HELP)
@_in_this_folder
def clab(folder: Folder) -> int:
    """Delete this project's lab, and the data it left there. Asks twice."""
    folder.require_lab()
    if not _twice(f"Delete the folder {LAB}/?", "What is written in it will be gone. Are you sure?"):
        return 1
    folder.clear_lab()
    click.echo("The lab is cleared.")
    return 0


def _twice(*questions: str) -> bool:
    """Whether both are answered with yes. There is no option for that: what these delete can't be brought back."""
    for question in questions:
        if not click.confirm(question):
            click.echo("Nothing was changed.")
            return False
    return True


def _waiting(folder: Folder, name: str) -> str:
    """What of a collector ("*": of all) isn't delivered yet, in words; "" for nothing."""
    store = Here(folder.path, {}).settings.store
    shards = {path.name for part in ("queue", "upload_failed") for path in store.glob(f"{part}/{name}/*/*.parquet")}
    return f"{len(shards)} {'batch waits' if len(shards) == 1 else 'batches wait'}" if shards else ""

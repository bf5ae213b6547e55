"""``api2db init <folder>``: a user's own project, with an example that runs at once."""

from __future__ import annotations

import json
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

import api2db
from api2db._version import __version__
from api2db.errors import Api2dbError, ConfigError

DISTRIBUTION = "api2db-daemon"
# Names in the package say what they are; Python files among them aren't modules of ours.
_SUFFIX = ".template"
_HIDDEN = {"gitignore": ".gitignore"}
_PRIVATE = "AUTH"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a new project in FOLDER: an example collector that works, settings, and a way to start it."""
    try:
        create_project(folder)
    except Api2dbError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{folder} is ready. Start it:\n  cd {folder}\n  ./run.sh\nThen edit collectors/ to your liking.")


def create_project(folder: Path) -> list[Path]:
    """Make a project in ``folder``, which must be empty or not there yet; the files made, in order.

    Nothing that exists is overwritten. Raises ConfigError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; give one that is empty or not there yet")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = _copy(resources.files("api2db.cli").joinpath("project"), folder)
        made.append(_write(folder / "requirements.txt", _requirements().encode(), 0o644))
        (folder / "STORE").mkdir()
    except OSError as error:
        raise ConfigError(f"{folder}: the project can't be made: {error}") from error
    return sorted(made)


def _copy(source: Traversable, target: Path) -> list[Path]:
    made = []
    for entry in source.iterdir():
        name = entry.name.removesuffix(_SUFFIX)
        path = target / _HIDDEN.get(name, name)
        private = _PRIVATE in (path.name, target.name)
        if entry.is_dir():
            if name == "__pycache__":
                continue
            path.mkdir(mode=0o700 if private else 0o777)
            made += _copy(entry, path)
        else:
            # A copy of a template keeps its mode: credentials are nobody else's from the start.
            mode = 0o600 if private else 0o755 if path.suffix == ".sh" else 0o644
            made.append(_write(path, entry.read_bytes(), mode))
    return made


def _write(path: Path, content: bytes, mode: int) -> Path:
    with path.open("xb") as file:
        file.write(content)
    path.chmod(mode)
    return path


def _requirements() -> str:
    """What ``run.sh`` installs: the api2db that made the project, from where it came."""
    head = "# Installed into .venv by run.sh. A database's driver: write e.g. psycopg[binary] on a line of its own.\n"
    checkout = Path(api2db.__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return f"{head}--editable {json.dumps(str(checkout)) if ' ' in str(checkout) else checkout}\n"
    try:
        origin = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        origin = None
    return f"{head}{requirement(origin)}\n"


def requirement(direct_url: str | None) -> str:
    """The line for pip that installs this api2db again; ``direct_url`` is what pip noted (PEP 610), if anything."""
    if direct_url is None:
        return f"{DISTRIBUTION}=={__version__}"
    origin = json.loads(direct_url)
    if "vcs_info" in origin:
        return f"{DISTRIBUTION} @ {origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
    return f"{DISTRIBUTION} @ {origin['url']}"

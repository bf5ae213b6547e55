"""``if_exists="replace"`` against append, for each database: a full table's rows are replaced by as many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.context import Context, module, say
from bench.table import Line

DATABASES = ("PostgreSQL", "MariaDB", "SQLite")


def run(context: Context) -> list[Line]:
    return [line for name in DATABASES for line in compare(context, name)]


def compare(context: Context, name: str) -> list[Line]:
    append: list[float] = []
    replace: list[float] = []
    for number in range(context.runs):
        for speeds, option in ((append, "append"), (replace, "replace")):
            with database(context, name) as url:
                speeds.append(context.rows / module("bench.load", url, context.rows, option)["seconds"])
        say(f"replace {name} {number + 1}: append {append[-1]:,.0f} rows/s, replace {replace[-1]:,.0f}")
    return [Line(f"replace {name}", replace, "rows/s", 0.6, at_least=True, peer=append, peer_name="append")]


@contextmanager
def database(context: Context, name: str) -> Iterator[str]:
    """The URL of a new one."""
    if name == "PostgreSQL":
        with context.database() as db:
            yield context.postgres.url(db)
    elif name == "MariaDB":
        with context.mariadb_database() as db:
            yield context.mariadb.url(db)
    else:
        file = context.folder / "replace.sqlite"
        yield f"sqlite:///{file}"
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()

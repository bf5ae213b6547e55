"""What a workload is handed: how often and how much, a server, a folder, the peers' Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from tests.mariadb import OwnMariaDB
from tests.servers import OwnPostgres

REPOSITORY = Path(__file__).parents[1]
# A child that takes longer hangs.
TIMEOUT_S = 1800.0


@dataclass
class Context:
    """runs, rows   rounds of each workload, rows of each load
    folder          temporary, removed at the end
    peer_python     an interpreter that has the peers
    """

    runs: int
    rows: int
    folder: Path
    peer_python: Callable[[], Path]

    @cached_property
    def postgres(self) -> OwnPostgres:
        """A server of our own, started when first asked for. It keeps the time of each COMMIT."""
        server = OwnPostgres()
        try:
            server.start()
            server.psql("ALTER SYSTEM SET track_commit_timestamp = on")
            server.stop()
            server.start()
        except BaseException:
            server.close()
            raise
        return server

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database in it; what the one before left to be written is on disk."""
        name = self.postgres.create_database()
        self.postgres.psql("CHECKPOINT")
        try:
            yield name
        finally:
            self.postgres.drop_database(name)

    @cached_property
    def mariadb(self) -> OwnMariaDB:
        """The same of MariaDB."""
        server = OwnMariaDB()
        try:
            server.start()
        except BaseException:
            server.close()
            raise
        return server

    @contextmanager
    def mariadb_database(self) -> Iterator[str]:
        """A new database in it."""
        name = self.mariadb.create_database()
        try:
            yield name
        finally:
            self.mariadb.drop_database(name)

    def close(self) -> None:
        for server in ("postgres", "mariadb"):
            if server in self.__dict__:
                getattr(self, server).close()


def child(command: Sequence[str | Path], **options: Any) -> Any:
    """Run a process to its end; what it says in its last line, as JSON."""
    done = subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_S, **options
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def module(name: str, *arguments: object) -> Any:
    """The same for one of our modules, in a fresh interpreter."""
    return child([sys.executable, "-m", name, *map(str, arguments)])


def say(text: str) -> None:
    """Progress, beside the table."""
    click.echo(text, err=True)

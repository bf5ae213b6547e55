"""A real MariaDB for tests, as ``tests.servers`` has it: throw-away data, a free port, killed and started at will.

It is Debian's ``mariadb-server-core``; root gets it installed where it is missing, for others its tests are skipped.
API2DB_TEST_MARIADB_URL names a server that is already running instead; tests that would stop or kill it are skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from typing import Any

import pymysql
import pytest
from sqlalchemy import URL, make_url

from tests.server_process import ServerProcess, shared_folder
from tests.servers import free_port

READY = "ready for connections"
PACKAGE = "mariadb-server-core"
INSTALL_TIMEOUT_S = 600.0


class NoServer(RuntimeError):
    """There is none here, and it can't be installed."""


class MariaDB:
    """An administrator's view of one server: where it is, and databases made in it."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self._databases = itertools.count(1)
        self._prefix = f"t{secrets.token_hex(4)}"

    def url(self, db: str = "mysql") -> str:
        """An SQLAlchemy URL with the password in it."""
        url = URL.create("mariadb+pymysql", self.user, self.password, self.host, self.port, db)
        return url.render_as_string(hide_password=False)

    def connect(self, db: str = "mysql", **options: Any) -> Any:
        """An autocommit connection that quotes names as the other databases do; the caller closes it."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=db,
            **{"autocommit": True, "sql_mode": "ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES", **options},
        )

    def query(self, sql: str, db: str = "mysql") -> list[tuple[Any, ...]]:
        """Run one statement, committed; its rows, if it has any."""
        with contextlib.closing(self.connect(db)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def create_database(self) -> str:
        name = f"{self._prefix}_{next(self._databases)}"
        self.query(f'CREATE DATABASE "{name}"')
        return name

    def drop_database(self, name: str) -> None:
        self.query(f'DROP DATABASE IF EXISTS "{name}"')

    def start(self) -> None:
        """Nothing to do: it runs."""

    def stop(self) -> None:
        pytest.skip("this MariaDB is not ours to stop (API2DB_TEST_MARIADB_URL)")

    def kill(self) -> None:
        pytest.skip("this MariaDB is not ours to kill (API2DB_TEST_MARIADB_URL)")

    def close(self) -> None:
        """Leave it running."""


class OwnMariaDB(MariaDB):
    """A server of our own. ``start`` again after ``stop`` or ``kill``: same port, same data, recovered.

    Its character set is latin1: ours must not depend on what an old server was set up with.

    options  more of the server's own, such as ``--ssl-cert=…``
    """

    def __init__(self, *options: str) -> None:
        super().__init__("127.0.0.1", free_port(), "api2db_test", f"p@ss:/?#%{secrets.token_hex(4)}")
        self.program = mariadbd()
        self._options = options
        self._folder = shared_folder("api2db-mariadb-")
        self._data = self._folder / "data"
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        self._process = ServerProcess("MariaDB", READY, user="mysql", folder=self._folder, environment=environment)

    @property
    def running(self) -> bool:
        return self._process.pid is not None

    def start(self) -> None:
        """Start and wait until it answers; nothing to do if it runs. Commits are flushed, as where it matters."""
        if self.running:
            return
        if not self._data.exists():
            self._create()
        command = [
            self.program,
            "--no-defaults",
            f"--datadir={self._data}",
            f"--socket={self._folder / 'socket'}",
            f"--pid-file={self._folder / 'pid'}",
            f"--init-file={self._folder / 'init.sql'}",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            "--skip-name-resolve",
            "--local-infile=1",
            "--max-connections=200",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=1",
            "--character-set-server=latin1",
            *self._options,
        ]
        self._process.start(command)

    def stop(self) -> None:
        """Shut down in order, as an administrator would: open transactions are rolled back."""
        self._process.end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it: what a power cut leaves, but for the disk's cache."""
        self._process.end(signal.SIGKILL)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _create(self) -> None:
        """The data directory, and the statements that make our user, run at each start."""
        init = self._folder / "init.sql"
        init.write_text(
            f"CREATE USER IF NOT EXISTS {self.user} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {self.user} WITH GRANT OPTION;\n"
        )
        self._process.own(self._folder, init)
        self._process.run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self._data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )


def start_mariadb() -> MariaDB:
    """The server tests use: the one named by API2DB_TEST_MARIADB_URL, or a new one."""
    given = os.environ.get("API2DB_TEST_MARIADB_URL")
    if given:
        url = make_url(given)
        return MariaDB(url.host or "127.0.0.1", url.port or 3306, url.username or "", str(url.password or ""))
    try:
        server = OwnMariaDB()
    except NoServer as error:
        pytest.skip(str(error))
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def mariadbd() -> str:
    """The server's program; Debian's package of it is installed where it is missing and that can be done."""
    found = _find()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with open(f"{tempfile.gettempdir()}/api2db-tests-install.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes, and only one may install
            found = _find() or _install()
    if found is None:
        raise NoServer(f"no MariaDB: apt-get install {PACKAGE}")
    return found


def _install() -> str | None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", PACKAGE]):
        subprocess.run(["apt-get", *command], env=environment, check=True, timeout=INSTALL_TIMEOUT_S)
    return _find()


def _find() -> str | None:
    return shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

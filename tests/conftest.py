"""Fixtures shared by all tests. None starts anything until a test asks for it."""

from __future__ import annotations

import gc
import os
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from api2db import secret
from api2db.sources.net.hosts import OUTSIDE
from tests.bigquery import Emulator, start_emulator
from tests.http_api import HttpApi
from tests.mariadb import MariaDB, start_mariadb
from tests.omnisci.kit import Peer
from tests.servers import Postgres, start_postgres

# Time limits per example fail on a busy machine and say nothing about the code.
hypothesis.settings.register_profile("api2db", deadline=None)
hypothesis.settings.load_profile("api2db")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged may hold lone surrogates, which can't be told from one process of the tests to another."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def _no_settings_from_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person running the tests has set for their own daemon says nothing here."""
    for variable in list(os.environ):
        if variable.startswith(("API2DB_", "EARTHQUAKES_")) and not variable.startswith("API2DB_TEST_"):
            monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def _no_credentials_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process hides all credentials it has read; those of another test are no part of this one's messages."""
    monkeypatch.setattr(secret, "_known", secret._Known())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    server = start_postgres()
    yield server
    server.close()


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """A running PostgreSQL server, shared by all tests; one that stops or kills it may leave it so."""
    postgres_server.start()
    return postgres_server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The name of a fresh, empty database on ``postgres``."""
    name = postgres.create_database()
    yield name
    postgres.start()
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    server = start_mariadb()
    yield server
    server.close()


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> MariaDB:
    """A running MariaDB server, shared by all tests; one that stops or kills it may leave it so."""
    mariadb_server.start()
    return mariadb_server


@pytest.fixture
def mariadb_database(mariadb: MariaDB) -> Iterator[str]:
    """The name of a fresh, empty database on ``mariadb``."""
    name = mariadb.create_database()
    yield name
    mariadb.start()
    mariadb.drop_database(name)


@pytest.fixture(autouse=True)
def unused_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's budget is the process's; another test's server of the same port isn't that host."""
    monkeypatch.setattr(OUTSIDE, "_hosts", {})


@pytest.fixture
def no_collection() -> Iterator[None]:
    """For what goes to the limit of recursion: a finalizer of other tests' garbage run there fails."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def http_api() -> Iterator[HttpApi]:
    """A scriptable JSON API on 127.0.0.1."""
    with HttpApi() as api:
        yield api


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One for all processes of pytest-xdist: it takes seconds to start."""
    workers = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else None
    emulator = start_emulator(workers)
    yield emulator
    emulator.close()


@pytest.fixture
def bigquery(bigquery_server: Emulator) -> Emulator:
    """A running BigQuery emulator behind a front, shared by all tests; one that kills it may leave it so."""
    bigquery_server.start()
    bigquery_server.front.calm()
    bigquery_server.storage.calm()
    return bigquery_server


@pytest.fixture(scope="session")
def peer_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    peer = Peer(tmp_path_factory.mktemp("peer"))
    yield peer
    peer.kill()


@pytest.fixture
def peer(peer_server: Peer) -> Peer:
    """HeavyDB's peer, running, empty and without a fault, shared by all tests; one that kills it may leave it so."""
    peer_server.clear()
    return peer_server


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 16 MB, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "small"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=777", "tmpfs", str(folder)], check=True)
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)

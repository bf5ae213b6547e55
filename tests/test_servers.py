"""The fixtures themselves: a test bed that lies would prove nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import requests

from tests.http_api import HANG, HTML, RESET, SERVER_ERROR, TRUNCATED, HttpApi
from tests.servers import OwnPostgres, Postgres, alive, child_pids


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def test_each_test_gets_a_database_of_its_own(postgres: Postgres, database: str) -> None:
    postgres.psql("CREATE TABLE t (x int); INSERT INTO t VALUES (1), (2)", database)
    assert postgres.psql("SELECT count(*) FROM t", database) == [(2,)]
    assert postgres.create_database() != database


def test_the_server_demands_its_password_and_flushes_commits(postgres: Postgres) -> None:
    assert postgres.psql("SHOW fsync") == [("on",)]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=postgres.host, port=postgres.port, user=postgres.user, password="wrong")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_stopped_or_killed_comes_back_with_what_was_committed(
    postgres: Postgres, database: str, end: str
) -> None:
    postgres.psql("CREATE TABLE t (x int)", database)
    postgres.psql("INSERT INTO t VALUES (7)", database)
    open_connection = postgres.connect(database)
    open_connection.execute("BEGIN")
    open_connection.execute("INSERT INTO t VALUES (8)")
    getattr(postgres, end)()
    with pytest.raises(psycopg.OperationalError):
        open_connection.execute("COMMIT")
    open_connection.close()
    with pytest.raises(psycopg.OperationalError):
        postgres.connect()
    postgres.start()
    assert postgres.psql("SELECT x FROM t", database) == [(7,)]


def test_killing_leaves_no_process_behind(postgres: Postgres) -> None:
    if not isinstance(postgres, OwnPostgres):
        pytest.skip("not ours to kill")
    assert postgres.pid is not None
    children = child_pids(postgres.pid)
    assert children
    postgres.kill()
    assert not [pid for pid in children if alive(pid)]


def test_the_api_serves_pages_and_what_is_newer(http_api: HttpApi, session: requests.Session) -> None:
    http_api.add(*({"id": number, "updated": number} for number in range(5)))
    assert [record["id"] for record in _get(session, http_api, page=2, size=2)] == [2, 3]
    assert _get(session, http_api, page=4, size=2) == []
    assert [record["id"] for record in _get(session, http_api, since=2)] == [3, 4]
    assert len(_get(session, http_api)) == 5
    assert [request.params.get("page") for request in http_api.requests] == ["2", "4", None, None]


def test_the_api_misbehaves_as_scripted_once_each(http_api: HttpApi, session: requests.Session) -> None:
    http_api.add({"id": 1})
    http_api.script(SERVER_ERROR, HTML, TRUNCATED, RESET)
    assert session.get(http_api.url, timeout=5).status_code == 500
    with pytest.raises(requests.JSONDecodeError):
        session.get(http_api.url, timeout=5).json()
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        requests.get(http_api.url, timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.get(http_api.url, timeout=5)
    assert _get(session, http_api) == [{"id": 1}]


def test_the_api_hangs_until_released(http_api: HttpApi, session: requests.Session) -> None:
    http_api.script(HANG)
    with pytest.raises(requests.ReadTimeout):
        requests.get(http_api.url, timeout=0.05)
    http_api.wait_for_requests(1)
    http_api.release()
    assert _get(session, http_api) == []
    http_api.hang()
    with pytest.raises(requests.ReadTimeout):
        requests.get(http_api.url, timeout=0.05)
    http_api.release()
    assert _get(session, http_api) == []


def _get(session: requests.Session, api: HttpApi, **params: int) -> list[dict[str, int]]:
    response = session.get(api.url, params=params, timeout=5)
    response.raise_for_status()
    records: list[dict[str, int]] = response.json()
    return records

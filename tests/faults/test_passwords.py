"""A password that is changed or mended while the daemon runs is read anew: nobody has to start it again."""

from __future__ import annotations

import json
import os
import sys

import pytest
from sqlalchemy import make_url

from tests import warm
from tests.http_api import HttpApi
from tests.log_kit import Bench, rows
from tests.project_kit import REPOSITORY, eventually

NUMBERS = """
    import os
    import requests
    from api2db import Cursor, collector

    @collector(every=0.05, to=["warehouse"])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 50}, timeout=10)
        response.raise_for_status()
        yield response.json()
"""
ONCE = """
    from api2db import collector

    @collector(every=3600, to=["database"])
    def numbers():
        return []
"""
FIRST, SECOND = "the f1rst: p@ss", "the s3cond: p@ss"

ROLE = {
    "postgresql": ["CREATE ROLE {user} LOGIN PASSWORD '{password}'", 'ALTER DATABASE "{db}" OWNER TO {user}'],
    "mariadb": ["CREATE USER {user} IDENTIFIED BY '{password}'", 'GRANT ALL ON "{db}".* TO {user}'],
}
CHANGE = {
    "postgresql": "ALTER ROLE {user} PASSWORD '{password}'",
    "mariadb": "ALTER USER {user} IDENTIFIED BY '{password}'",
}
END = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'",
    "mariadb": "KILL USER {user}",
}
GONE = {
    "postgresql": ["REASSIGN OWNED BY {user} TO CURRENT_USER", "DROP OWNED BY {user}", "DROP ROLE {user}"],
    "mariadb": ["DROP USER {user}"],
}


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_password_that_is_mended_or_changed_is_used_without_a_restart(kind, request, tmp_path):
    postgresql = kind == "postgresql"
    server = request.getfixturevalue("postgres" if postgresql else "mariadb")
    db = request.getfixturevalue("database" if postgresql else "mariadb_database")
    names = {"user": f"changing_{db}"[:30], "db": db}
    ask = server.psql if postgresql else server.query

    def run(*statements, password=FIRST):
        for statement in statements:
            ask(statement.format(password=password, **names), db)

    run(*ROLE[kind])
    project = Bench(tmp_path, numbers=NUMBERS)
    auth = tmp_path / "AUTH" / "warehouse.json"
    auth.parent.mkdir()

    def write(password):
        url = make_url(server.url(db)).set(username=names["user"], password=password)
        auth.write_text(json.dumps({"url": url.render_as_string(hide_password=False)}))
        auth.chmod(0o600)

    try:
        with HttpApi([{"id": n} for n in range(1, 101)], since_field="id") as api:
            write("n0t-the-password")
            process = project.start(env={"URL": api.url})
            eventually(lambda: "stream stopped" in project.console)
            eventually(lambda: project.journal("SELECT sum(rows) FROM batches") == [(100,)])
            write(FIRST)
            project.command("shards", "retry", "numbers")
            eventually(lambda: not project.waiting(), what="rows with the mended password")

            write(SECOND)
            run(CHANGE[kind], password=SECOND)
            run(END[kind])
            api.add(*({"id": n} for n in range(101, 201)))
            eventually(lambda: project.journal("SELECT sum(rows) FROM deliveries") == [(200,)])
            assert project.stop(process) == 0
            assert project.console.count("credentials read anew") == 2
            assert project.console.count("stream stopped") == 1
            for secret in ("n0t-the-password", FIRST, SECOND):
                assert secret not in project.console
        assert ask("SELECT count(*), count(DISTINCT id) FROM numbers", db) == [(200, 200)]
    finally:
        project.close()
        run(*GONE[kind])


@pytest.fixture
def role(postgres, database):
    """A user of the database, and who writes the file of its credentials."""
    user = f"mended_{database}"[:30]
    names = {"user": user, "db": database, "password": FIRST}
    for statement in ROLE["postgresql"]:
        postgres.psql(statement.format(**names), database)

    def write(path, password):
        url = make_url(postgres.url(database)).set(username=user, password=password)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"url": url.render_as_string(hide_password=False)}))
        path.chmod(0o600)

    yield write
    for statement in GONE["postgresql"]:
        postgres.psql(statement.format(**names), database)


def test_a_place_filled_by_a_replay_is_reached_with_a_mended_password_without_a_restart(
    tmp_path, role, postgres, database
):
    project = Bench(tmp_path, numbers=ONCE)
    project.collect("numbers", rows(1), rows(2))
    role(tmp_path / "AUTH" / "copy.json", "n0t-the-password")
    process = project.start()
    try:
        project.ready(process)
        assert "password" in project.command("replay", "numbers", "--to", "copy", status=1)["text"]
        role(tmp_path / "AUTH" / "copy.json", FIRST)
        project.command("replay", "numbers", "--to", "copy")
        eventually(lambda: not project.waiting(), what="rows with the mended password")
        assert project.stop(process) == 0
    finally:
        project.close()
    assert postgres.psql("SELECT count(*), count(DISTINCT id) FROM numbers", database) == [(2, 2)]


def test_a_scripts_stream_goes_in_with_a_mended_password(tmp_path, role, postgres, database):
    path, wrong, right = tmp_path / "AUTH" / "w.json", tmp_path / "wrong.json", tmp_path / "right.json"
    role(wrong, "n0t-the-password")
    role(right, FIRST)
    script = f"""
import pathlib, pandas as pd
from api2db.stream import Stream2Sql

auth = pathlib.Path("AUTH/w.json")
auth.parent.mkdir()
auth.touch(0o600)
auth.write_text(pathlib.Path("wrong.json").read_text())
levels = Stream2Sql("levels", {database!r}, "postgresql", auth_path="AUTH/w.json")
levels.stream(pd.DataFrame({{"n": [1]}}))
assert not levels.connected
auth.write_text(pathlib.Path("right.json").read_text())
levels.stream(pd.DataFrame({{"n": [2]}}))
assert levels.connected
"""
    (tmp_path / "script.py").write_text(script)
    done = warm.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not path.read_text().count("n0t-the-password")
    assert postgres.psql("SELECT n FROM levels ORDER BY n", database) == [(1,), (2,)]

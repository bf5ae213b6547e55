"""Killed between a row and its children: after a restart each table has the newest of both, and nothing besides."""

from __future__ import annotations

import signal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import make_url

from tests.contract.places import MariaDBPlace
from tests.http_api import HttpApi
from tests.project_kit import TIMEOUT_S, Project, eventually

COLLECTOR = """
    import os
    import requests
    from api2db import Children, Cursor, collector

    @collector(
        every=0.02, to=["database", "warehouse", "maria"], key="key", version="id",
        children={"lines": Children("order.lines")},
    )
    def orders(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 7}, timeout=10)
        yield response.json()
"""
TEXT = "SELECT orders_key, _position, n, text FROM orders_lines ORDER BY 1, 2"


def record(number: int) -> dict[str, Any]:
    """Every 13th has a line that PostgreSQL can't hold and the others can."""
    text = "a\0b" if number % 13 == 0 else "text"
    return {"id": number, "key": number % 11, "order": {"lines": [{"n": number, "text": text}] * (number % 4)}}


def lines(numbers: list[int]) -> list[tuple[int, int, int, str]]:
    """What of so many records is in the table of lines in the end."""
    newest = {number % 11: record(number)["order"]["lines"] for number in numbers}
    return [(key, at, one["n"], one["text"]) for key in sorted(newest) for at, one in enumerate(newest[key])]


def mend(project: Project) -> None:
    """What is in quarantine, without what PostgreSQL can't hold."""
    for path in project.store.glob("quarantine/orders/sql.postgresql/*.parquet"):
        table = pq.read_table(path)
        rows = [
            {**row, "lines": [{**line, "text": line["text"].replace("\0", "")} for line in row["lines"]]}
            for row in table.to_pylist()
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_killed_between_a_row_and_its_children_both_are_there_or_neither(
    tmp_path, postgres, database, mariadb, mariadb_database
):
    maria = MariaDBPlace(make_url(mariadb.url(mariadb_database)))
    toml = f'[places.warehouse]\nurl = "{postgres.url(database)}"\n'
    toml += f'[places.maria]\nurl = "{maria.url.render_as_string(hide_password=False)}"\n'
    with HttpApi([record(n) for n in range(1, 41)], since_field="id") as api:
        project, env = Project(tmp_path, toml=toml, orders=COLLECTOR), {"URL": api.url}
        try:
            for point in ("sink.children:2", "sink.children:5"):
                process = project.start(env={**env, "API2DB_FAILPOINT": point})
                assert process.wait(TIMEOUT_S) == -signal.SIGKILL, project.console
                api.add(*(record(n) for n in range(api.count() + 1, api.count() + 41)))
            process = project.start(env=env)
            project.ready(process)
            accepted = "SELECT sum(rows) FROM batches"
            eventually(lambda: project.journal(accepted) == [(120,)] and not project.waiting(), what="120 rows")
            assert project.stop(process) == 0
            everything = list(range(1, 121))
            assert project.sqlite(TEXT) == lines(everything)
            assert list(maria.query(TEXT)) == lines(everything)
            with postgres.connect(database) as connection:
                # A row whose line is refused is in quarantine with it: what was there of its key stays.
                assert connection.execute(TEXT).fetchall() == lines(
                    [n for n in everything if n % 13 or not record(n)["order"]["lines"]]
                )
            mend(project)
            assert project.asked("replay", "orders", "--from", "quarantine", env=env)["rows"] > 0
            with postgres.connect(database) as connection:
                rows = connection.execute(TEXT).fetchall()
            assert rows == [(*row[:3], row[3].replace("\0", "")) for row in lines(everything)]
            assert project.asked("audit", env=env)["holds"]
        finally:
            project.close()

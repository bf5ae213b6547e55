"""DuckDB in the daemon: killed while it loads, and set back to an older copy of its file, it is whole again."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import closing

from api2db.sinks.duck_connection import open_file
from tests.http_api import HttpApi
from tests.project_kit import TIMEOUT_S, Project, eventually

COLLECTOR = """
    import os
    import requests
    from api2db import Cursor, collector

    @collector(every=0.02, to=["lake"])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 20}, timeout=10)
        yield response.json()
"""
LAKE = """
    [places.lake]
    dialect = "duckdb"
    db_name = "lake.duckdb"
    batch_column = "_batch_id"
"""


def ids(project: Project) -> list[int]:
    with closing(open_file(project.folder / "lake.duckdb", read_only=True, timeout_s=TIMEOUT_S)) as lake:
        return [number for (number,) in lake.held.execute("SELECT id FROM numbers ORDER BY id").fetchall()]


def delivered(project: Project, count: int) -> None:
    """Wait until so many rows are accepted and nothing waits."""
    accepted = "SELECT sum(rows) FROM batches"
    eventually(lambda: project.journal(accepted) == [(count,)] and not project.waiting(), what=f"{count} rows")


def test_killed_while_it_loads_duckdb_and_set_back_to_an_older_copy_every_row_is_there_once(tmp_path):
    with HttpApi([{"id": n} for n in range(1, 61)], since_field="id") as api:
        project, env = Project(tmp_path, toml=LAKE, numbers=COLLECTOR), {"URL": api.url}
        try:
            for point in ("sink.ledger:1", "sink.loaded:2", "sink.committed:1"):
                process = project.start(env={**env, "API2DB_FAILPOINT": point})
                assert process.wait(TIMEOUT_S) == -signal.SIGKILL, project.console
                api.add(*({"id": n} for n in range(api.count() + 1, api.count() + 41)))
            process = project.start(env=env)
            delivered(project, 180)
            assert ids(project) == list(range(1, 181))
            shutil.copy(tmp_path / "lake.duckdb", tmp_path / "older")
            api.add(*({"id": n} for n in range(181, 221)))
            delivered(project, 220)
            assert project.stop(process) == 0
            assert ids(project) == list(range(1, 221))
            os.replace(tmp_path / "older", tmp_path / "lake.duckdb")
            assert ids(project) == list(range(1, 181))
            project.asked("replay", "numbers", env=env)
            assert ids(project) == list(range(1, 221))
            assert project.asked("audit", "--deep", env=env)["holds"]
        finally:
            project.close()

"""if_exists="replace" and SIGKILL: a table always holds one whole poll, and the newest one in the end."""

from __future__ import annotations

import operator
import signal

import pytest

from tests.project_kit import Project, eventually

COLLECTOR = """
    import os
    from pathlib import Path
    from api2db import collector
    from api2db.stream import Stream2Sql

    polls = Path("polls")

    @collector(every=0.05, to=[
        Stream2Sql("levels", url="sqlite:///STORE/database.sqlite", if_exists="replace"),
        Stream2Sql("levels", url=os.environ["WAREHOUSE"], if_exists="replace"),
        Stream2Sql("levels", url=os.environ["MARIADB"], if_exists="replace"),
    ])
    def levels():
        number = int(polls.read_text()) + 1 if polls.exists() else 1
        Path("polls.new").write_text(str(number))
        os.replace("polls.new", polls)
        for item in range(3):
            yield [{"poll": number, "item": item, "row": row} for row in range(number % 4 + 1)]
        if number % 5 == 0:
            raise OSError("the API ends in the middle")
"""
POINTS = (
    "spool.renamed", "spool.fanned_out", "sink.ledger", "sink.loaded", "sink.committed", "journal.delivered",
    "spool.settled", "spool.acked",
)  # fmt: skip


def whole(rows: list[tuple[int, int]]) -> int:
    """The poll that a table holds, item by item with the number of rows of each; 0 for none yet."""
    if not rows:
        return 0
    number = rows[0][0]
    assert sorted(rows) == [(number, item) for item in range(3) for _ in range(number % 4 + 1)]
    assert number % 5 != 0, "that poll never ended"
    return number


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_a_replaced_table_holds_one_whole_poll(
    tmp_path, postgres, database, mariadb, mariadb_database, point
):
    """At its first pass, where all is new, and again in the life after that, among other polls."""
    project = Project(tmp_path, levels=COLLECTOR)
    env = {"WAREHOUSE": postgres.url(database), "MARIADB": mariadb.url(mariadb_database)}

    def held() -> tuple[int, int, int]:
        lite = project.sqlite("SELECT poll, item FROM levels")
        with postgres.connect(database) as connection:
            there = connection.execute("SELECT to_regclass('levels') IS NOT NULL").fetchone()
            assert there is not None
            post = connection.execute("SELECT poll, item FROM levels").fetchall() if there[0] else []
        maria: list[tuple[int, int]] = []
        if mariadb.query("SHOW TABLES LIKE 'levels'", mariadb_database):
            maria = mariadb.query("SELECT poll, item FROM levels", mariadb_database)
        return whole(lite), whole(post), whole(maria)

    try:
        before = (0, 0, 0)
        for passes in (1, 7):
            process = project.start(env={**env, "API2DB_FAILPOINT": f"{point}:{passes}"})
            assert process.wait(60) == -signal.SIGKILL, f"{point}:{passes} was not reached: {project.console}"
            now = held()
            assert all(map(operator.le, before, now)), "an older poll came back"
            before = now
        # While nobody writes it.
        polls = tmp_path / "polls"
        goal = (int(polls.read_text()) if polls.exists() else 0) + 6
        process = project.start(env=env)
        project.ready(process)
        eventually(lambda: min(held()) >= goal, what="newer polls in all tables")
        assert project.stop(process) == 0
        after = held()
        assert min(after) >= max(before)
        # Polls that ended are newer than what waits, and what never ended is not loaded by halves.
        outcomes = dict(project.journal("SELECT outcome, count(*) FROM deliveries GROUP BY outcome"))
        assert set(outcomes) <= {"loaded", "superseded", "waiting"}
    finally:
        project.close()

"""Several daemons, each with a STORE of its own, feed one table: each row once, the newest version of each key."""

from __future__ import annotations

import random
import threading

from tests.http_api import HttpApi
from tests.project_kit import Project, eventually

FEED = """
    import os
    import requests
    from api2db import Cursor, collector

    def fetch(since):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 20}, timeout=10)
        yield response.json()

    @collector(every=0.03, to=["shared"])
    def events(since=Cursor("id", start=0)):
        return fetch(since)

    @collector(every=0.03, to=["shared"], key="key", version="id")
    def latest(since=Cursor("id", start=0)):
        return fetch(since)
"""


def test_three_daemons_feed_one_table_while_they_are_killed(tmp_path, postgres, database):
    toml = f'[places.shared]\nurl = "{postgres.url(database)}"\n'
    # Daemon d has the numbers that leave d when divided by 3; all have the same 17 keys.
    apis = [
        HttpApi([{"id": n, "key": n % 17, "from": d} for n in range(d, 900, 3) if n], since_field="id")
        for d in range(3)
    ]
    projects = [Project(tmp_path / f"daemon{d}", toml=toml, feed=FEED) for d in range(3)]
    rng = random.Random(7)
    try:
        running = [project.start(env={"URL": api.url}) for project, api in zip(projects, apis, strict=True)]
        for _ in range(6):
            threading.Event().wait(rng.uniform(0.1, 0.6))  # the moment of the kill is what is random here
            d = rng.randrange(3)
            running[d].kill()
            running[d].wait()
            running[d] = projects[d].start(env={"URL": apis[d].url})
        for d, project in enumerate(projects):
            project.ready(running[d])
            mine = len(range(d, 900, 3)) - (d == 0)
            rows = "SELECT sum(rows) FROM batches GROUP BY collector"
            eventually(lambda project=project, mine=mine, rows=rows: project.journal(rows) == [(mine,), (mine,)])
            eventually(lambda project=project: not project.waiting())
        assert [project.stop(process) for project, process in zip(projects, running, strict=True)] == [0, 0, 0]
    finally:
        for each in [*projects, *apis]:
            each.close()
    with postgres.connect(database) as connection:
        events = connection.execute('SELECT id, "from" FROM events ORDER BY id').fetchall()
        latest = dict(connection.execute("SELECT key, id FROM latest").fetchall())
    assert events == [(n, n % 3) for n in range(1, 900)]
    assert latest == {n % 17: n for n in range(1, 900)}

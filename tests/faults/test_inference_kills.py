"""SIGKILL anywhere: found types never go back, and a row that doesn't fit is held once, not lost."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.project_kit import Project, eventually

POLLS = 24
COLLECTOR = f"""
    from api2db import Page, collector

    @collector(every=0.01, to=["database", "files"])
    def readings(page):
        n = page or 0
        if n < {POLLS}:
            odd = "n/a" if n % 5 == 3 else n
            yield Page([{{"id": n, "v": 0.5 if n == 11 else n}}, {{"id": 1000 + n, "v": odd}}], n + 1)
"""
ODD = [n for n in range(POLLS) if n % 5 == 3]


@pytest.mark.parametrize(
    ("point", "number"),
    [
        *(("spool.renamed", number) for number in (1, 2, 12, 13)),
        *(("spool.fanned_out", number) for number in (1, 12, 13)),
        *(("spool.settled", number) for number in (1, 2, 13)),
        *(("quarantine.held", number) for number in (1, 3)),
    ],
)
def test_a_killed_daemon_knows_its_types_and_holds_each_odd_row_once(tmp_path, point, number):
    project = Project(tmp_path, readings=COLLECTOR)
    killed = project.start(env={"API2DB_FAILPOINT": f"{point}:{number}"})
    assert killed.wait(60) == -9
    process = project.start()
    project.ready(process)
    state = project.store / "state" / "readings.json"
    eventually(lambda: json.loads(state.read_bytes())["cursor"] == str(POLLS) and not project.waiting())
    assert project.stop(process) == 0
    expected = [*range(POLLS), *(1000 + n for n in range(POLLS) if n not in ODD)]
    assert [i for (i,) in project.sqlite("SELECT id FROM readings ORDER BY id")] == expected
    assert sorted(project.files("readings", "id")) == expected
    files = sorted((project.store / "readings" / "parquet").glob("*.parquet"))
    types = [pq.read_schema(path).field("v").type for path in files]
    assert types == [pa.int64()] * 11 + [pa.float64()] * (POLLS - 11)
    held = (project.store / "quarantine" / "readings" / "held").glob("*.jsonl")
    rows = [json.loads(line)["row"] for path in held for line in path.read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == [1000 + n for n in ODD]
    project.close()

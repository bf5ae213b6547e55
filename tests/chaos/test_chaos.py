"""``api2db chaos``: the real command on a project, its real daemon killed; then the rows, counted here as well."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from api2db.chaos.count import Counted, count
from api2db.chaos.scratch import Plan, Scratch, make
from api2db.cli.here import Here
from api2db.errors import ConfigError
from tests import warm
from tests.http_api import HttpApi
from tests.project_kit import REPOSITORY, Project

NUMBERS = """
    import os
    import requests
    from api2db import Cursor, collector
    from api2db.stream import Stream2Local, Stream2Sql

    @collector(every=0.05, to=["warehouse", "files", "folder",
                               Stream2Sql("numbers", db_name="real/in_code.sqlite", dialect="sqlite")])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 20}, timeout=10)
        yield response.json()

    @collector(every=0.05, to=["warehouse"], key="key", version="id")
    def latest(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 20}, timeout=10)
        yield response.json()
"""
TOML = """
    [places.warehouse]
    dialect = "sqlite"
    db_name = "real/warehouse.sqlite"
    [places.folder]
    type = "local"
    path = "real/folder"
"""
ROWS = 400
# A kill between loading and COMMIT, one at a random moment, one after SIGTERM, and a disk that is full.
SEED, FAULTS = 504, 4

pytestmark = pytest.mark.timeout(300)


@dataclass
class Attacked:
    project: Path
    scratch: Path
    status: int
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    folder = tmp_path_factory.mktemp("attacked")
    project = Project(folder / "mine", toml=TOML, numbers=NUMBERS)
    (folder / "tmp").mkdir()
    command = f"chaos --faults {FAULTS} --seed {SEED} --keep --json".split()
    with HttpApi([{"id": n, "key": n % 7} for n in range(1, ROWS + 1)], since_field="id") as api:
        env = {k: v for k, v in os.environ.items() if not k.startswith("API2DB_")}
        env |= {"URL": api.url, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(REPOSITORY)}
        done = warm.run(
            [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(project.folder), *command],
            env=env, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
    assert done.stdout, done.stderr
    assert "REALLY POLLED" in done.stderr
    answer = json.loads(done.stdout)
    return Attacked(project.folder, Path(answer["scratch"]), done.returncode, answer)


def test_where_nothing_was_accepted_nothing_is_said_to_hold(tmp_path: Path) -> None:
    silent = "from api2db import collector\n\n@collector(every=0.5)\ndef silent():\n    return None\n"
    project = Project(tmp_path, silent=silent)
    done = warm.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(project.folder),
         "chaos", "--faults", "1", "--seed", "5"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "NOTHING IS PROVEN" in done.stdout
    assert "HOLDS" not in done.stdout


def scratch_of(attacked: Attacked) -> Scratch:
    return Scratch(Plan.read(attacked.scratch))


def line(attacked: Attacked, stream: str, place: str) -> Counted:
    return next(one for one in count(scratch_of(attacked)) if one.stream.startswith(stream) and place in one.target)


def database(attacked: Attacked, collector: str) -> Path:
    targets = {one.stream: one.target for one in count(scratch_of(attacked))}
    return Path(targets[f"{collector}/sql.sqlite"].removeprefix("sqlite:///").rpartition("/")[0])


def execute(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql).fetchall()


def test_after_the_faults_nothing_is_lost_or_doubled_and_it_says_so(attacked: Attacked) -> None:
    answer = attacked.answer
    assert (attacked.status, answer["holds"]) == (0, True)
    assert (answer["lost"], answer["doubled"], answer["helped"], answer["audit"]["holds"]) == (0, 0, 0, True)
    assert {kind: tally["count"] for kind, tally in answer["faults"].items()} == {
        "kill": 1, "kill at a point": 1, "kill while it stops": 1, "disk full": 1,
    }  # fmt: skip
    (hit,) = answer["faults"]["kill at a point"]["hits"]
    assert hit.removesuffix(", in recovery") == "at sink.loaded"
    assert len(answer["streams"]) == 5


def test_its_count_is_that_of_the_places_themselves(attacked: Attacked) -> None:
    told = {(one["stream"], one["target"]): one for one in attacked.answer["streams"]}
    for (stream, target), one in told.items():
        if target.startswith("sqlite:"):
            path, _, table = target.removeprefix("sqlite:///").rpartition("/")
            ids = [n for (n,) in execute(Path(path), f"SELECT id FROM {table} ORDER BY id")]
        else:
            ids = sorted(n for file in Path(target).glob("*") for n in pq.read_table(file)["id"].to_pylist())
        assert one["found"] == len(ids) > 0
        if stream.startswith("numbers/"):
            # Every row the source gave, up to where its cursor is, once.
            assert ids == list(range(1, one["accepted"] + 1))


def test_the_projects_own_places_and_store_are_not_touched(attacked: Attacked) -> None:
    assert sorted(path.name for path in attacked.project.iterdir()) == ["api2db.toml", "collectors", "main.py"]


def test_a_row_that_is_missing_or_there_twice_is_found(attacked: Attacked) -> None:
    path = database(attacked, "numbers")
    execute(path, "CREATE TABLE spare AS SELECT * FROM numbers WHERE id <= 3")
    execute(path, "DELETE FROM numbers WHERE id <= 3")
    found = next(one for one in count(scratch_of(attacked)) if str(path) in one.target and one.stream[0] == "n")
    assert (found.lost, found.doubled) == (3, 0)
    execute(path, "INSERT INTO numbers SELECT * FROM spare")
    execute(path, "INSERT INTO numbers SELECT * FROM spare WHERE id = 1")
    found = next(one for one in count(scratch_of(attacked)) if str(path) in one.target and one.stream[0] == "n")
    assert (found.lost, found.doubled) == (0, 1)
    execute(path, "DELETE FROM numbers WHERE rowid = (SELECT max(rowid) FROM numbers)")


def test_a_file_that_is_missing_is_found(attacked: Attacked) -> None:
    folder = Path(line(attacked, "numbers/local", "/folder").target)
    file = min(folder.glob("*.parquet"))
    rows, kept = pq.read_metadata(file).num_rows, file.read_bytes()
    file.unlink()
    assert line(attacked, "numbers/local", "/folder").lost == rows
    file.write_bytes(kept)


def test_a_stream_with_code_of_its_own_is_refused_before_anything_runs(tmp_path: Path) -> None:
    project = Project(
        tmp_path / "mine",
        own="""
            from api2db import collector
            from api2db.stream import Stream2Sql

            class Mine(Stream2Sql):
                def stream(self, data):
                    super().stream(data)

            @collector(every=1, to=[Mine("mine", db_name="mine.sqlite", dialect="sqlite")])
            def mine():
                return []
        """,
    )
    (tmp_path / "scratch").mkdir()
    scratch = make(Here(project.folder, {}), tmp_path / "scratch", [], database=None, changes={})
    with pytest.raises(ConfigError, match="code of its own"):
        scratch.targets_of(scratch.collectors()[0])


@pytest.mark.parametrize(("names", "why"), [(["nubmers"], "numbers"), ([], "nothing to attack")])
def test_what_cannot_be_attacked_is_said(tmp_path: Path, names: list[str], why: str) -> None:
    project = Project(tmp_path / "mine", **({"numbers": NUMBERS} if names else {}))
    (tmp_path / "scratch").mkdir()
    with pytest.raises(ConfigError, match=why):
        make(Here(project.folder, {}), tmp_path / "scratch", names, database=None, changes={})

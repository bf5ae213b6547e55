"""SIGKILL while files are written, updated and replaced: after a restart each row is in each of them once."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import pytest

from api2db.formats import FORMATS, load_dtypes
from tests.http_api import HttpApi
from tests.project_kit import Project, eventually

# No row counts as a duplicate, so that one that is in a file twice is seen.
COLLECTOR = """
    import os
    import requests
    from api2db import Cursor, collector
    from api2db.stream import Stream2Local

    OUT = os.environ["OUT"]

    @collector(every=0.02, to=[
        Stream2Local("numbers", f"{OUT}/all.csv", "update", "csv", []),
        Stream2Local("numbers", f"{OUT}/all.parquet", "update", "parquet", []),
        Stream2Local("numbers", f"{OUT}/newest.pickle", "replace", "pickle", []),
        Stream2Local("numbers", f"{OUT}/shards", "shard", "json", []),
    ])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 7}, timeout=10)
        return response.json()
"""
POINTS = (
    "spool.fanned_out", "local.prepared", "journal.delivered", "spool.settled", "spool.dropping", "spool.acked",
    "local.publishing", "local.published",
)  # fmt: skip
ELSEWHERE = ("local.prepared", "spool.dropping", "local.publishing", "local.copied", "local.moved", "local.published")
COUNT = 150


def record(number: int) -> dict[str, object]:
    return {"id": number, "text": f"row {number}", "tags": [number % 3]}


class Watched:
    def __init__(self, folder: Path, out: Path, api: HttpApi) -> None:
        self.out = out
        self.api = api
        self.project = Project(folder, numbers=COLLECTOR)
        self.env = {"URL": api.url, "OUT": str(out)}

    def run_until_delivered(self, count: int) -> None:
        process = self.project.start(env=self.env)
        self.project.ready(process)
        accepted = "SELECT sum(rows) FROM batches"
        eventually(lambda: self.project.journal(accepted) == [(count,)], what=f"{count} rows accepted")
        eventually(lambda: not self.project.waiting(), what="an empty queue")
        assert self.project.stop(process) == 0, self.project.console

    def ids(self, *paths: Path) -> list[int]:
        dtypes = load_dtypes(self.project.folder / "CACHE" / "numbers_dtypes.json")
        frames = [FORMATS[path.suffix[1:]].decode(path.read_bytes(), dtypes) for path in paths]
        for frame in frames:
            assert frame.dtypes.astype(str).to_dict() == {"id": "Int64", "text": "string", "tags": "object"}
        return [number for frame in frames for number in frame["id"]]

    def check(self, count: int) -> None:
        everything = list(range(1, count + 1))
        assert self.ids(self.out / "all.csv") == everything
        assert self.ids(self.out / "all.parquet") == everything
        ((newest,),) = self.project.journal("SELECT rows FROM batches ORDER BY created_ns DESC LIMIT 1")
        assert self.ids(self.out / "newest.pickle") == everything[-newest:]
        assert self.ids(*sorted((self.out / "shards").glob("*.json"))) == everything
        assert not list(self.out.glob("**/.*")), "something was left on its way"
        # Accepted = loaded + superseded, batch by batch.
        outcomes = dict(
            self.project.journal(
                "SELECT outcome, sum(b.rows) FROM deliveries d JOIN batches b USING (batch_id) GROUP BY 1"
            )
        )
        assert sum(outcomes.values()) == 4 * count
        assert set(outcomes) <= {"loaded", "superseded"}
        ((loaded,),) = self.project.journal(
            "SELECT sum(rows) FROM deliveries WHERE outcome = 'loaded' AND stream NOT LIKE '%.pickle%'"
        )
        assert loaded == 3 * count


@pytest.fixture
def watched(tmp_path, request):
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm")) if request.param == "another file system" else None
    with HttpApi([record(n) for n in range(1, COUNT + 1)], since_field="id") as api:
        watched = Watched(tmp_path / "project", elsewhere or tmp_path / "out", api)
        yield watched
        watched.project.close()
    if elsewhere is not None:
        shutil.rmtree(elsewhere)


def killed_at(watched: Watched, point: str, passes: int) -> None:
    process = watched.project.start(env={**watched.env, "API2DB_FAILPOINT": f"{point}:{passes}"})
    assert process.wait(60) == -signal.SIGKILL, f"{point}:{passes} was not reached: {watched.project.console}"


@pytest.mark.parametrize("watched", ["one file system"], indirect=True)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_every_row_is_in_each_file_once(watched, point):
    """At its first pass, where all is new, and again in the life after that, among other batches."""
    killed_at(watched, point, 1)
    killed_at(watched, point, 6)
    watched.run_until_delivered(COUNT)
    watched.check(COUNT)


@pytest.mark.parametrize("watched", ["another file system"], indirect=True)
@pytest.mark.parametrize("point", ELSEWHERE)
def test_killed_on_the_way_to_another_file_system_every_row_is_in_each_file_once(watched, point):
    killed_at(watched, point, 2)
    watched.run_until_delivered(COUNT)
    watched.check(COUNT)


@pytest.mark.parametrize("watched", ["one file system", "another file system"], indirect=True)
def test_killed_many_times_at_random_every_row_is_in_each_file_once(watched):
    rng, count = random.Random(20260102), COUNT
    for _ in range(8):
        process = watched.project.start(env=watched.env)
        watched.project.ready(process)
        fresh = rng.randrange(20, 120)
        watched.api.add(*(record(n) for n in range(count + 1, count + fresh + 1)))
        count += fresh
        threading.Event().wait(rng.uniform(0.0, 0.6))  # the moment of the kill is what is random here
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
    watched.run_until_delivered(count)
    watched.check(count)


@pytest.mark.parametrize("watched", ["one file system", "another file system"], indirect=True)
def test_files_taken_away_while_the_daemon_was_dead_do_not_come_back(watched):
    watched.run_until_delivered(COUNT)
    for path in [*watched.out.glob("*.*"), *watched.out.glob("shards/*")]:
        path.unlink()
    process = watched.project.start(env=watched.env)
    watched.project.ready(process)
    watched.api.add(record(COUNT + 1))
    eventually(lambda: watched.project.journal("SELECT sum(rows) FROM batches") == [(COUNT + 1,)])
    eventually(lambda: not watched.project.waiting())
    assert watched.project.stop(process) == 0
    for path in (watched.out / "all.csv", watched.out / "all.parquet", watched.out / "newest.pickle"):
        assert watched.ids(path) == [COUNT + 1]
    assert watched.ids(*watched.out.glob("shards/*")) == [COUNT + 1]

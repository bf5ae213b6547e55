"""A project as 1.0.1 made it runs, is killed, goes on and is audited; one that pmake makes now works as it is."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from api2db.legacy.folder import Folder
from tests import warm
from tests.compat.feed import Feed
from tests.compat.kit import Program
from tests.http_api import Answer
from tests.legacy.kit import PYTHONPATH
from tests.project_kit import TIMEOUT_S, eventually


def api2db(tmp_path, folder, *arguments):
    """``api2db -C folder …``, from another folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    return warm.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(folder), *arguments],
        cwd=elsewhere,
        env={**os.environ, **PYTHONPATH, "API": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.fixture
def started(tmp_path):
    made = []

    def make(feed):
        folder = tmp_path / "project"
        folder.mkdir()
        program = Program(folder, "project", feed, sql_auth={"username": "u", "password": "p", "host": "h"})
        made.append(program)
        return program

    yield make
    for program in made:
        program.close()
        program.feed.close()


def test_a_project_of_1_0_1_is_killed_goes_on_and_is_audited_from_anywhere(tmp_path, started):
    def data(number, ids):
        return {"data": [{"id": key} for key in ids]}

    program = started(Feed(rain=data, sun=data))
    for folder in ("CACHE", "LOGS"):
        (program.folder / folder).mkdir()
    # 1.0.1's streams found their credentials against the folder they were started in.
    (program.folder / "apis" / "rain.py").write_text(
        (program.folder / "apis" / "rain.py")
        .read_text()
        .replace("streams = [", 'auth_manage("AUTH/sql_auth.json")["host"]\n    streams = [')
        .replace("from api2db.store", "from api2db.app.auth_manager import auth_manage\nfrom api2db.store")
    )
    program.killed_at("local.prepared:3")
    process = program.start(env=program.env)
    program.ready(process)
    running = api2db(tmp_path, program.folder, "status")
    assert running.returncode == 0, running.stdout + running.stderr
    assert "api2db status" in program.console
    program.feed.end()
    eventually(lambda: not program.waiting(), what="delivery")
    assert program.stop(process) == 0
    for name in ("rain", "sun"):
        program.feed.audit(name, program.parquet(f"STORE/{name}/parquet")["id"])
        assert "accepted" in program.log(name)
    done = api2db(tmp_path, program.folder, "audit", "--deep", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    streams = [stream for one in json.loads(done.stdout)["collectors"] for stream in one["streams"]]
    assert [stream["stream"] for stream in streams] == ["local.parquet"] * 3
    assert not [note for stream in streams for note in stream["notes"] if "no collector has this stream" in note]
    assert api2db(tmp_path, program.folder, "shards", "ls").returncode == 0
    # What can't be imported is said, and nothing is concluded from it.
    (program.folder / "helpers.py").write_text("raise RuntimeError('broken')\n")
    done = api2db(tmp_path, program.folder, "audit")
    assert done.stdout.count("main.py can't be used: RuntimeError: broken") == 2  # snow has never run


QUAKES = {
    "features": [
        {"id": "a", "properties": {"mag": 1.5, "place": "x", "time": 1, "updated": 2}},
        {"id": "b", "properties": {"mag": None, "place": "y", "time": 3, "updated": 4}},
    ]
}


def test_what_pmake_makes_runs_at_once_and_keeps_the_newest_of_each(tmp_path, http_api):
    Folder(tmp_path).make(["rain"])
    api = tmp_path / "apis" / "rain.py"
    http_api.always(Answer(body=json.dumps(QUAKES).encode()))
    api.write_text(api.read_text().replace("https://earthquake.usgs.gov", http_api.url).replace("=0,", "=0.1,"))
    program = Program.__new__(Program)
    program.folder, program._processes = tmp_path, []
    try:
        process = program.start()
        eventually(lambda: len(program.sqlite("SELECT * FROM rain")) == 2 or process.poll() is not None)
        assert process.poll() is None, program.console
        assert program.stop(process, signal.SIGINT) == 0
    finally:
        program.close()
    assert program.sqlite("SELECT id, magnitude, time_ms FROM rain ORDER BY id") == [("a", 1.5, 1), ("b", None, 3)]

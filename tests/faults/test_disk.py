"""A disk that is full, only reads or fails, at every point: nothing is torn, nothing lost, and it heals by itself."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests import warm
from tests.http_api import HttpApi
from tests.project_kit import REPOSITORY, Project, eventually

# A flush costs nothing there, and what fails here fails before the disk is asked.
IN_MEMORY = Path("/dev/shm")
EVERY = 13
NUMBERS = """
    import os
    import requests
    from api2db import Cursor, collector

    @collector(every=0.05, to=["database", "files"])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 10}, timeout=10)
        yield response.json()
"""


@pytest.mark.parametrize(("errno", "then"), [("ENOSPC", "goes-on"), ("EIO", "crash")])
def test_whichever_change_of_a_file_fails_every_row_is_in_each_place_once(errno: str, then: str) -> None:
    # In thirteen lives every change is one that fails, and around it twelve that don't.
    faults = [f"{errno}@{first}:250:{EVERY}" for first in range(1, EVERY + 1)]
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        done = warm.run(
            [sys.executable, "-W", "error", "-m", "tests.faults.disk_walk", folder, then, *faults],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["wrong"] == {}
    assert answer["failed"] >= 150


@pytest.mark.parametrize(
    ("errno", "says"),
    [("ENOSPC", "no space left on the disk of STORE"), ("EROFS", "STORE can't be written: Read-only file system")],
)
def test_a_store_that_takes_nothing_for_a_while_stops_collecting_says_so_and_goes_on_by_itself(
    tmp_path: Path, errno: str, says: str
) -> None:
    with HttpApi([{"id": n} for n in range(1, 201)], since_field="id") as api:
        project = Project(tmp_path, numbers=NUMBERS)
        fault = f"{errno}@60:160@{project.store}"
        process = project.start(env={"URL": api.url, "API2DB_TEST_DISK": fault})
        project.ready(process)
        eventually(lambda: project.sqlite("SELECT count(*), count(DISTINCT id) FROM numbers") == [(200, 200)])
        eventually(lambda: sorted(project.files("numbers", "id")) == list(range(1, 201)))
        eventually(lambda: not project.waiting())
        assert project.stop(process) == 0
    assert says in project.console
    assert "Traceback" not in project.console

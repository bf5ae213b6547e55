"""``api2db audit`` as people and scripts call it: beside a daemon that runs, and after one that was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.project_kit import REPOSITORY, Project, eventually

COUNTER = """
    from api2db import collector

    number = 0

    @collector(every=0.05, to=["database", "files"])
    def counter():
        global number
        number += 1
        return [{"n": number}, {"n": -number}]
"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path, counter=COUNTER)
    yield project
    project.close()


def audit(project, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "audit", *arguments],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_beside_a_running_daemon_and_after_its_kill_the_equation_holds_and_a_restored_database_breaks_it(project):
    process = project.start()
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(*) > 10 FROM counter") == [(1,)])
    code, told = audit(project, "--json")
    assert code == 0, told
    assert {stream["stream"] for stream in json.loads(told)["collectors"][0]["streams"]} == {
        "sql.sqlite", "local.parquet",
    }  # fmt: skip
    process.kill()
    process.wait()
    code, told = audit(project)
    assert code == 0, told
    assert "All accepted rows are accounted for." in told
    assert "rows in" in told
    for file in project.store.glob("database.sqlite*"):
        file.unlink()
    code, told = audit(project, "counter")
    assert code == 1
    assert "sql.sqlite  BROKEN" in told
    assert "api2db replay" in told

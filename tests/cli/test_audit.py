"""``api2db audit`` as people and scripts call it: beside a daemon that runs, and after one that was killed."""

from __future__ import annotations

import json
import os
import sys

import pytest
from click.testing import CliRunner

from api2db.cli.main import main
from tests import warm
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
    done = warm.run(
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


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (lambda project: None, "there is no collector 'couner'; did you mean 'counter'?"),
        (lambda project: (project.store / "format").write_text("99\n"), "was written by a newer api2db"),
        (lambda project: (project.store / "journal.sqlite").write_bytes(b"rubbish" * 1000), "can't be read"),
        (lambda project: (project.folder / "api2db.toml").write_text("colour = 1\n"), "colour"),
    ],
    ids=["unknown collector", "newer STORE", "damaged journal", "wrong setting"],
)
def test_a_command_that_cannot_tell_exits_2_and_not_as_if_rows_were_missing(project, spoiled, said):
    process = project.start()
    project.ready(process)
    assert project.stop(process) == 0
    spoiled(project)
    asked = ["-C", str(project.folder), "audit", "couner"]
    told = CliRunner().invoke(main, asked)
    assert told.exit_code == 2
    assert said in told.output
    told = CliRunner().invoke(main, [*asked, "--json"])
    assert told.exit_code == 2
    answer = json.loads(told.stdout)
    assert answer["holds"] is None
    assert said in answer["error"]

"""What a command of ``api2db`` knows of the project it is started in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from api2db.cli.here import Here
from tests.project_kit import Project

COLLECTOR = """
    from api2db import collector

    @collector(every=60)
    def numbers():
        return [{"id": 1}]
"""
PROGRAM = """
from api2db import Run
from api2db.ingest import Collector

print("begun")
if __name__ == "__main__":
    Run([Collector("rain", 60, lambda: None, lambda: None, lambda: [], lambda: [])]).run()
    raise AssertionError("not reached: it was only asked what it declares")
"""


def names(folder: Path) -> list[str]:
    collectors, broken = Here(folder, {}).declared
    return [collector.name for collector in collectors] + [str(one.path) for one in broken]


def test_a_projects_collectors_are_those_in_its_folder(tmp_path):
    Project(tmp_path, numbers=COLLECTOR)
    assert names(tmp_path) == ["numbers"]


def test_a_programs_collectors_are_those_it_would_run_and_it_is_not_run(tmp_path):
    (tmp_path / "main.py").write_text(PROGRAM)
    assert names(tmp_path) == ["rain"]
    assert not (tmp_path / "STORE").exists()


def test_a_program_that_fails_before_is_named(tmp_path):
    (tmp_path / "main.py").write_text("raise RuntimeError('no such luck')")
    _, (broken,) = Here(tmp_path, {}).declared
    assert (broken.path.name, broken.cause) == ("main.py", "RuntimeError: no such luck")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(tmp_path / "no"), "init", "x"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "does not exist" in done.stderr

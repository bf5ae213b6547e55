"""The console suits who reads it: a person's terminal, a file, or systemd's journal."""

from __future__ import annotations

import os
import re

import pytest

from tests.project_kit import Project, eventually

COLLECTOR = """
    from api2db import collector

    @collector(every=0.1, to=["files"])
    def good():
        return [{"n": 1}]

    @collector(every=0.1, to=["files"])
    def bad():
        raise RuntimeError("the service is closed")
"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path, both=COLLECTOR)
    yield project
    project.close()


def run(project, env):
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: "the service is closed" in project.console)
    eventually(lambda: "accepted collector=good" in project.console)
    assert project.stop(process) == 0
    return project.console.splitlines()


def journal_stream(project, *, inode=0):
    """What systemd sets for a process whose output it reads: the device and the inode of that output."""
    console = project.folder / "console.txt"
    console.touch()
    there = console.stat()
    return {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino + inode}"}


def test_in_the_journal_a_line_has_its_level_and_no_time_of_its_own(project):
    lines = run(project, journal_stream(project))
    assert any(line.startswith("<6>accepted collector=good") for line in lines)
    assert any(re.match(r"<[34]>.*the service is closed", line) for line in lines)
    assert not [line for line in lines if re.search(r"\d\d:\d\d:\d\d", line)]


@pytest.mark.parametrize("inode", [None, 1], ids=["no journal", "another stream's"])
def test_elsewhere_a_line_begins_with_the_time(project, inode):
    lines = run(project, {} if inode is None else journal_stream(project, inode=inode))
    assert any(re.match(r"\d\d:\d\d:\d\d  accepted collector=good", line) for line in lines)
    assert not [line for line in lines if line.startswith("<")]


def test_what_is_no_terminal_gets_no_colours_even_if_a_terminal_is_claimed(project):
    run(project, {"TERM": "xterm-256color", "FORCE_COLOR": "1"})
    written = project.console + "".join(log.read_text() for log in (project.folder / "LOGS").glob("*.log"))
    assert "\x1b" not in written


def test_a_project_that_can_only_be_read_runs_with_its_folders_elsewhere(project, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    before = {path for path in project.folder.rglob("*") if path.name != "console.txt"}
    settings = {"API2DB_STORE": str(away / "store"), "API2DB_LOGS": str(away / "logs"), "PYTHONDONTWRITEBYTECODE": "1"}
    run(project, settings)
    assert {path for path in project.folder.rglob("*") if path.name != "console.txt"} == before
    assert sorted(os.listdir(away / "logs")) == ["bad.log", "good.log"]
    assert (away / "store" / "journal.sqlite").exists()


def test_a_programs_own_lines_are_in_the_log_it_names(tmp_path):
    project = Project(
        tmp_path,
        own="""
            from api2db import collector
            from api2db.app.log import get_logger

            @collector(every=0.1, to=["files"], debug=False)
            def own():
                for name in ("own", "../elsewhere", None):
                    get_logger(name).info("line for %s", name)
                return [{"n": 1}]
        """,
    )
    try:
        process = project.start()
        eventually(lambda: (tmp_path / "LOGS" / "own.log").exists())
        assert project.stop(process) == 0
        assert "line for own" in (tmp_path / "LOGS" / "own.log").read_text()
        assert "line for ../elsewhere" in (tmp_path / "LOGS" / ".._elsewhere.log").read_text()
        assert "line for None" in (tmp_path / "LOGS" / "api2db.log").read_text()
        # debug=False holds for them too.
        assert "line for own" not in project.console
    finally:
        project.close()

"""``api2db poll`` has the running daemon poll at once, and says what came of it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from api2db.cli.main import main
from api2db.cli.poll import _end
from api2db.errors import StoreError
from api2db.journal.journal import Journal
from api2db.layout import Layout
from tests.project_kit import Project, eventually

COLLECTORS = """
    import time
    from pathlib import Path
    from api2db import Cursor, collector

    @collector(at="00:00", key="id")
    def rare(after=Cursor("id", start=0)):
        yield [{"id": after + 1}]
        yield [{"id": after + 2}, {"id": after + 3}]

    @collector(at="00:00")
    def failing():
        raise RuntimeError("the API said no")

    @collector(at="00:00")
    def slow():
        while not Path("go").exists():
            time.sleep(0.01)
        return [{"n": 1}]

    @collector(every=0)
    def disabled():
        return [{"n": 1}]
"""


def asked(project, *arguments):
    """Exit status, and what is said on both."""
    done = CliRunner().invoke(main, ["-C", str(project.folder), "poll", *arguments])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("polled"), polled=COLLECTORS)
    process = project.start()
    try:
        project.ready(process)
        yield project
        assert project.stop(process) == 0
    finally:
        project.close()


def test_it_polls_now_waits_for_the_end_and_says_what_came(project):
    before = project.sqlite("SELECT count(*) FROM rare")
    code, told = asked(project, "rare", "--wait")
    assert code == 0, told
    assert "rare: a poll has begun" in told
    assert "rare: ok, 3 rows in 2 batches" in told
    eventually(lambda: project.sqlite("SELECT count(*) FROM rare") != before, what="its rows")
    code, told = asked(project, "rare", "--wait", "--json")
    assert (code, json.loads(told)["ended"]["rows"]) == (0, 3)
    eventually(lambda: project.sqlite("SELECT count(*), max(id) FROM rare") == [(6, 6)], what="rows of two polls")


def test_a_poll_that_fails_is_told_with_its_cause(project):
    code, told = asked(project, "failing", "--wait")
    assert code == 1
    assert "failing: failed: RuntimeError: the API said no" in told


def test_a_collector_that_is_being_polled_is_not_polled_twice(project):
    assert asked(project, "slow")[0] == 0
    code, told = asked(project, "slow", "--wait")
    assert code == 1
    assert "is being polled already" in told
    (project.folder / "go").touch()
    eventually(lambda: project.sqlite("SELECT n FROM slow") == [(1,)], what="the poll that ran")


def test_one_that_does_not_run_is_told_why(project):
    assert "collector disabled doesn't run: its seconds are 0" in asked(project, "disabled")[1]
    assert "did you mean 'failing'?" in asked(project, "fialing")[1]


def test_without_a_daemon_nothing_is_polled_and_it_says_what_to_do(tmp_path):
    project = Project(tmp_path, polled=COLLECTORS)
    code, told = asked(project, "rare", "--wait")
    assert code == 1
    assert "start it by python main.py" in told
    assert "api2db try rare" in told
    assert not project.store.exists()


def test_a_daemon_that_ends_meanwhile_is_told(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    Journal(layout.journal).close()
    with pytest.raises(StoreError, match="the daemon ended before the poll did"):
        _end(layout, "rare", 0)

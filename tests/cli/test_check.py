"""``--check``: whether the daemon lives, for health checks; not whether all it talks to does."""

from __future__ import annotations

import sys
import time
from contextlib import closing

import pytest

from api2db.journal.journal import Journal
from api2db.layout import Layout, StoreLock
from tests import warm
from tests.project_kit import REPOSITORY, Project, eventually

FAILING = """
    from api2db import collector

    @collector(every=0.1, to=["files"])
    def failing():
        raise RuntimeError("the service is closed")
"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path, failing=FAILING)
    yield project
    project.close()


def check(project, *arguments):
    done = warm.run(
        [sys.executable, "main.py", "--check", *arguments],
        cwd=project.folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_daemon_that_does_not_run_does_not_live_and_nothing_is_made(project):
    code, told = check(project)
    assert (code, told) == (1, "the daemon isn't running\n")
    assert not project.store.exists()


def test_a_daemon_lives_though_its_collectors_fail(project):
    process = project.start()
    project.ready(process)
    eventually(lambda: project.status()[0] == 1)
    code, told = check(project)
    assert (code, told) == (0, f"The daemon lives, as process {process.pid}.\n")
    assert project.stop(process) == 0
    assert check(project)[0] == 1


@pytest.mark.parametrize(
    ("heartbeat_age_s", "words"),
    [(None, "no heartbeat yet"), (3_600_000, "heartbeat is 3600")],
)
def test_a_daemon_without_a_heartbeat_does_not_live(project, heartbeat_age_s, words):
    layout = Layout(project.store)
    layout.prepare()
    with closing(StoreLock(layout)), closing(Journal(layout.journal)) as journal:
        if heartbeat_age_s is not None:
            journal.note(heartbeat_ns=time.time_ns() - heartbeat_age_s * 10**9)
        code, told = check(project)
    assert code == 1
    assert words in told


def test_a_daemon_whose_journal_is_not_there_does_not_live(project):
    layout = Layout(project.store)
    layout.prepare()
    with closing(StoreLock(layout)):
        code, told = check(project)
    assert code == 1
    assert "no heartbeat yet" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--set", "duribility=fsync"), "durability"), (("--status",), "one at a time")],
)
def test_a_mistaken_question_is_answered_with_status_2(project, arguments, words):
    code, told = check(project, *arguments)
    assert code == 2
    assert words in told

"""``--status`` tells the truth, from STORE alone, with an exit status for scripts."""

from __future__ import annotations

import sys
import time

import pytest

from tests import warm
from tests.project_kit import REPOSITORY, Project, eventually

COUNTER = """
    from api2db import collector

    number = 0

    @collector(every=0.1, to=["database"], fresh_within=60)
    def counter():
        global number
        number += 1
        return [{"n": number}]

    @collector(every=0)
    def disabled():
        raise AssertionError("a disabled collector is never polled")
"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path, counter=COUNTER)
    yield project
    project.close()


def text(project, *arguments):
    done = warm.run(
        [sys.executable, "main.py", "--status", *arguments],
        cwd=project.folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_before_the_first_run_there_is_nothing_to_tell(project):
    code, told = text(project)
    assert code == 3
    assert "isn't running" in told
    assert "No collector has run here yet" in told
    assert not project.store.exists()


def test_while_all_is_well_the_status_is_0_and_tells_each_figure(project):
    process = project.start()
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(*) > 3 FROM counter") == [(1,)])
    code, status = project.status()
    assert code == 0
    assert status["pid"] == process.pid
    counter, disabled = status["collectors"]
    assert (disabled["state"], disabled["polls"], disabled["streams"]) == ("disabled", 0, [])
    assert counter["state"] == "ok"
    assert counter["rows"] >= 3
    assert counter["next_run_ns"] > time.time_ns() - 60 * 10**9
    assert counter["steps"][0]["rows_in"] == counter["steps"][0]["rows_out"] == 1
    (stream,) = counter["streams"]
    assert (stream["state"], stream["cause"]) == ("ok", None)
    assert "counter: ok" in text(project)[1]
    assert project.stop(process) == 0
    code, told = text(project)
    assert code == 3
    assert "All is well" in told


def test_after_a_kill_the_status_says_that_nothing_runs(project):
    process = project.start()
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(*) > 0 FROM counter") == [(1,)])
    process.kill()
    process.wait()
    code, told = text(project)
    assert code == 3
    assert "isn't running" in told


def test_shards_of_a_stream_that_was_removed_are_shown_not_lost(project):
    project.write("counter", COUNTER.replace('to=["database"]', 'to=["database", "nowhere"]'))
    toml = project.folder / "api2db.toml"
    toml.write_text(toml.read_text() + '[places.nowhere]\nurl = "postgresql+psycopg://u:p@127.0.0.1:1/db"\n')
    process = project.start()
    project.ready(process)
    eventually(lambda: list((project.store / "queue" / "counter" / "sql.postgresql").glob("*.parquet")))
    project.stop(process)
    project.write("counter", COUNTER)
    process = project.start()
    project.ready(process)
    code, status = project.status()
    project.stop(process)
    assert code == 1
    removed = {stream["stream"]: stream["state"] for stream in status["collectors"][0]["streams"]}
    assert removed["sql.postgresql"] == "removed"
    assert any("sql.postgresql: removed" in line for line in status["troubles"])


def test_a_collector_without_success_for_longer_than_its_fresh_within_is_stale(project):
    project.write("counter", COUNTER.replace("every=0.1", "every=30").replace("fresh_within=60", "fresh_within=0.3"))
    process = project.start()
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(*) FROM counter") == [(1,)])
    eventually(lambda: project.status()[1]["collectors"][0]["state"] == "stale")
    assert project.stop(process) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "duribility=fsync"), "durability"),
        (("--set", "durability"), "KEY=VALUE"),
        (("--set", "poll_threads=many"), "poll_threads"),
        (("--colour",), "--colour"),
    ],
)
def test_a_mistaken_setting_is_named_with_status_2(project, arguments, words):
    code, told = text(project, *arguments)
    assert code == 2
    assert words in told
    assert "Traceback" not in told


def test_run_from_a_program_is_the_same_daemon(project):
    (project.folder / "program.py").write_text(
        "from api2db import Run\nfrom collectors.counter import counter, disabled\n"
        "raise SystemExit(Run([counter, disabled]).run())\n"
    )
    (project.folder / "main.py").write_text((project.folder / "program.py").read_text())
    process = project.start()
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(*) > 3 FROM counter") == [(1,)])
    assert project.stop(process) == 0

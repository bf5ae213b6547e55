"""Collectors that misbehave: in processes of their own the rest doesn't notice; without, what is accepted is safe."""

from __future__ import annotations

import signal

import pytest

from tests.project_kit import Project, eventually
from tests.runtime.test_isolated import gone

HEALTHY = """
    import os
    from api2db import collector

    polls = 0

    @collector(every=0.1)
    def healthy():
        global polls
        polls += 1
        return [{"pid": os.getpid(), "n": polls}]
"""
# Each yields a row, so that something is accepted before it goes wrong.
MISBEHAVING = """
    import ctypes, os
    from api2db import collector

    rows = 0

    def row():
        global rows
        rows += 1
        return [{"pid": os.getpid(), "n": rows}]

    kept = []

    @collector(every=0.5, isolate=True, memory="64 MiB")
    def leaks():
        yield row()
        kept.append(bytearray(40 * 2**20))

    @collector(every=0.5, isolate=True)
    def exits():
        yield row()
        os._exit(3)

    @collector(every=0.5, isolate=True)
    def crashes():
        yield row()
        ctypes.string_at(0)

    @collector(every=0.5, isolate=True, timeout=0.2)
    def holds_the_interpreter():
        yield row()
        ctypes.PyDLL(None).sleep(1000)

    @collector(every=0.5, isolate=True, timeout=0.2)
    def eats_a_core():
        yield row()
        while True:
            pass
"""
CAUSES = {
    "leaks": "MemoryError",
    "exits": "its process ended with status 3",
    "crashes": "its process was killed by SIGSEGV",
    "holds_the_interpreter": "no item for 0.2 s; its process was killed",
    "eats_a_core": "no item for 0.2 s; its process was killed",
}


@pytest.fixture
def make(tmp_path):
    made = []

    def make(**options):
        made.append(Project(tmp_path, **options))
        return made[-1]

    yield make
    for project in made:
        project.close()


def failed_runs(project: Project, name: str) -> list[tuple[int, float, str]]:
    return project.journal(
        f"SELECT started_ns, duration_s, cause FROM runs WHERE collector = '{name}' AND outcome = 'failed'"
    )


def in_once(project: Project, name: str) -> None:
    """Every row of a collector that was accepted is in its table once, or, after a stop, in a shard that waits."""
    ((accepted,),) = project.journal(f"SELECT sum(rows) FROM batches WHERE collector = '{name}'")
    loaded = accepted - sum(path.parts[-3] == name for path in project.waiting())  # one row a shard
    assert loaded > 0
    row = "pid || '-' || n"
    assert project.sqlite(f"SELECT count(*), count(DISTINCT {row}) FROM {name}") == [(loaded, loaded)]


def test_collectors_that_misbehave_in_processes_of_their_own_leave_the_others_their_schedule(make):
    project = make(healthy=HEALTHY, misbehaving=MISBEHAVING)
    process = project.start()
    project.ready(process)
    # Each goes wrong and is tried again, in another process.
    for name in CAUSES:
        eventually(lambda name=name: len(failed_runs(project, name)) >= 2 or process.poll() is not None, what=name)
    assert process.poll() is None, project.console
    assert project.stop(process) == 0
    said = dict(project.journal("SELECT collector, failures FROM collectors"))
    assert said.pop("healthy") == 0
    assert said.keys() == CAUSES.keys()
    assert project.journal("SELECT value FROM daemon WHERE key = 'stuck_polls'") == [(0,)]
    for name, cause in CAUSES.items():
        runs = failed_runs(project, name)
        assert all(cause in told and told.endswith("the next poll starts another") for *_, told in runs), runs
        assert said[name] == len(runs)
        in_once(project, name)
    # While they held their interpreters and cores, the healthy one was polled.
    for name in ("holds_the_interpreter", "eats_a_core"):
        for started_ns, duration_s, _ in failed_runs(project, name):
            during = (
                "SELECT count(*) FROM runs WHERE collector = 'healthy' AND outcome = 'ok'"
                f" AND started_ns BETWEEN {started_ns} AND {started_ns + int(duration_s * 1e9)}"
            )
            assert project.journal(during) > [(0,)]
    in_once(project, "healthy")
    # Where a crash happened is in the collector's log.
    assert "Fatal Python error" in (project.folder / "LOGS" / "crashes.log").read_text()


@pytest.mark.parametrize("stopped_by", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
def test_no_process_of_a_collector_outlives_the_daemon_even_one_that_holds_its_interpreter(make, stopped_by):
    project = make(toml="stop_timeout_s = 1\n")
    # Declared by a program that runs it, as api2db 1.0.1 had it.
    (project.folder / "main.py").write_text(
        """
import ctypes, os
from api2db import Run
from api2db.ingest import Collector

def hold():
    with open("held", "w") as file:
        print(os.getpid(), file=file)
    ctypes.PyDLL(None).sleep(1000)

def idle():
    with open("idle", "w") as file:
        print(os.getpid(), file=file)

holds = Collector("holds", 0.1, hold, None, None, isolate=True)
idles = Collector("idles", 0.1, idle, None, None, isolate=True)
raise SystemExit(Run([holds, idles]).run())
"""
    )
    process = project.start()
    held, idle = (
        int(eventually(lambda name=name: (file := project.folder / name).exists() and file.read_text()))
        for name in ("held", "idle")
    )
    assert process.pid not in (held, idle)
    eventually(lambda: project.journal("SELECT 1 FROM runs WHERE collector = 'idles' AND outcome = 'ok'"))
    assert project.stop(process, stopped_by) == (0 if stopped_by == signal.SIGTERM else -signal.SIGKILL)
    eventually(lambda: gone(held) and gone(idle))
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("death", "status"), [("os._exit(3)", 3), ("ctypes.string_at(0)", -signal.SIGSEGV)], ids=["exits", "crashes"]
)
def test_without_isolation_a_death_takes_the_daemon_along_and_nothing_that_was_accepted(make, death, status):
    project = make(
        healthy=HEALTHY,
        deadly=f"""
            import ctypes, os
            from api2db import collector

            rows = 0

            @collector(every=0.1)
            def deadly():
                global rows
                rows += 1
                yield [{{"pid": os.getpid(), "n": rows}}]
                if rows == 3 and "SPARED" not in os.environ:
                    {death}
        """,
    )
    process = project.start()
    assert process.wait(60) == status
    # What a supervisor does. Whatever was accepted and not yet delivered is now.
    process = project.start(env={"SPARED": "1"})
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(DISTINCT pid) FROM deadly") == [(2,)])
    assert project.stop(process) == 0
    in_once(project, "deadly")
    in_once(project, "healthy")
